"""What a plan is made of: nodes that hold their numbers and go on, slice of time by slice, where they stopped.

A node reads the outputs of the nodes it names, (T, B, *features) each, and gives one. `run(state, *x)` returns output
and state; a node without a memory of its own has the state None. Nothing here looks at a module.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from bitspike.errors import refuse
from bitspike.layers.norm import batch_norm
from bitspike.layers.stepwise import stepwise
from bitspike.products import Kind

REAL_BITS = 32.0
BITS = {"weight": "bits", "bias": "bias_bits"}  # where a node says how many bits these have


def short(value: Any) -> str:
    """A constant in a few digits: one number, or the range of one per unit."""
    if not isinstance(value, Tensor):
        return f"{value:.4g}"
    low, high = f"{float(value.min()):.4g}", f"{float(value.max()):.4g}"
    return low if low == high else f"{low} to {high}"


@dataclass(frozen=True, eq=False, kw_only=True)
class Node:
    """name: the module's path in the network; inputs: names of the nodes it reads; shape: its output for one example
    and step; emits: what that is made of (`products.Kind`).

    label: its kind, where that is more than the class's. integers: a place for an export's arithmetic of this node in
    whole numbers; nothing here reads it.
    """

    name: str = ""
    inputs: tuple[str, ...] = ()
    shape: tuple[int, ...] = ()
    emits: Kind = "real"
    label: str = ""
    integers: Any = field(default=None, repr=False)
    what: ClassVar[str] = "node"
    tensors: ClassVar[tuple[str, ...]] = ()

    @property
    def kind(self) -> str:
        """What it is, in a word or two."""
        return self.label or self.what

    @property
    def detail(self) -> str:
        """Its constants, in words."""
        return ""

    @property
    def weights(self) -> Mapping[str, tuple[Tensor, float]]:
        """The tensors an export ships, by name, each with its bits per value."""
        found = {name: getattr(self, name) for name in self.tensors}
        bits = {name: getattr(self, BITS.get(name, ""), REAL_BITS) for name in self.tensors}
        return {name: (tensor, bits[name]) for name, tensor in found.items() if tensor is not None}

    @property
    def fan_in(self) -> int | None:
        """Weights that one output sums over; None where there are none."""
        return None

    @property
    def fan_out(self) -> int | None:
        """Weights that one input meets, at most; None where there are none."""
        return None

    def row(self) -> dict[str, Any]:
        """Everything but its tensors, as JSON takes it."""
        return {
            "name": self.name,
            "kind": self.kind,
            "inputs": list(self.inputs),
            "shape": list(self.shape),
            "emits": self.emits,
            "weights": sum(tensor.numel() for tensor, _ in self.weights.values()),
            "bits": {name: bits for name, (_, bits) in self.weights.items()},
            "fan_in": self.fan_in,
            "fan_out": self.fan_out,
            "constants": self.detail,
        }

    def initial(self, batch: int) -> Any:
        """The state before the first step."""
        return None

    def run(self, state: Any, *x: Tensor) -> tuple[Tensor, Any]:
        """Outputs (T, B, *shape) and the state after the last step."""
        return self.at_each_step(*x), state

    def at_each_step(self, *x: Tensor) -> Tensor:
        """The output of a node without memory."""
        raise NotImplementedError


@dataclass(frozen=True, eq=False, kw_only=True)
class Input(Node):
    """What comes in: the code (T, B, *shape) of an encoder, or, of one that reads windows, the series itself.

    encoder, options: its name and settings; steps: T of one example, None where it is not known.
    width, stride: of windows (`coding.windows`), whose state is the steps that the next one begins with.
    """

    what: ClassVar[str] = "input"
    encoder: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    steps: int | None = None
    width: int = 0
    stride: int = 1
    dtype: torch.dtype = torch.float32

    @property
    def kind(self) -> str:
        """The encoder."""
        return f"input, {self.encoder}" if self.encoder else self.what

    @property
    def detail(self) -> str:
        """Steps and settings."""
        given = {"T": self.steps, **self.options} if self.steps else self.options
        return ", ".join(f"{name} = {value}" for name, value in given.items() if value is not None and name != "steps")

    @property
    def reads(self) -> tuple[int, ...]:
        """One example and step as it comes in."""
        return self.shape[1:] if self.width else self.shape

    def initial(self, batch: int) -> Tensor:
        """What the first window begins with, zeros; of no windows, no steps."""
        return torch.zeros(self.width - self.stride if self.width else 0, batch, *self.reads, dtype=self.dtype)

    def run(self, state: Tensor, *x: Tensor) -> tuple[Tensor, Tensor]:
        """The slice itself, or the windows that end in it: none, where it is too short."""
        (given,) = x
        if tuple(given.shape[2:]) != self.reads:
            refuse("plan input", tuple(given.shape), f"({', '.join(['T', 'B', *map(str, self.reads)])})")
        if given.shape[1] != state.shape[1]:
            refuse("plan input", f"{given.shape[1]} examples", f"{state.shape[1]}, as in the slice before")
        still = len(given) > 1 and given.stride(0) == 0
        given = given[:1].to(self.dtype).expand(given.shape) if still else given.to(self.dtype)
        if not self.width:
            return given, state
        series = torch.cat([state, given])
        count = max((len(series) - self.width) // self.stride + 1, 0)
        if not count:
            return given.new_empty(0, given.shape[1], *self.shape), series
        return series.unfold(0, self.width, self.stride).movedim(-1, 2), series[count * self.stride :].clone()


@dataclass(frozen=True, eq=False, kw_only=True)
class Scale(Node):
    """y = gain x + offset per channel (dimension 2): (C,), (1,) for all alike, or (T, C) for each step its own.

    Batch normalisation in evaluation is one: gain = g / sqrt(var + eps), offset = b - gain mean. fused: gain x + offset
    is rounded once, as PyTorch's normalisation does where the processor can, not after the product too.
    """

    what: ClassVar[str] = "scale"
    tensors: ClassVar[tuple[str, ...]] = ("gain", "offset")
    gain: Tensor
    offset: Tensor | None = None
    fused: bool = False

    @property
    def detail(self) -> str:
        """The range of the gains."""
        return f"gain {short(self.gain)}" + (f" for each of {len(self.gain)} steps" if self.gain.ndim > 1 else "")

    def initial(self, batch: int) -> int | None:
        """Steps so far, where they have gains of their own."""
        return 0 if self.gain.ndim > 1 else None

    def run(self, state: int | None, *x: Tensor) -> tuple[Tensor, int | None]:
        """g x + b."""
        (given,) = x
        if state is None:
            return stepwise(lambda rows: self._scaled(rows, self.gain, self.offset), given), None
        end = state + len(given)
        if end > len(self.gain):
            refuse(f"plan {self.name}", f"step {end}", f"at most its {len(self.gain)} steps")
        offset = None if self.offset is None else self.offset[state:end].flatten()
        made = self._scaled(given.transpose(0, 1).flatten(1, 2), self.gain[state:end].flatten(), offset)
        return made.unflatten(1, (len(given), -1)).transpose(0, 1), end

    def _scaled(self, rows: Tensor, gain: Tensor, offset: Tensor | None) -> Tensor:
        """rows (N, C, *space)."""
        if self.fused:
            zero, one = torch.zeros_like(gain), torch.ones_like(gain)
            return batch_norm(rows, zero, one, gain, offset, False, 0.0, 0.0)
        places = (-1, *(1,) * (rows.ndim - 2))
        scaled = rows * gain.view(places)
        return scaled if offset is None else scaled + offset.view(places)


@dataclass(frozen=True, eq=False, kw_only=True)
class Activity(Node):
    """y = f(x), a nonlinearity without memory, clipped to +-bound where there is one."""

    what: ClassVar[str] = "activity"
    function: Callable[[Tensor], Tensor] | None
    bound: Tensor | None = None

    def at_each_step(self, *x: Tensor) -> Tensor:
        """f(x)."""

        def f(rows: Tensor) -> Tensor:
            y = rows if self.function is None else self.function(rows)
            return y if self.bound is None else y.clamp(-self.bound, self.bound)

        return stepwise(f, x[0])


@dataclass(frozen=True, eq=False, kw_only=True)
class Pool(Node):
    """The largest value (of spikes: OR) or the mean of each window of space. Arguments as PyTorch's."""

    what: ClassVar[str] = "pool"
    largest: bool
    size: Any
    stride: Any
    padding: Any = 0
    ceil: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        """Max or average pool."""
        return "max pool" if self.largest else "average pool"

    @property
    def detail(self) -> str:
        """Its sizes."""
        hanging = ", windows may hang over the edge" if self.ceil else ""
        padded = f", padding {self.padding}" if self.padding else ""
        return f"size {self.size}, stride {self.stride}{padded}{hanging}"

    def at_each_step(self, *x: Tensor) -> Tensor:
        """Pooled rows."""
        pool: Callable[..., Tensor] = F.max_pool2d if self.largest else F.avg_pool2d
        arguments = {"padding": self.padding, "ceil_mode": self.ceil, **self.options}
        return stepwise(lambda rows: pool(rows, self.size, self.stride, **arguments), x[0])


@dataclass(frozen=True, eq=False, kw_only=True)
class Flatten(Node):
    """The features of an example in one row."""

    what: ClassVar[str] = "flatten"

    def at_each_step(self, *x: Tensor) -> Tensor:
        """(T, B, product)."""
        return x[0] if x[0].ndim == 3 else stepwise(lambda rows: rows.flatten(1), x[0])


@dataclass(frozen=True, eq=False, kw_only=True)
class Join(Node):
    """The sum of several outputs, or, along a dimension of (T, B, *features), all of them side by side."""

    what: ClassVar[str] = "sum"
    dim: int | None = None

    @property
    def kind(self) -> str:
        """Sum or concatenation."""
        return self.what if self.dim is None else "concatenation"

    def at_each_step(self, *x: Tensor) -> Tensor:
        """x + y + ..., or [x, y, ...]."""
        if self.dim is not None:
            return torch.cat(x, self.dim)
        total = x[0]
        for other in x[1:]:
            total = total + other
        return total
