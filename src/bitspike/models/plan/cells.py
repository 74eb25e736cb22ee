"""Recurrence in a plan: neurons that feed one another, the Legendre memory and its unit, gated cells.

Each goes through time step by step in plain PyTorch, by the equations of the module it stands for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from bitspike.cells.lmu import LMUState, hidden_current, raw_memory
from bitspike.cells.lmu_cell import Weights as LMUWeights
from bitspike.kernels.feedback import run_with_feedback
from bitspike.models.plan.nodes import REAL_BITS, Node
from bitspike.models.plan.units import Quantiser, Step
from bitspike.products import Kind


@dataclass(frozen=True, eq=False, kw_only=True)
class Feedback(Node):
    """Units that read x_t + g W s_{t-1}, s their own outputs. weight (N, N); gain (N,), or none."""

    what: ClassVar[str] = "feedback"
    tensors: ClassVar[tuple[str, ...]] = ("weight", "gain")
    weight: Tensor
    unit: Step
    gain: Tensor | None = None
    bits: float = REAL_BITS
    weight_kind: Kind = "real"

    @property
    def kind(self) -> str:
        """The units."""
        return f"{self.unit.kind} with {'+-1' if self.weight_kind == 'signs' else 'real'} feedback"

    @property
    def detail(self) -> str:
        """The units' constants."""
        return self.unit.detail

    @property
    def fan_in(self) -> int:
        """Units that reach one."""
        return self.weight.shape[1]

    @property
    def fan_out(self) -> int:
        """Units that one reaches."""
        return len(self.weight)

    def initial(self, batch: int) -> tuple[Tensor, Any]:
        """(outputs of the step before, the units' state)."""
        return self.weight.new_zeros(batch, len(self.weight)), self.unit.initial(batch)

    def run(self, state: tuple[Tensor, Any], *x: Tensor) -> tuple[Tensor, tuple[Tensor, Any]]:
        """Outputs of all steps."""
        before, inner = state
        weight = self.weight if self.gain is None else self.gain.unsqueeze(1) * self.weight
        y, last = run_with_feedback(self.unit.recurrence, x[0], weight, inner, self.unit.constants, before)
        return y, (y[-1], last)


@dataclass(frozen=True, eq=False, kw_only=True)
class Memory(Node):
    """The Legendre memory m_t = Abar m_{t-1} + Bbar u_t of K signals (T, B, K): (T, B, K d). Its states are float64:
    a long window leaves a float32 too few digits."""

    what: ClassVar[str] = "Legendre memory"
    tensors: ClassVar[tuple[str, ...]] = ("a", "b")  # fixed
    a: Tensor
    b: Tensor
    signals: int

    @property
    def detail(self) -> str:
        """Its sizes."""
        return f"order {len(self.b)}, {self.signals} signal{'s' * (self.signals > 1)}"

    @property
    def fan_in(self) -> int:
        """The memory's own states, and its signal."""
        return len(self.b) + 1

    def initial(self, batch: int) -> Tensor:
        """Zeros (B, K, d)."""
        return self.a.new_zeros(batch, self.signals, len(self.b))

    def run(self, state: Tensor, *x: Tensor) -> tuple[Tensor, Tensor]:
        """All states."""
        m, states = state, []
        for u in x[0].to(self.a.dtype).unbind(0):
            m = m @ self.a.t() + u.unsqueeze(-1) * self.b
            states.append(m.to(x[0].dtype))
        return torch.stack(states).flatten(2), m


