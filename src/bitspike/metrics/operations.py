"""Count the operations of what really ran, layer by layer, with forward hooks.

An input value x that is not 0 meets as many weights as it has outputs to reach (padding and stride counted
exactly); a zero costs nothing. What one such meeting needs:

    weights +-c (all |w| equal)    x in {-1, 0, 1}         1 addition      `ac`
                                   any other x             1 addition      `add_real`
    any other weights              whole numbers |x| <= 16 |x| additions   `ac`
                                   any other x             1 multiply-add  `mac`

The kind of x is that of the whole tensor of a call; the common factor c, biases, normalisation and pooling
are not counted. A neuron that is stepped is one `update`, whatever its equation. `dense` is the multiply-adds
of one pass of the same layer with every input active.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import replace
from types import TracebackType
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.utils.hooks import RemovableHandle

from bitspike.errors import refuse
from bitspike.layers import LMU, Local2d, ParallelLMU
from bitspike.metrics.cells import GATED, Product, counts, gated_products, lmu_products, memory_products
from bitspike.metrics.counts import (
    REAL_BITS,
    Counts,
    LayerCount,
    NeuronCount,
    fan_out,
    tensor_bits,
    value_bits,
)  # fmt: skip
from bitspike.neurons import TemporalQuantiser

LARGEST_COUNT = 16
Count = TypeVar("Count", LayerCount, NeuronCount)


class OperationCounter:
    """Counts while the `with` block runs `model`; tell it how many examples every pass presented.

        with OperationCounter(model) as counter:
            model(events)                       # (T, B, *features)
            counter.add_examples(B)
        counter.counts()

    Hooks sit on every Linear, Conv1d, Conv2d and Local2d, on recurrent cells (`cells`), and on every module with
    `is_spiking`: neurons, which return spikes (T, B, *), or layers of the online rule, which return (read-out, spikes,
    state) of one step. What a quantiser sends counts as the whole numbers n = dt y.
    """

    LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, Local2d)

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.examples = 0
        self._layers: dict[str, LayerCount] = {}
        self._neurons: dict[str, NeuronCount] = {}
        self._reach: dict[tuple[str, tuple[int, ...]], Tensor] = {}
        self._traces = False
        self._hooks: list[RemovableHandle] = []
        self._cells: list[tuple[LMU, Callable[..., None]]] = []
        # The last output of every quantiser and its whole numbers, for the layer that reads it.
        self._sent: dict[str, tuple[Tensor, Tensor]] = {}

    def __enter__(self) -> OperationCounter:
        for name, module in self.model.named_modules():
            if isinstance(module, self.LAYERS):
                self._hook(module, self._count_layer, name)
            if isinstance(module, GATED):
                self._hook(module, self._count_gated, name)
            if isinstance(module, ParallelLMU):
                self._hook(module, self._count_memory, name)
            if isinstance(module, LMU):
                self._cells.append((module, self._watch(name, module)))
                module.watchers.append(self._cells[-1][1])
            if getattr(module, "is_spiking", False):
                self._hook(module, self._count_neurons, name)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for handle in self._hooks:
            handle.remove()
        for cell, watcher in self._cells:
            cell.watchers.remove(watcher)
        self._hooks.clear()
        self._cells.clear()
        self._sent.clear()

    def add_examples(self, number: int) -> None:
        """Say that `number` more examples were presented (each of R draws of an example counts as one)."""
        if number < 0:
            refuse("operation count examples", number, "0 or more")
        self.examples += number

    def counts(self) -> Counts:
        """What one presentation needed, on average."""
        if self.examples == 0:
            refuse("operation count examples", 0, "add_examples(B) after every pass")
        return Counts(
            self.examples,
            tuple(self._mean(layer) for layer in self._layers.values()),
            tuple(self._mean(layer) for layer in self._neurons.values()),
            tuple(self._uncounted()),
            self._traces,
        )

    def _mean(self, total: Count) -> Count:
        return replace(total, **{name: getattr(total, name) / self.examples for name in total.TOTALS})

    def _uncounted(self) -> list[str]:
        """Modules with a weight matrix that no hook sees."""
        return [
            f"{name} ({type(module).__name__})"
            for name, module in self.model.named_modules()
            if not isinstance(module, (*self.LAYERS, *GATED, LMU, parametrize.ParametrizationList))
            and not getattr(module, "is_spiking", False)
            and any(p.ndim > 1 for p in module.parameters(recurse=False))
        ]

    def _hook(self, module: nn.Module, count: Callable[..., None], name: str) -> None:
        def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
            with torch.no_grad():
                count(name, module, args[0] if args else next(iter(kwargs.values())), output)

        self._hooks.append(module.register_forward_hook(hook, with_kwargs=True))

    def _count_layer(self, name: str, module: nn.Module, x: Tensor, output: Tensor) -> None:
        weight: Tensor = module.weight  # type: ignore[assignment]
        features = int(module.in_features if isinstance(module, nn.Linear) else module.in_channels)  # type: ignore[arg-type]
        # Space follows the channels; all that stands before them is rows (examples, or steps x examples).
        space = tuple(x.shape[x.ndim - (2 if isinstance(module, Local2d) else weight.ndim - 2) :])
        if (name, space) not in self._reach:
            self._reach[name, space] = fan_out(module, space)
        reach = self._reach[name, space]
        if name not in self._layers:
            dense = reach.sum().item() * features
            width = tensor_bits(module, "weight")
            # A parametrized layer has a class of its own.
            kind = next(base.__name__ for base in self.LAYERS if isinstance(module, base))
            self._layers[name] = LayerCount(name, kind, weight.numel(), width, dense)
        for y, n in self._sent.values():
            if y.data_ptr() == x.data_ptr() and y.numel() == x.numel():
                x = n.view_as(x)
        self._add(self._layers[name], x, weight, reach, math.prod((features, *space)))

    def _count_gated(self, name: str, module: nn.Module, x: Tensor, output: tuple[Tensor, Any]) -> None:
        self._count_products(name, type(module).__name__, gated_products(module, x.detach(), output[0].detach()))

    def _count_memory(self, name: str, module: nn.Module, x: Tensor, output: Tensor) -> None:
        assert isinstance(module, ParallelLMU)
        self._count_products(name, "LMU", memory_products(module, x.detach()))

    def _watch(self, name: str, cell: LMU) -> Callable[[Tensor, Tensor, Tensor], None]:
        def watcher(x: Tensor, m: Tensor, h: Tensor) -> None:
            self._count_products(name, "LMU", lmu_products(cell, x.detach(), m.detach(), h.detach()))
            for part, quantiser, y in (("memory", cell.memory, m), ("spikes", cell.spikes, h)):
                if quantiser is not None and quantiser.step_size() is not None:
                    self._count_neurons(f"{name}.{part}", quantiser, y, y)

        return watcher

    def _count_products(self, name: str, kind: str, products: Iterable[Product]) -> None:
        for part in products:
            steps, _, inputs = part.x.shape
            key = f"{name}.{part.name}"
            dense = steps * inputs * part.reach
            layer = self._layers.setdefault(key, LayerCount(key, kind, part.weight.numel(), REAL_BITS, dense))
            reach = torch.tensor(part.reach, dtype=torch.float64)
            self._add(layer, part.x.flatten(0, 1), part.weight, reach, inputs)

    def _add(self, layer: LayerCount, x: Tensor, weight: Tensor, reach: Tensor, row: int) -> None:
        if x.numel() == 0:
            return
        x = x.detach() if x.is_floating_point() else x.detach().double()
        size = weight.detach().abs()
        binary = size.numel() > 1 and bool(size.max() == size.min()) and bool(size.max() > 0)
        bits, largest = value_bits(x)
        whole = bits < REAL_BITS

        def meetings(values: Tensor) -> float:
            per_place = values.reshape(-1, *reach.shape).sum(0, dtype=torch.float64)
            return (per_place.cpu() * reach).sum().item()

        reads = meetings(x != 0)
        if binary and whole and largest <= 1:
            layer.ac += reads
        elif binary:
            layer.add_real += reads
        elif whole and largest <= LARGEST_COUNT:
            layer.ac += meetings(x.abs())
        else:
            layer.mac += reads
        layer.reads += reads
        layer.rows += x.numel() / row
        layer.input_values += x.numel()
        layer.input_bits += x.numel() * bits
        layer.real_input |= not whole

    def _count_neurons(self, name: str, module: nn.Module, x: Tensor, output: Any) -> None:
        if isinstance(output, tuple):
            readout, spikes, state = output
            self._traces = True
            updates = spikes.shape[0] * math.prod(getattr(module, "unit_shape", spikes.shape[1:]))
            numbers = _size(state)
            shape = tuple(spikes.shape[1:])
            self._count_readout(name, module, spikes, readout)
        else:
            spikes = output
            if spikes.ndim < 3:
                refuse(f"{name} output", tuple(spikes.shape), "spikes (T, B, *features)")
            updates = spikes.numel()
            initial = getattr(module, "initial", None)
            numbers = _size(initial(spikes[0])) * spikes.shape[0] if callable(initial) else updates
            shape = tuple(spikes.shape[2:])
        if spikes.numel() == 0:
            return
        if isinstance(module, TemporalQuantiser):
            n = counts(module, spikes)
            self._sent[name] = (spikes, n)
            spikes = n
        layer = self._neurons.setdefault(name, NeuronCount(name, math.prod(shape)))
        values = spikes.detach().double()
        size = values.abs()
        layer.updates += updates
        layer.state += numbers
        layer.values += values.numel()
        layer.spikes += size.sum().item()
        layer.significant += torch.log2(1 + size).sum().item()
        layer.bits += values.numel() * value_bits(values)[0]

    def _count_readout(self, name: str, module: nn.Module, spikes: Tensor, readout: Tensor) -> None:
        """The fixed random read-out of a layer of the online rule, which is no Linear."""
        weight = getattr(module, "readout", None)
        if not isinstance(weight, Tensor):
            return
        outputs, units = weight.shape
        key = f"{name}.readout"
        layer = self._layers.setdefault(key, LayerCount(key, "readout", weight.numel(), 1.0, outputs * units))
        self._add(layer, spikes.flatten(1), weight, torch.tensor(float(outputs), dtype=torch.float64), units)


def _size(state: Any) -> int:
    """Numbers in a nested tuple of tensors."""
    return state.numel() if isinstance(state, Tensor) else sum(map(_size, state))
