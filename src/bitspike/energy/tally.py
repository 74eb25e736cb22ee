"""What is added up while a model runs: products, events, updates and bytes, as its layers report them.

A layer reports itself, behind every call of it (or of its loop, if it keeps `watchers`):

    def report_operations(self, tally, given, output): ...       given: the tuple of what it was called with

and says there what it did, by the methods of `Tally` below; layers of PyTorch are reported by `reports`.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from bitspike.energy.counts import (
    REAL_BITS,
    LayerCount,
    NeuronCount,
    fan_in,
    inputs_of,
    reach_of,
    tensor_bits,
    value_bits,
)
from bitspike.energy.origins import Origins
from bitspike.energy.reports import kind_of
from bitspike.energy.sent import Once, meetings, note_levels

LARGEST_COUNT = 16


class Unbatched(Exception):
    """A convolution got one image without a batch."""


class Tally:
    """Layers and units as they are added up, over the passes of a model.

    Of one pass: whether the origin of all is known (`strict`), whether the frames of its input may be spikes, their
    number, and for each layer the dense products of every call with the steps it was of.
    """

    def __init__(self, unbatched: bool) -> None:
        self.unbatched = unbatched
        # Of the module that reports: its name, its kind, and whether time and batch are one dimension for it.
        self.name, self.kind, self.flat = "", "", False
        self.traces = False  # a layer multiplies presynaptic traces
        self.origins = Origins(())
        self.shown: Once | None = None  # the pass
        self.strict, self.frames, self.steps = False, True, 1
        self.layers: dict[str, LayerCount] = {}
        self.neurons: dict[str, NeuronCount] = {}
        self.units: dict[str, NeuronCount] = {}
        self.filters: dict[str, NeuronCount] = {}
        self.pooled: dict[str, float] = {}
        self.order: dict[tuple[str, str], None] = {}  # of layers, neurons and units, as they were first met
        self.used: set[int] = set()  # weights, by identity, that a counted call of a function multiplied
        self.missed: dict[str, None] = {}  # what was not counted
        self.levels: dict[str, set[float] | None] = {}
        self._reach: dict[tuple[str, tuple[int, ...]], Tensor] = {}
        self._calls: dict[str, list[tuple[float, float]]] = {}
        self._sizes: dict[str, int] = {}
        self._dense: set[str] = set()
        # What does not change over time and was multiplied already, by layer.
        self._held: dict[str, Tensor] = {}

    def weighs(self, layer: Any, x: Tensor, y: Tensor, origin: tuple[Tensor | None, bool] | None = None) -> None:
        """The products of a weight layer (Linear, a convolution, Local2d) of rows x to y; origin: of x, if known."""
        weight, kernel = layer.weight, getattr(layer, "kernel_size", ())
        if getattr(layer, "meets_traces", False):
            origin = None, True
        elif origin is None:
            origin = self.origin(x)
        if kernel and x.ndim == len(kernel) + 1:
            self.check_batch()
        # Space follows the channels; all that stands before them is rows (examples, or steps x examples).
        space = tuple(x.shape[x.ndim - len(kernel) :])
        if (self.name, space) not in self._reach:
            self._reach[self.name, space] = reach_of(layer, space)
        reach, row = self._reach[self.name, space], math.prod((inputs_of(layer), *space))
        if self.name not in self.layers:
            self.order["layer", self.name] = None
            units = y.numel() * row / x.numel() if x.numel() else 0.0
            self.layers[self.name] = LayerCount(
                self.name, kind_of(layer), weight.numel(), tensor_bits(layer, "weight"), dense(reach, row), units,
                fan_in(layer),
            )  # fmt: skip
        self.multiply(self.name, x, weight, reach, row, *origin)

    def weighs_over_time(self, layer: nn.Module, x: Tensor, y: Tensor) -> None:
        """As `weighs`, x (T, B, *) to y (T, B, *): a picture that is shown over several calls is multiplied once."""
        n, real = self.origin(x)
        if x.shape[0] == 1 or x.stride(0) == 0:
            if self.name in self._held and torch.equal(self._held[self.name], x[0]):
                return
            # One step of spikes may well equal the next.
            if x.shape[0] > 1 or (real if self.strict else value_bits(x)[0] == REAL_BITS):
                self._held[self.name], x, y = x[0], x[:1], y[:1]
        n = None if n is None else n[: len(x)].flatten(0, 1)
        self.weighs(layer, x.flatten(0, 1), y.flatten(0, 1), (n, real))

    def product(
        self, part: str, weight: Tensor, x: Tensor, reach: float | Tensor, *, bits: float = REAL_BITS,
        delayed: bool = False, real: bool = False, rows: float | None = None, kind: str = "",
    ) -> None:  # fmt: skip
        """Part of a cell, run at every step whatever comes: x (T, B, I) meets `reach` weights, or (I,), each.

        weight: for size and kind. bits: of one weight. delayed: it meets x of the step before, zeros first. real: x are
        no spikes, whatever their values. rows: examples of this call, where every call is another use of the cell.
        """
        if delayed:
            x = torch.cat([torch.zeros_like(x[:1]), x[:-1]])
        name, inputs, met = f"{self.name}.{part}", x.shape[2], torch.as_tensor(reach, dtype=torch.float64)
        all_steps = float(len(x) * met.expand(inputs).sum())
        self.order["layer", name] = None
        layer = self.layers.setdefault(name, LayerCount(name, kind or self.kind, weight.numel(), bits, all_steps))
        if rows is not None:
            self._note_call(name, all_steps, rows)
        self.add(layer, x.flatten(0, 1), weight, met, inputs, over_time=False, real=real)

    def bits_of(self, layer: nn.Module) -> float:
        """Bits of one of a layer's weights."""
        return tensor_bits(layer, "weight")

    def numbers(self, state: Any) -> int:
        """How many numbers there are in a nested tuple of tensors."""
        return state.numel() if isinstance(state, Tensor) else sum(map(self.numbers, state))

    def active(self, x: Tensor, inputs: int) -> Tensor:
        """As many steps and examples as x (T, B, *) has, of `inputs` real values that are not 0."""
        return x.new_full((*x.shape[:2], inputs), 0.5)

    def fires(
        self, y: Tensor, neuron: Any = None, n: Tensor | None = None, *, part: str = "", cell: bool = False,
        updates: int | None = None, state: int | None = None,
    ) -> None:  # fmt: skip
        """y (T, B, *), or (B, *) of one step with its `state`: what neurons put out, standing for the counts n.

        neuron: has `initial`, and so says how many numbers it keeps; without, one for each unit. updates: of neurons,
        one for each value of y if not said. state: numbers that were read and written. cell: part of a recurrent cell.
        """
        if y.numel() == 0:
            return
        shape = y.shape[2:] if state is None else y.shape[1:]
        if state is None:
            initial = getattr(neuron, "initial", None)
            state = self.numbers(initial(y[0])) * len(y) if callable(initial) else y.numel()
        n = self.sends(y, n)
        name = f"{self.name}.{part}" if part else self.name
        self.order["neurons", name] = None
        layer = self.neurons.setdefault(name, NeuronCount(name, math.prod(shape), cell=cell))
        bits, largest = value_bits(n)
        size = n.abs()
        spikes = size.sum(dtype=torch.float64).item()
        layer.updates += y.numel() if updates is None else updates
        layer.state += state
        layer.values += n.numel()
        layer.spikes += spikes
        # log2(1 + |n|) of a spike is 1.
        ones = bits < REAL_BITS and largest <= 1
        layer.significant += spikes if ones else torch.log2(1 + size.double()).sum().item()
        layer.bits += n.numel() * bits

    def reads_out(self, x: Tensor, weight: Tensor) -> None:
        """A fixed read-out of -1 and +1 that is no layer: rows x (B, I) times weight (O, I)."""
        name, (outputs, row) = f"{self.name}.readout", weight.shape
        self.order["layer", name] = None
        layer = self.layers.setdefault(name, LayerCount(name, "readout", outputs * row, 1.0, outputs * row))
        self.add(layer, x, weight, torch.tensor(float(outputs), dtype=torch.float64), row)

    def sends(self, y: Tensor, n: Tensor | None = None) -> Tensor:
        """y stands for counts n from here on; not said, for the whole numbers or spikes of one height in it, if any."""
        if n is not None:
            self.origins.sent(y, n)
        elif value_bits(y)[0] < REAL_BITS:
            self.origins.sent(y)
        elif bool(((y == 0) | (y.abs() == y.abs().max())).all()):
            self.origins.sent(y, y.sign())
        return y.detach() if n is None else n.detach()

    def computes(self, y: Tensor) -> None:
        """Units without spikes, as nonlinearities are, gave y."""
        over_time = self.shown is None or self.shown.time_first
        one = y if self.unbatched else y[0, 0] if over_time and y.ndim > 2 and not self.flat else y[0]
        still = y.ndim > 1 and y.shape[0] > 1 and y.stride(0) == 0
        self.note_unit(self.name, one.numel(), (y[:1] if still else y).numel())

    def filters_input(self, y: Tensor, synapse: Any) -> None:
        """A filter of every one of the units behind y (T, B, *)."""
        found = self.filters.setdefault(self.name, NeuronCount(self.name, y[0, 0].numel()))
        found.updates += y.numel()
        found.state += y.numel() * self.numbers(synapse.initial(y[:1, :1, ...].flatten()[:1]))

    def pools(self, x: Tensor) -> None:
        """A pool takes x in."""
        self.pooled[self.name] = (x if self.unbatched else x[0]).numel()

    def origin(self, x: Tensor) -> tuple[Tensor | None, bool]:
        """The counts of spikes behind x, if it is known that it stands for some; and whether it is known to be real."""
        n = self.origins.counts(x)
        if n is not None or not self.strict:
            return n, False
        known = self.origins.of(x)
        return None, not (self.frames and known is not None and known.kind == "input")

    def note_unit(self, name: str, size: int, updates: int) -> None:
        """Nonlinearities of one call."""
        self.order["units", name] = None
        self.units.setdefault(name, NeuronCount(name, size)).updates += updates
        # A module that is called twice is two layers of units.
        self._sizes[name] = self._sizes.get(name, 0) + size

    def check_batch(self) -> None:
        """Of an image that came without a batch."""
        if self.shown is not None and not self.unbatched:
            raise Unbatched

    def multiply(
        self, name: str, x: Tensor, weight: Tensor, reach: Tensor, row: int, n: Tensor | None, real: bool
    ) -> None:
        """Inputs x of one call of layer `name`, in rows; n: the counts they are known to stand for."""
        self._note_call(name, dense(reach, row), x.numel() / row)
        self.add(self.layers[name], x if n is None else n, weight, reach, row, n is not None, real=real)

    def _note_call(self, name: str, products: float, rows: float) -> None:
        if self.shown is not None:
            self._calls.setdefault(name, []).append((products, rows / self.shown.examples))

    def note_uses(self, done: Once) -> None:
        """A layer that is called for several things is as many layers of a network that runs once.

        Calls of one step each, as many as there are steps, are one use over time.
        """
        for name, calls in self._calls.items():
            if name in self._dense:
                continue
            self._dense.add(name)
            layer = self.layers[name]
            total = sum(products for products, _ in calls)
            if not done.time_first:
                # Rows beside the examples (patches, tokens) are uses as well.
                total = sum(products * rows for products, rows in calls)
            elif self.steps > 1 and len(calls) % self.steps == 0 and all(rows == 1 for _, rows in calls):
                total /= self.steps
            layer.units *= total / layer.dense if layer.dense else 1.0
            layer.dense = total
        if not done.time_first:
            for name, size in self._sizes.items():
                self.units[name].neurons = max(self.units[name].neurons, size)

    def add(
        self, layer: LayerCount, x: Tensor, weight: Tensor, reach: Tensor, row: int, sent: bool = False,
        over_time: bool = True, real: bool = False,
    ) -> None:  # fmt: skip
        """Inputs x of one call; sent: they are counts of spikes; over_time: a network that runs once gets their sum.

        real: they are none, whatever their values.
        """
        if x.numel() == 0:
            return
        x = x.detach() if x.is_floating_point() else x.detach().double()
        size = weight.detach().abs()
        binary = size.numel() > 1 and bool(size.max() == size.min()) and bool(size.max() > 0)
        bits, largest = (REAL_BITS, math.inf) if real else value_bits(x)
        whole = bits < REAL_BITS
        reads = meetings(x != 0, reach)
        magnitude = reads if whole and largest <= 1 else meetings(x.abs(), reach)
        if binary and whole and largest <= 1:
            layer.ac += reads
        elif binary:
            layer.add_real += reads
        elif whole and largest <= LARGEST_COUNT:
            layer.ac += magnitude
        else:
            layer.mac += reads
        if whole and (sent or largest <= LARGEST_COUNT):
            layer.events += magnitude
        else:
            layer.graded += reads
        layer.reads += reads
        layer.magnitude += magnitude
        layer.rows += x.numel() / row
        layer.input_values += x.numel()
        layer.input_bits += x.numel() * bits
        layer.real_input |= not whole
        if self.shown is not None and not (over_time and self.shown.add(layer, x, reach, row)):
            layer.once += reads
            note_levels(self.levels, layer.name, x)


def dense(reach: Tensor, row: int) -> float:
    """Products of one row if every value of it is active."""
    return reach.sum().item() * (row // max(1, reach.numel()))
