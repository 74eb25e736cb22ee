"""What the products of one call add to the counts of its layer: a module, or a call of a function."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from bitspike.energy.counts import REAL_BITS, LayerCount, NeuronCount, reached, value_bits
from bitspike.energy.functions import CONVOLUTIONS
from bitspike.energy.origins import Origins
from bitspike.energy.sent import Once, meetings, note_levels

LARGEST_COUNT = 16


class Unbatched(Exception):
    """A convolution got one image without a batch."""


class LayerSums:
    """Layers and units as they are added up, over the passes of a model.

    Of one pass: whether the origin of all is known, whether the frames of its input may be spikes, their number, and
    for each layer the dense products of every call with the steps it was of.
    """

    def __init__(self, unbatched: bool) -> None:
        self.unbatched = unbatched
        self._layers: dict[str, LayerCount] = {}
        self._units: dict[str, NeuronCount] = {}
        self._levels: dict[str, set[float] | None] = {}
        self._origins = Origins(())
        self._names: dict[int, str] = {}  # of parameters and buffers, by identity
        self._used: set[int] = set()  # weights of counted calls of functions
        self._missed: dict[str, None] = {}
        self._pass: Once | None = None
        self._strict, self._frames, self._steps = False, True, 1
        self._calls: dict[str, list[tuple[float, float]]] = {}
        self._sizes: dict[str, int] = {}
        self._dense: set[str] = set()

    def _note_uses(self, done: Once) -> None:
        """A layer that is called for several things is as many layers of a network that runs once.

        Calls of one step each, as many as there are steps, are one use over time.
        """
        for name, calls in self._calls.items():
            if name in self._dense:
                continue
            self._dense.add(name)
            layer = self._layers[name]
            total = sum(dense for dense, _ in calls)
            if not done.time_first:
                # Rows beside the examples (patches, tokens) are uses as well.
                total = sum(dense * rows for dense, rows in calls)
            elif self._steps > 1 and len(calls) % self._steps == 0 and all(rows == 1 for _, rows in calls):
                total /= self._steps
            layer.units *= total / layer.dense if layer.dense else 1.0
            layer.dense = total
        for name, size in self._sizes.items():
            if not done.time_first:
                self._units[name].neurons = max(self._units[name].neurons, size)

    def _origin(self, x: Tensor) -> tuple[Tensor | None, bool]:
        """The counts of spikes behind x, if it is known that it stands for some; and whether it is known to be real."""
        n = self._origins.counts(x)
        if n is not None or not self._strict:
            return n, False
        known = self._origins.of(x)
        return None, not (self._frames and known is not None and known.kind == "input")

    def _check_batch(self) -> None:
        if self._pass is not None and not self.unbatched:
            raise Unbatched

    def _note_call(self, name: str, dense: float, rows: float) -> None:
        if self._pass is not None:
            self._calls.setdefault(name, []).append((dense, rows / self._pass.examples))

    def _count_call(self, called: str, arguments: Any, options: dict[str, Any], y: Tensor) -> None:
        """A product that is the call of a function: x (..., K) with W, or two activations with each other."""
        with torch.no_grad():
            if called in CONVOLUTIONS or called == "linear":
                self._count_weighing(called, arguments, options)
                return
            a, b = [each for each in (*arguments, *options.values()) if isinstance(each, Tensor)][-2:]
            if called == "rmatmul":
                a, b = b, a
            known = self._origins.of(b)
            if known is not None and known.kind == "weights" and b.ndim <= 2:
                outputs = float(b.shape[-1]) if b.ndim == 2 else 1.0
                self._count_functional(called, a, b, torch.tensor(outputs, dtype=torch.float64), a.shape[-1])
                return
            first = self._origins.of(a)
            if first is not None and first.kind == "weights" and a.ndim == 2 and b.ndim >= 1:
                met = torch.tensor(float(a.shape[0]), dtype=torch.float64)
                turned = b if b.ndim == 1 else b.transpose(-1, -2)
                self._count_functional(
                    called, turned, a, met, b.shape[-2 if b.ndim > 1 else 0], self._origins.counts(b)
                )
                return
            # Every entry of the result is a sum over K products.
            met = torch.tensor(y.numel() * a.shape[-1] / max(1, a.numel()), dtype=torch.float64)
            self._count_functional(called, a, b, met, a.shape[-1], active=True)

    def _count_weighing(self, called: str, arguments: Any, options: dict[str, Any]) -> None:
        names = ["input", "weight", "bias", "stride", "padding", "dilation", "groups"]
        if called.startswith("conv_transpose"):
            names[5:] = ["output_padding", "groups", "dilation"]
        given = dict(zip(names, arguments, strict=False)) | options
        x, weight = given["input"], given["weight"]
        if called == "linear":
            reach, row = torch.tensor(float(weight.shape[0]), dtype=torch.float64), int(weight.shape[-1])
            self._count_functional(called, x, weight, reach, row)
            return
        if x.ndim == weight.ndim - 1:
            self._check_batch()
        space, groups = tuple(x.shape[x.ndim - weight.ndim + 2 :]), given.get("groups", 1)
        how = [given.get("stride", 1), given.get("padding", 0)]
        transposed = called.startswith("conv_transpose")
        how += [given.get("output_padding", 0), 1] if transposed else []
        how.append(given.get("dilation", 1))
        outputs = weight.shape[1] if transposed else weight.shape[0] // groups
        reach = outputs * reached(getattr(torch, called), tuple(weight.shape[2:]), space, *how)
        self._count_functional(called, x, weight, reach, math.prod((x.shape[x.ndim - len(space) - 1], *space)))

    def _count_functional(
        self, called: str, x: Tensor, weight: Tensor, reach: Tensor, row: int, n: Tensor | None = None,
        active: bool = False,
    ) -> None:  # fmt: skip
        """active: the other operand is no weight."""
        if not x.numel():
            return
        known = self._origins.of(weight)
        roots = set() if active or known is None else known.weights
        self._used |= roots
        path = " ".join(sorted(self._names[root] for root in roots if root in self._names))
        name = f"{path} ({called})" if path else f"{called} of activations"
        dense = reach.sum().item() * (row // max(1, reach.numel()))
        if name not in self._layers:
            values = 0 if active else weight.numel()
            self._layers[name] = LayerCount(name, called, values, REAL_BITS, dense)
        self._note_call(name, dense, x.numel() / row)
        found, real = (n, n is None and self._strict) if n is not None else self._origin(x)
        if found is not None and n is not None:
            found = n if n.shape == x.shape else n.transpose(-1, -2)
        self._add(self._layers[name], x if found is None else found, weight, reach, row, found is not None, real=real)

    def _note_missed(self, name: str) -> None:
        self._missed[f"{name} (a function)"] = None

    def _add(
        self,
        layer: LayerCount,
        x: Tensor,
        weight: Tensor,
        reach: Tensor,
        row: int,
        sent: bool = False,
        over_time: bool = True,
        real: bool = False,
    ) -> None:
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
        if self._pass is not None and not (over_time and self._pass.add(layer, x, reach, row)):
            layer.once += reads
            note_levels(self._levels, layer.name, x)
