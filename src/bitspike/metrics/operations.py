"""Count the operations of what really ran, layer by layer, with forward hooks.

An input value x that is not 0 meets as many weights as it has outputs to reach (padding and stride counted
exactly); a zero costs nothing. What one such meeting needs:

    weights +-c (all |w| equal)    x in {-1, 0, 1}         1 addition      `ac`
                                   any other x             1 addition      `add_real`
    any other weights              whole numbers |x| <= 16 |x| additions   `ac`
                                   any other x             1 multiply-add  `mac`

The kind of x is that of the whole tensor of a call; the common factor c, biases, normalisation and pooling
are not counted. Whole numbers up to 16, and whatever a quantiser or a spiking unit sent, are counts of spikes: `events`
is the sum of |x| over their meetings, `graded` the meetings of all other values. A neuron that is stepped is one
`update`, whatever its equation. `dense` is the multiply-adds of one pass of the same layer with every input active.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from types import TracebackType
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.utils.hooks import RemovableHandle

from bitspike.convert import Hybrid, RateNetwork, Spiking
from bitspike.convert.nonlinearities import MODULES
from bitspike.convert.rate_units import MaxUnit, RateUnit
from bitspike.convert.spiking import SpikingUnit
from bitspike.errors import refuse
from bitspike.layers import LMU, Local2d, ParallelLMU, Stepwise, SynapticLayer
from bitspike.metrics.cells import GATED, Product, counts, gated_products, lmu_products, memory_products
from bitspike.metrics.counts import (
    REAL_BITS,
    REAL_LEVELS,
    Counts,
    LayerCount,
    NeuronCount,
    fan_in,
    fan_out,
    tensor_bits,
    value_bits,
)  # fmt: skip
from bitspike.metrics.functions import FunctionWatch
from bitspike.metrics.sent import POOLS, Once, Sent, meetings, note_levels
from bitspike.neurons import SoftNeuron, TemporalQuantiser

STATIC: tuple[type[nn.Module], ...] = (*MODULES, SoftNeuron)
LARGEST_COUNT = 16
# Networks whose layers lie in `net`, by the names they have in the model that was converted.
OWNERS = (Spiking, Hybrid, RateNetwork)
Count = TypeVar("Count", LayerCount, NeuronCount)


class OperationCounter:
    """Counts while the `with` block runs `model`; tell it how many examples every pass presented.

        with OperationCounter(model) as counter:
            with counter.presentation(B):
                model(events)                   # (T, B, *features)
        counter.counts()

    `add_examples(B)` after a pass does it too, but what came in is then not summed over the presentation: no `once`,
    no `levels`. Hooks sit on every Linear, Conv1d, Conv2d and Local2d, on synapses (whose filter is counted behind the
    weights, where it is one per unit), on recurrent cells (`cells`), pools and nonlinearities, and on every module with
    `is_spiking`: neurons, which return spikes (T, B, *), or layers of the online rule, which return (read-out, spikes,
    state) of one step. What a quantiser sends counts as the whole numbers n = dt y.
    """

    LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, Local2d)

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.examples = 0
        self._layers: dict[str, LayerCount] = {}
        self._neurons: dict[str, NeuronCount] = {}
        self._units: dict[str, NeuronCount] = {}
        self._filters: dict[str, NeuronCount] = {}
        self._pooled: dict[str, float] = {}
        self._levels: dict[str, set[float] | None] = {}
        self._reach: dict[tuple[str, tuple[int, ...]], Tensor] = {}
        self._traces = False
        self._hooks: list[RemovableHandle] = []
        self._cells: list[tuple[LMU, Callable[..., None]]] = []
        self._wrapped: list[RateUnit | MaxUnit] = []
        self._sent = Sent()
        self._pass: Once | None = None
        # What does not change over time and was multiplied already, by layer.
        self._held: dict[str, Tensor] = {}

    def __enter__(self) -> OperationCounter:
        # Behind a synapse, within a quantiser or a spiking unit: counted with their owner.
        inner = {
            module
            for owner in self.model.modules()
            if isinstance(owner, SynapticLayer | TemporalQuantiser | SpikingUnit)
            for module in owner.modules()
            if module is not owner
        }
        prefix = "net." if isinstance(self.model, OWNERS) else ""
        for path, module in self.model.named_modules():
            name = path.removeprefix(prefix)
            if module in inner:
                continue
            if isinstance(module, self.LAYERS):
                self._hook(module, self._count_layer, name)
            if isinstance(module, SynapticLayer):
                self._hook(module, self._count_synaptic, name)
            if isinstance(module, SpikingUnit):
                self._hook(module, self._count_unit, name)
            if isinstance(module, RateUnit | MaxUnit):
                self._wrap(module, name)
            if isinstance(module, GATED):
                self._hook(module, self._count_gated, name)
            if isinstance(module, ParallelLMU):
                self._hook(module, self._count_memory, name)
            if isinstance(module, POOLS):
                self._hook(module, self._count_pool, name)
            if isinstance(module, STATIC):
                self._hook(module, self._count_static, name)
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
        for unit in self._wrapped:
            del unit.over_time
        self._wrapped.clear()
        self._hooks.clear()
        self._cells.clear()
        self._sent.clear()
        self._held.clear()

    @contextmanager
    def presentation(self, examples: int, time_first: bool = True) -> Iterator[None]:
        """The pass in the block presents `examples` examples; time_first: rows of layers are T B, step after step."""
        self._pass = Once(examples, time_first)
        try:
            with FunctionWatch(self.model, self._count_function, time_first):
                yield
            self._pass.close(self._layers, self._levels)
        finally:
            self._pass = None
            self._sent.clear()
            self._held.clear()
        self.add_examples(examples)

    def add_examples(self, number: int) -> None:
        """Say that `number` more examples were presented (each of R draws of an example counts as one)."""
        if number < 0:
            refuse("operation count examples", number, "0 or more")
        self.examples += number

    def counts(self) -> Counts:
        """What one presentation needed, on average."""
        if self.examples == 0:
            refuse("operation count examples", 0, "add_examples(B) after every pass")
        for name, found in self._levels.items():
            self._layers[name].levels = REAL_LEVELS if found is None else len(found)
        return Counts(
            self.examples,
            tuple(self._mean(layer) for layer in self._layers.values()),
            tuple(self._mean(layer) for layer in self._neurons.values()),
            tuple(self._uncounted()),
            self._traces,
            tuple(self._mean(unit) for unit in self._units.values()),
            tuple(self._mean(each) for each in self._filters.values()),
            sum(self._pooled.values()),
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
        reach, row = self._reach[name, space], math.prod((features, *space))
        if name not in self._layers:
            dense = reach.sum().item() * features
            width = tensor_bits(module, "weight")
            # A parametrized layer has a class of its own.
            kind = next(base.__name__ for base in self.LAYERS if isinstance(module, base))
            units = output.numel() * row / x.numel() if x.numel() else 0.0
            self._layers[name] = LayerCount(name, kind, weight.numel(), width, dense, units, fan_in(module))
        n = self._sent.counts(x)
        self._add(self._layers[name], x if n is None else n, weight, reach, row, n is not None)

    def _count_synaptic(self, name: str, module: SynapticLayer, x: Tensor, y: Tensor) -> None:
        layer: Any = module.layer
        if module.synapse is not None:
            found = self._filters.setdefault(name, NeuronCount(name, y[0, 0].numel()))
            found.updates += y.numel()
            found.state += y.numel() * _size(module.synapse.initial(y[:1, :1, ...].flatten()[:1]))
        if x.shape[0] == 1 or x.stride(0) == 0:
            # A picture that is shown over several calls is multiplied once.
            if name in self._held and torch.equal(self._held[name], x[0]):
                return
            # One step of spikes may well equal the next.
            if x.shape[0] > 1 or value_bits(x)[0] == REAL_BITS:
                self._held[name], x, y = x[0], x[:1], y[:1]
        inner = layer.layer if isinstance(layer, Stepwise) else layer
        self._count_layer(name, inner, x.flatten(0, 1), y.flatten(0, 1))

    def _count_unit(self, name: str, module: SpikingUnit, x: Tensor, y: Tensor) -> None:
        n = (y / module.height).round()
        self._sent.remember(name, y, n)
        self._note_neurons(name, n, y.numel(), y.numel() * _size(module.neuron.initial(x.new_zeros(1))), y.shape[2:])

    def _wrap(self, module: RateUnit | MaxUnit, name: str) -> None:
        """These are not called but stepped, which hooks do not see."""
        stepped = module.over_time

        def watched(x: Tensor) -> Tensor:
            y = stepped(x)
            if isinstance(module, MaxUnit):
                if module.mean is None and self._sent.counts(x) is not None:
                    self._sent.remember(name, y, y.sign())
                return y
            n = (y / module.neuron.theta).round()
            self._sent.remember(name, y, n)
            self._note_neurons(name, n, y.numel(), _size(module.neuron.initial(y[0])) * len(y), y.shape[2:])
            return y

        module.over_time = watched  # type: ignore[method-assign]
        self._wrapped.append(module)

    def _count_pool(self, name: str, module: nn.Module, x: Tensor, y: Any) -> None:
        if isinstance(y, Tensor) and len(x):
            self._pooled[name] = x[0].numel()
            self._sent.through(name, module, x, y)

    def _count_static(self, name: str, module: nn.Module, x: Tensor, y: Tensor) -> None:
        over_time = self._pass is None or self._pass.time_first
        # Within a Stepwise, time and batch are one dimension.
        one = y[0, 0] if over_time and y.ndim > 2 and not self._stepwise(name) else y[0]
        still = y.ndim > 1 and y.shape[0] > 1 and y.stride(0) == 0
        self._note_unit(name, one.numel(), (y[:1] if still else y).numel())

    def _count_function(self, name: str, y: Tensor) -> None:
        self._note_unit(name, y[0].numel(), y.numel())

    def _note_unit(self, name: str, size: int, updates: int) -> None:
        self._units.setdefault(name, NeuronCount(name, size)).updates += updates

    def _stepwise(self, name: str) -> bool:
        parts = name.split(".")
        prefix = "net." if isinstance(self.model, OWNERS) else ""
        above = (self.model.get_submodule(prefix + ".".join(parts[:k])) for k in range(1, len(parts)))
        return any(isinstance(module, Stepwise) for module in above)

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
                    self._neurons[f"{name}.{part}"].cell = True

        return watcher

    def _count_products(self, name: str, kind: str, products: Iterable[Product]) -> None:
        for part in products:
            steps, _, inputs = part.x.shape
            key = f"{name}.{part.name}"
            dense = steps * inputs * part.reach
            layer = self._layers.setdefault(key, LayerCount(key, kind, part.weight.numel(), REAL_BITS, dense))
            reach = torch.tensor(part.reach, dtype=torch.float64)
            self._add(layer, part.x.flatten(0, 1), part.weight, reach, inputs, over_time=False)

    def _add(
        self,
        layer: LayerCount,
        x: Tensor,
        weight: Tensor,
        reach: Tensor,
        row: int,
        sent: bool = False,
        over_time: bool = True,
    ) -> None:
        """Inputs x of one call; sent: they are counts of spikes; over_time: a network that runs once gets their sum."""
        if x.numel() == 0:
            return
        x = x.detach() if x.is_floating_point() else x.detach().double()
        size = weight.detach().abs()
        binary = size.numel() > 1 and bool(size.max() == size.min()) and bool(size.max() > 0)
        bits, largest = value_bits(x)
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
        if isinstance(module, TemporalQuantiser) and spikes.numel():
            n = counts(module, spikes)
            self._sent.remember(name, spikes, n)
            spikes = n
        self._note_neurons(name, spikes.detach(), updates, numbers, shape)

    def _note_neurons(self, name: str, n: Tensor, updates: int, numbers: int, shape: tuple[int, ...]) -> None:
        """Outputs n of spiking neurons in one call, their updates, and the state numbers read and written."""
        if n.numel() == 0:
            return
        layer = self._neurons.setdefault(name, NeuronCount(name, math.prod(shape)))
        bits, largest = value_bits(n)
        size = n.abs()
        spikes = size.sum(dtype=torch.float64).item()
        layer.updates += updates
        layer.state += numbers
        layer.values += n.numel()
        layer.spikes += spikes
        # log2(1 + |n|) of a spike is 1.
        ones = bits < REAL_BITS and largest <= 1
        layer.significant += spikes if ones else torch.log2(1 + size.double()).sum().item()
        layer.bits += n.numel() * bits

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
