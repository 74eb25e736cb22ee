"""What an operation count holds, and what counting needs: widths of values, sizes of layers, reach of an input."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrize

from bitspike.errors import refuse

REAL_BITS = 32.0
REAL_LEVELS = 1 << 32
MOST_LEVELS = 1 << 16
HOW = ("stride", "padding", "output_padding", "dilation")


@dataclass
class LayerCount:
    """A Linear or convolution. Totals while counting; per presentation once `counts` has divided them."""

    name: str
    kind: str
    weights: int
    weight_bits: float
    dense: float
    units: float = 0.0  # outputs of one step of one example; 0 for a part of a recurrent cell
    fan_in: int = 0  # weights of one output, those on a border of zeros included
    mac: float = 0.0
    ac: float = 0.0
    add_real: float = 0.0
    reads: float = 0.0  # weights read: meetings of a nonzero input with a weight
    events: float = 0.0  # sum of |n| over the meetings of counts of spikes n with a weight
    graded: float = 0.0  # meetings of any other value with a weight
    magnitude: float = 0.0  # sum of |x| over all meetings
    once: float = 0.0  # meetings of an input that was not 0 in sum over the presentation
    levels: int = 0  # how many different sums there were, REAL_LEVELS if too many to count; 0: not counted
    rows: float = 0.0  # inputs multiplied (time steps; 1 for an input that does not change)
    input_values: float = 0.0
    input_bits: float = 0.0
    real_input: bool = False
    TOTALS: ClassVar[tuple[str, ...]] = (
        "mac", "ac", "add_real", "reads", "events", "graded", "magnitude", "once", "rows", "input_values", "input_bits",
    )  # fmt: skip

    @property
    def connections(self) -> float:
        """Synapses as usually published: a shared weight counts at every place, one on a border of zeros too."""
        return self.units * self.fan_in if self.units else self.dense

    @property
    def driven(self) -> bool:
        """True where spikes are all that comes in, so that cost grows with them."""
        return self.graded == 0

    @property
    def bits(self) -> float:
        """Bits of one input of a presentation, sent at once: of its levels, else of the values as they came."""
        if self.levels == REAL_LEVELS:
            return REAL_BITS
        if self.levels:
            return float(max(1, (self.levels - 1).bit_length()))
        return self.input_bits / self.input_values if self.input_values else 1.0


@dataclass
class NeuronCount:
    """A layer of neurons; `neurons` is its size, the rest as in `LayerCount`. `cell`: part of a recurrent cell."""

    name: str
    neurons: int
    updates: float = 0.0
    state: float = 0.0  # state numbers read and written, summed over time
    values: float = 0.0  # outputs, summed over time
    spikes: float = 0.0  # sum of |output|
    significant: float = 0.0  # sum of log2(1 + |output|)
    bits: float = 0.0  # bits to write the outputs down
    cell: bool = False
    TOTALS: ClassVar[tuple[str, ...]] = ("updates", "state", "values", "spikes", "significant", "bits")


@dataclass(frozen=True)
class Counts:
    """Means per presentation (one example shown once), in the order the layers ran."""

    presentations: int
    layers: tuple[LayerCount, ...]
    neurons: tuple[NeuronCount, ...]
    uncounted: tuple[str, ...]
    traces: bool  # a layer multiplied presynaptic traces (the online rule)
    units: tuple[NeuronCount, ...] = ()  # nonlinearities without spikes
    filters: tuple[NeuronCount, ...] = ()  # synapses' filters, one behind every unit that they reach
    pooled: float = 0.0  # inputs of all pools, of one step
    order: tuple[str, ...] | None = None  # "layer", "neurons", "units": as they were first met; None: not known

    @property
    def alternate(self) -> bool:
        """Whether neurons (or units) and weight layers take turns, from a weight layer to a weight layer."""
        if self.order is None:
            return True
        turns = [kind == "layer" for kind in self.order]
        return turns == [place % 2 == 0 for place in range(len(turns))] and len(turns) % 2 == 1


def tensor_bits(module: nn.Module, name: str) -> float:
    """Bits per value of a parameter: the fewest of its parametrizations, 32 without one."""
    if not parametrize.is_parametrized(module, name):
        return REAL_BITS
    chain: Any = module.parametrizations[name]  # type: ignore[index]
    return min((float(getattr(p, "bits", REAL_BITS)) for p in chain), default=REAL_BITS)


def value_bits(x: Tensor) -> tuple[float, float]:
    """(bits to write one value of x, largest |x|); 32 bits unless all are whole numbers."""
    low, high = (bound.item() for bound in x.aminmax())
    largest = max(-low, high)
    if not math.isfinite(largest) or not bool((x == x.round()).all()):
        return REAL_BITS, largest
    return min(REAL_BITS, max(1, math.ceil(math.log2(largest + 1))) + (low < 0)), largest


def inputs_of(layer: Any) -> int:
    """Features or channels that a weight layer takes."""
    return int(layer.in_channels if hasattr(layer, "in_channels") else layer.in_features)


def fan_in(layer: Any) -> int:
    """Weights of one output of a weight layer; of a transposed convolution their mean over its outputs."""
    over = getattr(layer, "groups", 1) * (math.prod(layer.stride) if getattr(layer, "transposed", False) else 1)
    return max(1, inputs_of(layer) * math.prod(getattr(layer, "kernel_size", ())) // over)


def levels_of(x: Tensor) -> set[float] | None:
    """The different values in x; none where there are more than MOST_LEVELS."""
    flat = x.detach().flatten()
    low, high = (bound.item() for bound in flat.aminmax())
    if high - low < MOST_LEVELS and bool((flat == flat.round()).all()):
        found = torch.bincount((flat - low).long()).nonzero().flatten().double() + low
        return set(found.tolist())
    # A look at a part first: real activations need no sorting of all.
    if len(flat[: 2 * MOST_LEVELS].unique()) > MOST_LEVELS or len(values := flat.unique()) > MOST_LEVELS:
        return None
    return set(values.tolist())


def reach_of(layer: Any, space: tuple[int, ...]) -> Tensor:
    """Outputs that one input value of a weight layer reaches, float64: a scalar, or by its place (*space)."""
    if not space:
        return torch.tensor(float(layer.out_features), dtype=torch.float64)
    if getattr(layer, "padding_mode", "zeros") != "zeros":
        refuse("operation count", f"padding_mode {layer.padding_mode!r}", "convolutions padded with zeros")
    called = f"conv{'_transpose' if getattr(layer, 'transposed', False) else ''}{len(space)}d"
    how = {name: getattr(layer, name) for name in HOW if hasattr(layer, name)}
    outputs: int = layer.out_channels // getattr(layer, "groups", 1)
    return outputs * reached(called, layer.kernel_size, space, **how)


def reached(
    called: str, kernel: tuple[int, ...], space: tuple[int, ...], stride: Any = 1, padding: Any = 0,
    output_padding: Any = 0, dilation: Any = 1,
) -> Tensor:  # fmt: skip
    """How many places of one output channel each input of a convolution, by its name, reaches, float64 (*space)."""
    how = (stride, padding, output_padding, 1, dilation) if "transpose" in called else (stride, padding, dilation)
    # The gradient of the sum of a convolution with ones is how often each input was used.
    with torch.inference_mode(False), torch.enable_grad():
        x = torch.zeros(1, 1, *space, dtype=torch.float64, requires_grad=True)
        y = getattr(F, called)(x, torch.ones(1, 1, *kernel, dtype=torch.float64), None, *how)
        (reach,) = torch.autograd.grad(y.sum(), x)
    return reach[0, 0]
