"""Units over time in a plan: any neuron's step with its constants, and quantisers whose carry is drawn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from bitspike import draws
from bitspike.kernels import Recurrence, back_end_for
from bitspike.kernels.dtypes import computing_dtype
from bitspike.kernels.emit import NUMBA, assignments
from bitspike.kernels.run import run_on
from bitspike.kernels.trace import Trace, Untraceable, needed
from bitspike.models.plan.nodes import Node, short
from bitspike.neurons import quantiser_draws
from bitspike.neurons.quantiser import QuantiserConstants, QuantiserState, quantiser_step
from bitspike.neurons.surrogate import Surrogate

PYTHON = {**NUMBA, "indicator": "(1.0 if {0} else 0.0)"}


@dataclass(frozen=True, eq=False, kw_only=True)
class Step(Node):
    """output, state = step(x, state, constants), elementwise, at every time step.

    label: the unit's name. recurrence: the step, and the kinds of its state and constants; constants: its NamedTuple
    of numbers or of tensors that broadcast to (B, *shape); start: the state before the first step of one example, (1,
    *shape) each.
    """

    what: ClassVar[str] = "step"
    recurrence: Recurrence
    constants: Any
    start: Any

    @property
    def trace(self) -> Trace:
        """The assignments of a step, in order; raises Untraceable with the reason where there are none."""
        return self.recurrence.traced

    @property
    def assignments(self) -> list[str]:
        """One step forward in Python, each value once, then the output and the states it leaves, v' for v."""
        traced = self.trace
        roots = {"output": traced.output, **{f"{name}'": node for name, node in traced.new_state.items()}}
        given = {leaf: str(leaf.value) for leaf in (traced.input, *traced.state.values(), *traced.constants.values())}
        lines, names = assignments(needed(list(roots.values())), given, PYTHON, repr)
        return [*lines, *(f"{name} = {names[node]}" for name, node in roots.items())]

    @property
    def states(self) -> tuple[str, ...]:
        """Names of the state."""
        return tuple(type(self.start)._fields)

    @property
    def detail(self) -> str:
        """Constants and states."""
        pairs = zip(type(self.constants)._fields, self.constants, strict=True)
        named = [f"{name} = {short(value)}" for name, value in pairs]
        kept = f"state {', '.join(self.states)}" if self.states else ""
        return "; ".join(part for part in (", ".join(named), kept) if part)

    def row(self) -> dict[str, Any]:
        """As of any node, and its step."""
        try:
            lines: list[str] | str = self.assignments
        except Untraceable as error:
            lines = str(error)
        return {**super().row(), "states": list(self.states), "step": lines}

    def initial(self, batch: int) -> Any:
        """The state of every example before the first step."""
        return type(self.start)(*(part.expand(batch, *part.shape[1:]).clone() for part in self.start))

    def run(self, state: Any, *x: Tensor) -> tuple[Tensor, Any]:
        """The step at every time step of x, on the fastest back end; all of them round alike."""
        choice = back_end_for(self.recurrence, x[0])
        return run_on(choice, self.recurrence, x[0], state, self.constants)


@dataclass(frozen=True, eq=False, kw_only=True)
class Quantiser(Node):
    """Whole numbers n of y = n / dt (`neurons.quantiser`), of an activity that is its input.

    mode: "carry", or "stochastic" or "poisson" without one; keys: the name of the draw of the first carry, one for
    a whole batch, or of the counts.
    """

    what: ClassVar[str] = "quantiser"
    tensors: ClassVar[tuple[str, ...]] = ("dt",)
    dt: Tensor
    keys: tuple[draws.Key, ...]
    mode: str = "carry"
    recurrence: ClassVar[Recurrence] = Recurrence(quantiser_step, QuantiserState, QuantiserConstants, Surrogate())

    @property
    def detail(self) -> str:
        """Step size and mode."""
        return f"dt = {short(self.dt)}, {self.mode}"

    def initial(self, batch: int) -> Any:
        """Carries uniform on [0, 1), or the name of the draws."""
        if self.mode != "carry":
            return quantiser_draws.first(self.keys, None)
        dtype = computing_dtype(self.dt.dtype)
        return QuantiserState(torch.rand((batch, *self.shape), generator=draws.generator(*self.keys), dtype=dtype))

    def run(self, state: Any, *x: Tensor) -> tuple[Tensor, Any]:
        """Quantised activities."""
        if self.mode != "carry":
            n, state = quantiser_draws.random_counts(self.mode, self.dt * x[0], state)
            return n / self.dt, state
        choice = back_end_for(self.recurrence, x[0])
        return run_on(choice, self.recurrence, x[0], state, QuantiserConstants(self.dt))

    def advance(self, state: Any, x: Tensor) -> tuple[Tensor, Any]:
        """As `run`, for one step x (B, *shape) in plain PyTorch: for the loop of a cell."""
        if self.mode != "carry":
            y, state = self.run(state, x.unsqueeze(0))
            return y[0], state
        return quantiser_step(x, state, QuantiserConstants(self.dt), self.recurrence.spike)


def frozen_constants(constants: Any) -> Any:
    """A step's constants without gradients, copied, on the host."""
    return type(constants)(*(c.detach().cpu().clone() if isinstance(c, Tensor) else c for c in constants))