@dataclass(frozen=True, eq=False, kw_only=True)
class Legendre(Node):
    """The LMU (`cells.lmu`): x (T, B, F) to hidden states. matrices: as they meet the memory's states, `scale` folded
    in. memory, hidden: its quantisers, or None; bounds: largest magnitudes, None without; leak (K d,)."""

    what: ClassVar[str] = "LMU"
    a: Tensor
    b: Tensor
    matrices: LMUWeights
    leak: Tensor
    memory: Quantiser | None = None
    hidden: Quantiser | None = None
    memory_bound: Tensor | None = None
    hidden_bound: Tensor | None = None

    @property
    def kind(self) -> str:
        """LMU, hybrid or not."""
        return "hybrid LMU" if self.memory is not None or self.hidden is not None else "LMU"

    @property
    def detail(self) -> str:
        """Sizes and quantisers."""
        signals, inputs = self.matrices.e_x.shape
        parts = [f"{inputs} in, order {len(self.b)}, {signals} signal{'s' * (signals > 1)}"]
        named = (("memory", self.memory), ("hidden", self.hidden))
        return "; ".join([*parts, *(f"{name} {q.detail}" for name, q in named if q is not None)])

    @property
    def weights(self) -> Mapping[str, tuple[Tensor, float]]:
        """The matrices and, fixed, Abar and Bbar."""
        return {name: (w, REAL_BITS) for name, w in {**self.matrices._asdict(), "a": self.a, "b": self.b}.items()}

    @property
    def fan_in(self) -> int:
        """Terms of a hidden unit."""
        return sum(w.shape[1] for w in (self.matrices.w_x, self.matrices.w_h, self.matrices.w_m))

    @property
    def fan_out(self) -> int:
        """Weights that one input meets."""
        return len(self.matrices.e_x) + len(self.matrices.w_x)

    def initial(self, batch: int) -> LMUState:
        """Zeros, and the first carries."""
        h, m = (self.a.new_zeros(batch, size) for size in self.matrices.w_m.shape)
        inner, outer = (None if q is None else q.initial(batch) for q in (self.memory, self.hidden))
        return LMUState(h, m, torch.zeros_like(m), inner, outer)

    def run(self, state: LMUState, *x: Tensor) -> tuple[Tensor, LMUState]:
        """Hidden states of all steps."""
        h, m, held, inner, outer = state
        outputs = []
        for x_t in x[0].to(self.a.dtype).unbind(0):
            raw = raw_memory(x_t, h, m, held, self.matrices, self.a, self.b, self.leak)
            m = r = _within(raw, self.memory_bound)
            if self.memory is not None:
                m, inner = self.memory.advance(inner, r)
                held = r - m
            h = _within(hidden_current(x_t, h, m, self.matrices).tanh(), self.hidden_bound)
            if self.hidden is not None:
                h, outer = self.hidden.advance(outer, h)
            outputs.append(h)
        return torch.stack(outputs), LMUState(h, m, held, inner, outer)


def _within(x: Tensor, bound: Tensor | None) -> Tensor:
    return x if bound is None else x.clamp(-bound, bound)


@dataclass(frozen=True, eq=False, kw_only=True)
class Gates(Node):
    """LSTM or GRU with PyTorch's weights and order of gates: w (G H, F), u (G H, H), b and c (G H,).

    Equations: `cells.gated_scan`.
    """

    what: ClassVar[str] = "gated cell"
    tensors: ClassVar[tuple[str, ...]] = ("w", "u", "b", "c")
    cell: str
    w: Tensor
    u: Tensor
    b: Tensor
    c: Tensor

    @property
    def kind(self) -> str:
        """LSTM or GRU."""
        return self.cell.upper()

    @property
    def fan_in(self) -> int:
        """Terms of a gate."""
        return self.w.shape[1] + self.u.shape[1]

    @property
    def fan_out(self) -> int:
        """Weights that one input meets."""
        return len(self.w)

    def initial(self, batch: int) -> tuple[Tensor, Tensor]:
        """(h, c), zeros; a GRU has no c and leaves it."""
        zeros = self.u.new_zeros(batch, self.u.shape[1])
        return zeros, zeros

    def run(self, state: tuple[Tensor, Tensor], *x: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Hidden states of all steps."""
        h, cell = state
        outputs = []
        for driven in (x[0].to(self.w.dtype) @ self.w.t() + self.b).unbind(0):
            fed = h @ self.u.t() + self.c
            if self.cell == "lstm":
                i, f, g, o = (driven + fed).chunk(4, 1)
                cell = f.sigmoid() * cell + i.sigmoid() * g.tanh()
                h = o.sigmoid() * cell.tanh()
            else:
                (r, z, n), (fed_r, fed_z, q) = driven.chunk(3, 1), fed.chunk(3, 1)
                n = (n + (r + fed_r).sigmoid() * q).tanh()
                h = n + (z + fed_z).sigmoid() * (h - n)
            outputs.append(h)
        return torch.stack(outputs), (h, cell)
