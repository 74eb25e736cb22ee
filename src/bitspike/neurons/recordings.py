"""Recordings: what each layer of a network sends and holds, step by step, as tensors by the layer's name.

    recordings = record(model, x)               with Monitor(model) as monitor:
    recordings["spikes1"].spikes                    model(x)
    recordings["spikes1"].states["v"]           monitor["spikes1"].spikes

The spikes are those that the network sends, also where kernels run a chain as one and pool them before they leave.
Kernels keep no states but the last ones: for a recording they run once more, a step at a time, from the same state on
the same currents. A run in slices equals the whole, so what is recorded is what the network had.

A module says how it is watched (`watch`); that of a layer comes before those of its parts. Units without time or state
(ReLUs, soft rates) have outputs alone, and so has what quantisers send within a cell.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import cycle
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor, nn

from bitspike.errors import refuse

States = dict[str, Tensor]
# Told of every run: what was sent, (T, B, *features), and how to get the states after each step.
Note = Callable[[Tensor, Callable[[], States]], None]
Undo = Callable[[], None]


class Recording(NamedTuple):
    """What a layer sent, (T, B, *features): spikes, whole numbers or rates; and its states after each step, by name."""

    spikes: Tensor
    states: States


def spiking(module: nn.Module) -> bool:
    """Whether it sends spikes."""
    return bool(getattr(module, "is_spiking", False))


def nothing() -> States:
    """The states of what has none."""
    return {}


def fields(state: Any) -> States:
    """The parts of a state by name."""
    return dict(state._asdict())


def after_each(
    run: Callable[[Tensor, Any], tuple[Tensor, Any]], x: Tensor, state: Any, parts: Callable[[Any], States] = fields
) -> States:
    """The states (T, B, *) after each step of x (T, B, *), which `run(x, state)` advances a slice at a time."""
    found = []
    for step in x.split(1):
        _, state = run(step, state)
        # Some kernels change a state in place.
        found.append({name: part.clone() for name, part in parts(state).items()})
    return {name: torch.stack([each[name] for each in found]) for name in found[0]}


def replaced(module: nn.Module, name: str, method: Callable[..., Any]) -> Undo:
    """Give a module a method of its own; call what this returns to give it back what it had."""
    own = module.__dict__
    before = own.get(name)
    own[name] = method

    def undo() -> None:
        del own[name]
        if before is not None:
            own[name] = before

    return undo


def run_watched(module: Any, note: Note, parts: Callable[[Any], States] = fields) -> Undo:
    """Watch a module by its method `run(x, state) -> (y, state)`."""
    run = module.run

    def told(x: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        y, last = run(x, state)
        note(y, lambda: after_each(run, x, state, parts))
        return y, last

    return replaced(module, "run", told)


def cell_watched(cell: Any, note: Note) -> Undo:
    """Watch a cell that is asked for its hidden states at the `last` steps: all of them are noted."""
    forward = cell.forward

    def told(x: Tensor, last: int | None = None) -> Tensor:
        y: Tensor = forward(x, last)
        note(y if last is None else forward(x), nothing)
        return y

    return replaced(cell, "forward", told)


def outputs_alone(module: nn.Module, note: Note) -> Undo:
    """Watch a module without states."""
    return module.register_forward_hook(lambda _, inputs, output: note(output, nothing)).remove


class Monitor(Mapping[str, Recording]):
    """Records the layers of `model` while it is entered; then a mapping from their names to `Recording`s.

    Calls one after the other are joined in time, as a network run a slice at a time makes them; `clear` begins anew.
    A module that stands several times in one chain is recorded at each place, by the path of that place.
    Tensors carry their gradients, where they have any. states: False leaves them out and saves their time. only: which
    modules.
    """

    def __init__(
        self, model: nn.Module, *, states: bool = True, only: Callable[[nn.Module], bool] | None = None
    ) -> None:
        self.model, self.states = model, states
        self.only = only
        self._seen: dict[str, list[Recording]] = {}
        self._undo: list[Undo] = []

    def __enter__(self) -> Self:
        """Begin to record."""
        covered: set[nn.Module] = set()
        # Units have names of their own.
        repeated = {} if hasattr(self.model, "units") else _repeated(self.model)
        for name, module in self._layers():
            watch: Callable[[Note], Undo | None] | None = getattr(module, "watch", None)
            if module in covered or watch is None or not (self.only is None or self.only(module)):
                continue
            undo = watch(self._note(repeated.get(module, [name])))
            if undo is not None:
                self._undo.append(undo)
                covered |= set(module.modules())
        if not self._undo and self.only is None:
            refuse("record model", type(self.model).__name__, "a network with neurons of bitspike in it")
        return self

    def _layers(self) -> Iterator[tuple[str, nn.Module]]:
        # Networks made spiking name their units by what they stand for.
        units: Any = getattr(self.model, "units", None)
        yield from units().items() if callable(units) else self.model.named_modules()

    def _note(self, places: Sequence[str]) -> Note:
        """What is told of the calls of a module, which come from `places` in turn."""
        turns = cycle([self._seen.setdefault(name, []) for name in places])

        def note(spikes: Tensor, states: Callable[[], States]) -> None:
            next(turns).append(Recording(spikes, states() if self.states else {}))

        return note

    def __exit__(self, *_: object) -> None:
        """Leave the model as it was."""
        while self._undo:
            self._undo.pop()()

    def clear(self) -> None:
        """Forget what was recorded."""
        for seen in self._seen.values():
            seen.clear()

    def __getitem__(self, name: str) -> Recording:
        """What was recorded of a layer."""
        seen = self._seen.get(name)
        if not seen:
            raise KeyError(name)
        if len({part.spikes.shape[1:] for part in seen}) > 1:
            shapes = " and ".join(str(tuple(part.spikes.shape)) for part in seen[:2])
            refuse(f"recordings of {name}", f"calls of shapes {shapes}", "calls of one batch (clear() between others)")
        return seen[0] if len(seen) == 1 else _joined(seen, 0)

    def __iter__(self) -> Iterator[str]:
        """Names of the layers that ran, in the order of the model."""
        return (name for name, seen in self._seen.items() if seen)

    def __len__(self) -> int:
        """How many ran."""
        return sum(bool(seen) for seen in self._seen.values())


def _repeated(model: nn.Module) -> dict[nn.Module, list[str]]:
    """Modules that stand several times in a chain, which calls them in turn, and in no other: their paths in order."""
    found: dict[nn.Module, list[list[str]]] = {}
    for prefix, chain in model.named_modules():
        if isinstance(chain, nn.Sequential):
            here: dict[nn.Module, list[str]] = {}
            for name, module in chain._modules.items():
                if module is not None:
                    here.setdefault(module, []).append(f"{prefix}.{name}" if prefix else name)
            for module, paths in here.items():
                found.setdefault(module, []).append(paths)
    return {module: chains[0] for module, chains in found.items() if len(chains) == 1 and len(chains[0]) > 1}


def _joined(parts: Sequence[Recording], dimension: int) -> Recording:
    states = {key: torch.cat([part.states[key] for part in parts], dimension) for key in parts[0].states}
    return Recording(torch.cat([part.spikes for part in parts], dimension), states)


def beside(parts: Sequence[Mapping[str, Recording]]) -> dict[str, Recording]:
    """The recordings of several batches as those of one."""
    return {name: _joined([part[name] for part in parts], 1) for name in parts[0]} if parts else {}


def record(model: nn.Module, *inputs: Any, states: bool = True, **options: Any) -> dict[str, Recording]:
    """The recordings of one call `model(*inputs, **options)`, by name; see the module. Of a run: `Run.record`."""
    with Monitor(model, states=states) as monitor:
        model(*inputs, **options)
    return dict(monitor)
