"""Count the operations of what really ran, layer by layer, with forward hooks.

An input value x that is not 0 meets as many weights as it has outputs to reach (padding and stride counted
exactly); a zero costs nothing. What one such meeting needs:

    weights +-c (all |w| equal)    x in {-1, 0, 1}         1 addition      `ac`
                                   any other x             1 addition      `add_real`
    any other weights              whole numbers |x| <= 16 |x| additions   `ac`
                                   any other x             1 multiply-add  `mac`

The kind of x is that of the whole tensor of a call; the common factor c, biases, normalisation and pooling
are not counted. Whether x are spikes is known from where it comes (`origins`): what a neuron, a quantiser or a spiking
unit sent, behind gains, pools and shapes too, counts as the whole numbers n it stands for; a picture, and arithmetic on
real numbers, is real whatever its values. Frames of an input that changes over time are spikes where they are whole
numbers up to 16; so is what nobody is known to have sent, where `presentation` was not told the input. `events` is the
sum of |x| over meetings of spikes, `graded` the meetings of all other values. A neuron that is stepped is one
`update`, whatever its equation. `dense` is the multiply-adds of one pass of the same layer with every input active.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from types import TracebackType
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.utils.hooks import RemovableHandle

from bitspike.cells import LMU, ParallelLMU
from bitspike.convert import Hybrid, RateNetwork, Spiking
from bitspike.convert.nonlinearities import MODULES
from bitspike.convert.relu.rate_units import MaxUnit, RateUnit
from bitspike.convert.soft.spiking import SpikingUnit
from bitspike.energy.cell_sums import CellSums
from bitspike.energy.cells import GATED, counts, lmu_products
from bitspike.energy.counts import (
    CONVOLUTIONS,
    REAL_BITS,
    REAL_LEVELS,
    TRANSPOSED,
    Counts,
    LayerCount,
    NeuronCount,
    fan_in,
    fan_out,
    tensor_bits,
    value_bits,
)  # fmt: skip
from bitspike.energy.functions import FunctionWatch
from bitspike.energy.origins import Origins
from bitspike.energy.sent import POOLS, Once
from bitspike.errors import refuse
from bitspike.layers import Local2d, Stepwise, SynapticLayer
from bitspike.neurons import SoftNeuron, TemporalQuantiser

STATIC: tuple[type[nn.Module], ...] = (*MODULES, SoftNeuron)
# Networks whose layers lie in `net`, by the names they have in the model that was converted.
OWNERS = (Spiking, Hybrid, RateNetwork)
Count = TypeVar("Count", LayerCount, NeuronCount)
# Statistics of each example, which fold into nothing: named as not counted.
UNFOLDED = (
    nn.LayerNorm, nn.GroupNorm, nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d, nn.LocalResponseNorm,
    nn.RMSNorm, nn.MultiheadAttention,
)  # fmt: skip


class OperationCounter(CellSums):
    """Counts while the `with` block runs `model`; tell it how many examples every pass presented.

        with OperationCounter(model) as counter:
            with counter.presentation(B):
                model(events)                   # (T, B, *features)
        counter.counts()

    `add_examples(B)` after a pass does it too, but what came in is then not summed over the presentation: no `once`,
    no `levels`. Hooks sit on every Linear, convolution (transposed ones too) and Local2d, on synapses (whose filter is
    counted behind the weights, where it is one per unit), on recurrent cells (`cells`), pools and nonlinearities, and
    on every module with `is_spiking`: neurons, which return spikes (T, B, *), or layers of the online rule, which
    return (read-out, spikes, state) of one step. What a quantiser sends counts as the whole numbers n = dt y. Products
    that are calls of functions are layers too (`layer_sums`); others are named as not counted.
    """

    LAYERS = (nn.Linear, *CONVOLUTIONS, *TRANSPOSED, Local2d)

    def __init__(self, model: nn.Module, unbatched: bool = False) -> None:
        """unbatched: inputs are one image each, without a batch."""
        super().__init__(unbatched)
        self.model = model
        self.examples = 0
        self._neurons: dict[str, NeuronCount] = {}
        self._filters: dict[str, NeuronCount] = {}
        self._pooled: dict[str, float] = {}
        self._reach: dict[tuple[str, tuple[int, ...]], Tensor] = {}
        self._traces = False
        self._hooks: list[RemovableHandle] = []
        self._cells: list[tuple[LMU, Callable[..., None]]] = []
        self._wrapped: list[RateUnit | MaxUnit] = []
        self._watched: FunctionWatch | None = None
        # What does not change over time and was multiplied already, by layer.
        self._held: dict[str, Tensor] = {}

    def __enter__(self) -> OperationCounter:
        named = [*self.model.named_parameters(), *self.model.named_buffers()]
        prefix = "net." if isinstance(self.model, OWNERS) else ""
        self._names = {id(value): path.removeprefix(prefix) for path, value in named}
        self._origins = Origins(value for _, value in named)
        self._watched = FunctionWatch(
            self.model, self._origins, self._count_function, self._count_call, self._note_missed
        )
        try:
            self._hook_all(prefix)
        except BaseException:
            self._unhook()
            raise
        self._watched.__enter__()  # type: ignore[no-untyped-call]
        return self

    def _hook_all(self, prefix: str) -> None:
        # Behind a synapse, within a quantiser or a spiking unit: counted with their owner.
        inner = {
            module
            for owner in self.model.modules()
            if isinstance(owner, SynapticLayer | TemporalQuantiser | SpikingUnit)
            for module in owner.modules()
            if module is not owner
        }
        for path, module in self.model.named_modules():
            name = path.removeprefix(prefix)
            if module in inner or isinstance(module, torch.jit.ScriptModule):
                continue
            if self._is_uncounted(module) and type(module).__module__.startswith("torch."):
                self._enclose(module)
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
            if isinstance(module, nn.RNNCellBase):
                self._hook(module, self._count_cell, name)
            if isinstance(module, ParallelLMU):
                self._hook(module, self._count_memory, name)
            if isinstance(module, POOLS):
                self._hook(module, self._count_pool, name)
            if isinstance(module, STATIC):
                self._hook(module, self._count_static, name)
            if isinstance(module, LMU):
                # Its products are counted by its watcher, from what its units sent.
                self._enclose(module)
                self._cells.append((module, self._watch(name, module)))
                module.watchers.append(self._cells[-1][1])
            if getattr(module, "is_spiking", False):
                self._hook(module, self._count_neurons, name)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._watched is not None:
            self._watched.__exit__(kind, error, trace)  # type: ignore[no-untyped-call]
        self._unhook()

    def _unhook(self) -> None:
        for handle in self._hooks:
            handle.remove()
        for cell, watcher in self._cells:
            cell.watchers.remove(watcher)
        for unit in self._wrapped:
            del unit.over_time
        self._wrapped.clear()
        self._hooks.clear()
        self._cells.clear()
        self._origins.forget()
        self._held.clear()

    @contextmanager
    def presentation(
        self, examples: int, time_first: bool = True, inputs: Tensor | None = None, images: bool = False
    ) -> Iterator[None]:
        """The pass in the block presents `examples` examples; time_first: rows of layers are T B, step after step.

        inputs: what the model is given; told, nothing is taken for spikes by its values, but for the frames of an input
        that changes over time. images: inputs have no time.
        """
        chunked = isinstance(self.model, Spiking | RateNetwork)
        self._pass = Once(examples, time_first, chunked)
        self._calls, self._sizes = {}, {}
        if self._watched is not None:
            self._watched.begin()
        self._strict, self._frames, self._steps = inputs is not None, True, 1
        if inputs is not None:
            over_time = time_first and not images and inputs.ndim > 1
            self._frames = over_time and not (inputs.shape[0] > 1 and inputs.stride(0) == 0)
            self._steps = inputs.shape[0] if over_time else 1
            self._origins.given(inputs)
        try:
            yield
            self._pass.close(self._layers, self._levels)
            if not self._traces and not chunked:
                self._note_uses(self._pass)
        finally:
            self._pass, self._strict, self._frames, self._steps = None, False, True, 1
            self._origins.forget()
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
            (*self._uncounted(), *self._missed),
            self._traces,
            tuple(self._mean(unit) for unit in self._units.values()),
            tuple(self._mean(each) for each in self._filters.values()),
            sum(self._pooled.values()),
        )

    def _mean(self, total: Count) -> Count:
        return replace(total, **{name: getattr(total, name) / self.examples for name in total.TOTALS})

    def _uncounted(self) -> list[str]:
        """Modules that no hook sees, of those with a weight matrix, or with statistics of every example."""
        prefix = "net." if isinstance(self.model, OWNERS) else ""
        found, closed = [], ""
        for path, module in self.model.named_modules():
            if closed and path.startswith(closed):
                continue
            if isinstance(module, torch.jit.ScriptModule | nn.MultiheadAttention):
                closed = f"{path}." if path else ""
            if self._is_uncounted(module):
                kind = "TorchScript" if isinstance(module, torch.jit.ScriptModule) else type(module).__name__
                found.append(f"{path.removeprefix(prefix)} ({kind})".strip())
        return found

    def _is_uncounted(self, module: nn.Module) -> bool:
        if isinstance(module, (*UNFOLDED, torch.jit.ScriptModule)):
            return True
        known = (*self.LAYERS, *GATED, nn.RNNCellBase, LMU, parametrize.ParametrizationList)
        if isinstance(module, known) or getattr(module, "is_spiking", False):
            return False
        return any(p.ndim > 1 and id(p) not in self._used for p in module.parameters(recurse=False))

    def _enclose(self, module: nn.Module) -> None:
        """What the module calls is its own affair."""
        assert self._watched is not None
        self._hooks.append(module.register_forward_pre_hook(self._watched.enter))
        self._hooks.append(module.register_forward_hook(self._watched.leave, always_call=True))

    def _hook(self, module: nn.Module, count: Callable[..., None], name: str) -> None:
        watched = self._watched
        assert watched is not None

        def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
            given = (*args, *kwargs.values())
            if not given or not isinstance(given[0], Tensor):
                self._missed[f"{name} ({type(module).__name__} of no tensor)"] = None
                return
            watched.quiet = True
            try:
                with torch.no_grad():
                    if count == self._count_cell:
                        self._count_cell(name, module, given)
                    else:
                        count(name, module, given[0], output)
            finally:
                watched.quiet = False

        self._enclose(module)
        self._hooks.append(module.register_forward_hook(hook, with_kwargs=True))

    def _count_layer(
        self, name: str, module: nn.Module, x: Tensor, output: Tensor, origin: tuple[Tensor | None, bool] | None = None
    ) -> None:
        weight: Tensor = module.weight  # type: ignore[assignment]
        if isinstance(module, (*CONVOLUTIONS, *TRANSPOSED)) and x.ndim == weight.ndim - 1:
            self._check_batch()
        features = int(module.in_features if isinstance(module, nn.Linear) else module.in_channels)  # type: ignore[arg-type]
        # Space follows the channels; all that stands before them is rows (examples, or steps x examples).
        space = tuple(x.shape[x.ndim - (2 if isinstance(module, Local2d) else weight.ndim - 2) :])
        if (name, space) not in self._reach:
            self._reach[name, space] = fan_out(module, space)
        reach, row = self._reach[name, space], math.prod((features, *space))
        dense = reach.sum().item() * features
        if name not in self._layers:
            width = tensor_bits(module, "weight")
            # A parametrized layer has a class of its own.
            kind = next(base.__name__ for base in self.LAYERS if isinstance(module, base))
            units = output.numel() * row / x.numel() if x.numel() else 0.0
            self._layers[name] = LayerCount(name, kind, weight.numel(), width, dense, units, fan_in(module))
        self._note_call(name, dense, x.numel() / row)
        n, real = self._origin(x) if origin is None else origin
        self._add(self._layers[name], x if n is None else n, weight, reach, row, n is not None, real=real)

    def _count_synaptic(self, name: str, module: SynapticLayer, x: Tensor, y: Tensor) -> None:
        layer: Any = module.layer
        origin = self._origin(x)
        if module.synapse is not None:
            found = self._filters.setdefault(name, NeuronCount(name, y[0, 0].numel()))
            found.updates += y.numel()
            found.state += y.numel() * _size(module.synapse.initial(y[:1, :1, ...].flatten()[:1]))
        if x.shape[0] == 1 or x.stride(0) == 0:
            # A picture that is shown over several calls is multiplied once.
            if name in self._held and torch.equal(self._held[name], x[0]):
                return
            # One step of spikes may well equal the next.
            still = x.shape[0] > 1 or (origin[1] if self._strict else value_bits(x)[0] == REAL_BITS)
            if still:
                self._held[name], x, y = x[0], x[:1], y[:1]
        n = None if origin[0] is None else origin[0][: len(x)].flatten(0, 1)
        inner = layer.layer if isinstance(layer, Stepwise) else layer
        self._count_layer(name, inner, x.flatten(0, 1), y.flatten(0, 1), (n, origin[1]))

    def _count_unit(self, name: str, module: SpikingUnit, x: Tensor, y: Tensor) -> None:
        n = (y / module.height).round()
        self._origins.sent(y, n)
        self._note_neurons(name, n, y.numel(), y.numel() * _size(module.neuron.initial(x.new_zeros(1))), y.shape[2:])

    def _wrap(self, module: RateUnit | MaxUnit, name: str) -> None:
        """These are not called but stepped, which hooks do not see."""
        stepped = module.over_time

        watch = self._watched
        assert watch is not None

        def watched(x: Tensor) -> Tensor:
            y = stepped(x)
            watch.quiet = True
            try:
                if isinstance(module, MaxUnit):
                    if module.mean is None and self._origins.counts(x) is not None:
                        self._origins.sent(y, y.sign())
                    return y
                n = (y / module.neuron.theta).round()
                self._origins.sent(y, n)
                self._note_neurons(name, n, y.numel(), _size(module.neuron.initial(y[0])) * len(y), y.shape[2:])
            finally:
                watch.quiet = False
            return y

        module.over_time = watched  # type: ignore[method-assign]
        self._wrapped.append(module)

    def _count_pool(self, name: str, module: nn.Module, x: Tensor, y: Any) -> None:
        if isinstance(y, Tensor) and len(x):
            self._pooled[name] = (x if self.unbatched else x[0]).numel()

    def _count_static(self, name: str, module: nn.Module, x: Tensor, y: Tensor) -> None:
        over_time = self._pass is None or self._pass.time_first
        # Within a Stepwise, time and batch are one dimension.
        one = y if self.unbatched else y[0, 0] if over_time and y.ndim > 2 and not self._stepwise(name) else y[0]
        still = y.ndim > 1 and y.shape[0] > 1 and y.stride(0) == 0
        self._note_unit(name, one.numel(), (y[:1] if still else y).numel())

    def _count_function(self, name: str, y: Tensor) -> None:
        if self._pass is not None and not self._pass.time_first:
            self._note_unit(name, (y if self.unbatched else y[0]).numel(), y.numel())

    def _note_unit(self, name: str, size: int, updates: int) -> None:
        self._units.setdefault(name, NeuronCount(name, size)).updates += updates
        # A module that is called twice is two layers of units.
        self._sizes[name] = self._sizes.get(name, 0) + size

    def _stepwise(self, name: str) -> bool:
        parts = name.split(".")
        prefix = "net." if isinstance(self.model, OWNERS) else ""
        above = (self.model.get_submodule(prefix + ".".join(parts[:k])) for k in range(1, len(parts)))
        return any(isinstance(module, Stepwise) for module in above)

    def _watch(self, name: str, cell: LMU) -> Callable[[Tensor, Tensor, Tensor], None]:
        def watcher(x: Tensor, m: Tensor, h: Tensor) -> None:
            self._count_products(name, "LMU", lmu_products(cell, x.detach(), m.detach(), h.detach()))
            for part, quantiser, y in (("memory", cell.memory, m), ("spikes", cell.spikes, h)):
                if quantiser is not None and quantiser.step_size() is not None:
                    self._count_neurons(f"{name}.{part}", quantiser, y, y)
                    self._neurons[f"{name}.{part}"].cell = True

        return watcher

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
            self._origins.sent(spikes, n)
            spikes = n
        elif spikes.numel():
            self._note_sent(spikes)
        self._note_neurons(name, spikes.detach(), updates, numbers, shape)

    def _note_sent(self, y: Tensor) -> None:
        """What a neuron put out: whole numbers, or spikes of one height."""
        if value_bits(y)[0] < REAL_BITS:
            self._origins.sent(y)
            return
        height = y.abs().max()
        if bool(((y == 0) | (y.abs() == height)).all()):
            self._origins.sent(y, y.sign())

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
