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

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from bitspike.convert import Hybrid, RateNetwork, Spiking
from bitspike.energy.counts import REAL_LEVELS, Counts, LayerCount, NeuronCount
from bitspike.energy.functions import FunctionWatch
from bitspike.energy.origins import Origins
from bitspike.energy.reports import Report, reports_of
from bitspike.energy.sent import Once
from bitspike.energy.tally import Tally
from bitspike.errors import refuse
from bitspike.layers import Stepwise

# Networks whose layers lie in `net`, by the names they have in the model that was converted.
OWNERS = (Spiking, Hybrid, RateNetwork)
Count = TypeVar("Count", LayerCount, NeuronCount)
# Statistics of each example, which fold into nothing: named as not counted.
UNFOLDED = (
    nn.LayerNorm, nn.GroupNorm, nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d, nn.LocalResponseNorm,
    nn.RMSNorm, nn.MultiheadAttention, torch.jit.ScriptModule,
)  # fmt: skip


class OperationCounter(Tally):
    """Counts while the `with` block runs `model`; tell it how many examples every pass presented.

        with OperationCounter(model) as counter:
            with counter.presentation(B):
                model(events)                   # (T, B, *features)
        counter.counts()

    `add_examples(B)` after a pass does it too, but what came in is then not summed over the presentation: no `once`,
    no `levels`. Every module that reports (`reports`) is heard: weight layers, synapses (whose filter is counted behind
    the weights, where it is one per unit), recurrent cells, pools, nonlinearities, whatever has `is_spiking` and so
    returns spikes (T, B, *), and modules of one's own with `report_operations`. Products that are calls of functions
    are layers too (`functions`); others are named as not counted.
    """

    def __init__(self, model: nn.Module, unbatched: bool = False) -> None:
        """unbatched: inputs are one image each, without a batch."""
        super().__init__(unbatched)
        self.model = model
        self.examples = 0
        self._prefix = "net." if isinstance(model, OWNERS) else ""
        self._watch = FunctionWatch(model, self)
        self._hooks = ExitStack()

    def __enter__(self) -> OperationCounter:
        named = [*self.model.named_parameters(), *self.model.named_buffers()]
        self.origins = Origins(value for _, value in named)
        self._watch.names = {id(value): path.removeprefix(self._prefix) for path, value in named}
        try:
            self._hook_all()
        except BaseException:
            self._unhook()
            raise
        self._watch.__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *error: Any) -> None:
        self._watch.__exit__(*error)  # type: ignore[no-untyped-call]
        self._unhook()

    def _hook_all(self) -> None:
        def within(owns: Callable[[nn.Module], bool]) -> set[nn.Module]:
            return {part for m in self.model.modules() if owns(m) for part in m.modules() if part is not m}

        inner = within(lambda m: getattr(m, "reports_parts", False))
        flat = within(lambda m: isinstance(m, Stepwise))
        for path, module in self.model.named_modules():
            if module in inner or isinstance(module, torch.jit.ScriptModule):
                continue
            found = list(reports_of(module))
            if found or (self._is_uncounted(module) and type(module).__module__.startswith("torch.")):
                # What the module calls is its own affair.
                self._hooks.enter_context(module.register_forward_pre_hook(self._watch.enter))
                self._hooks.enter_context(module.register_forward_hook(self._watch.leave, always_call=True))
            for kind, report in found:
                self._hear(module, report, path.removeprefix(self._prefix), kind, module in flat)

    def _hear(self, module: nn.Module, report: Report, name: str, kind: str, flat: bool) -> None:
        def told(given: tuple[Any, ...], output: Any) -> None:
            if not given or not isinstance(given[0], Tensor):
                self.missed[f"{name} ({type(module).__name__} of no tensor)"] = None
                return
            self._watch.quiet, before = True, self._watch.quiet
            self.name, self.kind, self.flat = name, kind, flat
            try:
                with torch.no_grad():
                    report(module, self, given, output)
            finally:
                self._watch.quiet = before

        def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
            told((*args, *kwargs.values()), output)

        def watcher(x: Tensor, *made: Tensor) -> None:
            told((x,), made if len(made) > 1 else made[0])

        if isinstance(watchers := getattr(module, "watchers", None), list):
            # A loop of its own, which is not always called.
            watchers.append(watcher)
            self._hooks.callback(watchers.remove, watcher)
        else:
            self._hooks.enter_context(module.register_forward_hook(hook, with_kwargs=True))

    def _unhook(self) -> None:
        self._hooks.close()
        self._forget()

    def _forget(self) -> None:
        self.origins.forget()
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
        self.shown = Once(examples, time_first, chunked)
        self._calls, self._sizes, self._watch.turns = {}, {}, {}
        self.strict = inputs is not None
        if inputs is not None:
            over_time = time_first and not images and inputs.ndim > 1
            self.frames = over_time and not (inputs.shape[0] > 1 and inputs.stride(0) == 0)
            self.steps = inputs.shape[0] if over_time else 1
            self.origins.given(inputs)
        try:
            yield
            self.shown.close(self.layers, self.levels)
            if not self.traces and not chunked:
                self.note_uses(self.shown)
        finally:
            self.shown, self.strict, self.frames, self.steps = None, False, True, 1
            self._forget()
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
        for name, found in self.levels.items():
            self.layers[name].levels = REAL_LEVELS if found is None else len(found)
        return Counts(
            self.examples,
            tuple(self._mean(layer) for layer in self.layers.values()),
            tuple(self._mean(layer) for layer in self.neurons.values()),
            (*self._uncounted(), *self.missed),
            self.traces,
            tuple(self._mean(unit) for unit in self.units.values()),
            tuple(self._mean(each) for each in self.filters.values()),
            sum(self.pooled.values()),
            tuple(kind for kind, _ in self.order),
        )

    def _mean(self, total: Count) -> Count:
        return replace(total, **{name: getattr(total, name) / self.examples for name in total.TOTALS})

    def _uncounted(self) -> list[str]:
        """Modules that nobody reports, of those with a weight matrix, or with statistics of every example."""
        found, closed = [], ""
        for path, module in self.model.named_modules():
            if closed and path.startswith(closed):
                continue
            if isinstance(module, torch.jit.ScriptModule | nn.MultiheadAttention):
                closed = f"{path}." if path else ""
            if self._is_uncounted(module):
                kind = "TorchScript" if isinstance(module, torch.jit.ScriptModule) else type(module).__name__
                found.append(f"{path.removeprefix(self._prefix)} ({kind})".strip())
        return found

    def _is_uncounted(self, module: nn.Module) -> bool:
        if isinstance(module, UNFOLDED):
            return True
        if isinstance(module, parametrize.ParametrizationList) or any(reports_of(module)):
            return False
        return any(p.ndim > 1 and id(p) not in self.used for p in module.parameters(recurse=False))
