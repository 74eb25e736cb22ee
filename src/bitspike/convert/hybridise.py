"""From an ordinary network to one that computes with few-bit spikes, and back.

    f(x)  becomes  n / dt,  n = floor(v + dt f(x)),  v carried from step to step        (`neurons.quantiser`)

in every layer, and dt = counts / scale: `counts` is n at the layer's (or channel's) typical |f(x)|, a percentile over
data, so that one number means the same everywhere. An input is presented T times and the read-out averaged; as the
carry begins uniform on [0, 1), the first quantised layer is right on average at once and to 1 / (T dt) after T steps.
Conversion of trained networks by replacing units: Cao, Chen & Khosla 2015 (rates), Rueckauer et al. 2017 (percentile
scales); the quantiser: Voelker, Rasmussen & Eliasmith 2020.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import Tensor, nn

from bitspike.convert import graph
from bitspike.convert.cells import OpenCell, OpenLayers, opened
from bitspike.convert.hybrid import Hybrid, checked_steps
from bitspike.convert.nonlinearities import CLOSED, MODULES, pure
from bitspike.convert.units import Clock, Presented, Probe, Stepped, over_time
from bitspike.draws import Key
from bitspike.errors import BitspikeError, refuse
from bitspike.layers import Stepwise, TemporalBatchNorm
from bitspike.neurons import Neuron, Static, TemporalQuantiser, quantisers

Counts = float | Tensor
Make = Callable[[str, nn.Module], nn.Module]
SCALES = ("channel", "layer")


def hybridise(
    model: nn.Module,
    counts: Counts | Mapping[str, Counts] = 8.0,
    *,
    steps: int | None = 4,
    layers: str | Sequence[str] | None = None,
    data: Iterable[Any] | Tensor | None = None,
    scale: str = "channel",
    percentile: float = 0.999,
    mode: str = "carry",
    limit: int | None = None,
    keys: tuple[Key, ...] = (0, "carry"),
) -> Hybrid:
    """A network with the layers of `model` and quantisers in the place of its nonlinearities; `model` stays as it is.

    counts: n at the typical |f(x)|, one value or one per layer by name or pattern ("features.*"). steps: T, how often
    an input (B, ...) is presented; none for a model that steps through a sequence itself, in which each call of a
    nonlinearity is one step. layers: names or patterns of what to swap; all if left out. data: batches (or pairs with
    targets) on which typical values are measured, per "channel" or "layer"; without, they are 1 and counts is dt.
    mode, limit: as in `TemporalQuantiser`. keys: name the draws of the carry.

    Nonlinearities are modules (nn.ReLU, ...) and calls of functions (F.relu, torch.tanh, x.sigmoid()), these where
    torch.fx can trace the code they are in; nn.RNN, nn.GRU, nn.LSTM and their cells are opened. What cannot be swapped
    is refused by name. A max pool should come before its nonlinearity (the same where f is monotone): the largest of
    several spike trains is more than the largest value on average.
    """
    if steps is not None:
        steps = checked_steps(steps)
    if scale not in SCALES:
        refuse("hybridise scale", repr(scale), " or ".join(map(repr, SCALES)))
    if not 0 < percentile <= 1:
        refuse("hybridise percentile", percentile, "a share of the values, such as 0.999")
    if isinstance(model, Hybrid):
        refuse("hybridise model", "a hybrid", "the network it was made of: dehybridise(model)")
    builder = _Builder(model, steps, layers)
    scales: dict[str, Tensor] = {}
    if data is not None:
        lead = 2 if builder.time_first else 1
        probes: dict[str, Probe] = {}

        def probe(name: str, nonlinearity: nn.Module) -> nn.Module:
            return probes.setdefault(name, Probe(nonlinearity, lead, percentile, scale))

        _measure(builder.build(probe), data)
        scales = {name: made.scale(name) for name, made in probes.items()}
    made: dict[str, nn.Module] = {}
    patterns = counts if isinstance(counts, Mapping) else {"*": counts}
    used: set[str] = set()

    def unit(name: str, nonlinearity: nn.Module) -> nn.Module:
        if name not in made:
            fitting = [pattern for pattern in patterns if fnmatchcase(name, pattern)]
            if not fitting:
                refuse("hybridise counts", f"nothing for layer {name!r}", "a number for each, or a pattern '*'")
            used.update(fitting)
            dt = patterns[fitting[0]] / scales.get(name, torch.ones(()))
            f = over_time(nonlinearity) if builder.clock is not None else nonlinearity
            quantiser = TemporalQuantiser(dt, f, (*keys, name), mode=mode, limit=limit)
            placed: nn.Module = quantiser
            if not builder.time_first:
                placed = Stepped(quantiser) if builder.clock is None else Presented(quantiser, builder.clock)
            placed.training = quantiser.training = model.training
            made[name] = placed
        return made[name]

    hybrid = builder.build(unit)
    if unused := [pattern for pattern in patterns if pattern not in used]:
        refuse("hybridise counts", f"for {', '.join(map(repr, unused))}", f"names among {', '.join(made)}")
    return hybrid


def dehybridise(model: nn.Module) -> nn.Module:
    """The network that a hybrid was made of, with the same layers and tensors."""
    if not isinstance(model, Hybrid):
        refuse("dehybridise", type(model).__name__, "what hybridise gave")
    original: nn.Module = model.__dict__["original"]
    return original


class _Builder:
    """Finds the nonlinearities of a model and builds the network with others in their place."""

    def __init__(self, model: nn.Module, steps: int | None, layers: str | Sequence[str] | None) -> None:
        self.model = model
        self.clock = None if steps is None else Clock(steps)
        self.time_first = any(isinstance(m, Static | Stepwise | TemporalBatchNorm | Neuron) for m in model.modules())
        self.patterns = None if layers is None else [layers] if isinstance(layers, str) else list(layers)
        self.unseen: dict[str, str] = {}
        self.seen: list[str] = []
        self.paths: dict[str, str] = {}

    def build(self, make: Make) -> Hybrid:
        """The network with make(name, nonlinearity) at every site that was asked for."""
        self.seen, self.paths, self.unseen = [], {}, {}
        repeat = False
        root = _replaced(self.model, "", self._open)
        found = "it is of this package" if self.time_first else graph.traced(root)
        net: nn.Module
        if isinstance(found, str):
            net = self._module(root, "", make, found)
            repeat = self.clock is not None
        else:
            net = found
            self._in_graph(found, "", make)
            if self.clock is not None:
                for name in graph.over_presentations(found, self.clock):
                    unit: Any = found.get_submodule(name)
                    unit.constant = True
        self._check()
        found_at = {path.removesuffix(".quantiser"): path for path, _ in quantisers(net)}
        names = {f"net.{found_at[path]}": name for path, name in self.paths.items() if path in found_at}
        how = {"time_first": self.time_first, "repeat_input": repeat, "unseen": {} if self.patterns else self.unseen}
        return Hybrid(self.model, net, names, self.clock, **how)

    def _wanted(self, name: str) -> bool:
        self.seen.append(name)
        return self.patterns is None or any(fnmatchcase(name, pattern) for pattern in self.patterns)

    def _check(self) -> None:
        known = ", ".join(dict.fromkeys(self.seen)) or "no nonlinearity"
        for pattern in self.patterns or ():
            if not any(fnmatchcase(name, pattern) for name in self.seen):
                refuse("hybridise layers", repr(pattern), f"names or patterns among {known}")
        if not self.paths:
            unseen = "".join(f"; {path or 'its code'} cannot be traced ({why})" for path, why in self.unseen.items())
            refuse("hybridise model", f"{type(self.model).__name__} with {known}{unseen}", "a nonlinearity to swap")

    def _open(self, path: str, module: nn.Module) -> nn.Module | None:
        if isinstance(module, CLOSED) and self.patterns is None:
            wanted = "nonlinearities as modules or functions, or `layers` that names what to swap"
            refuse(f"hybridise {path or 'model'}", f"{type(module).__name__}, which has its own inside", wanted)
        made = opened(module)
        if made is not None and self.clock is not None:
            refuse("hybridise steps", f"{self.clock.steps} with {type(module).__name__}", "none: its sequence is time")
        return made

    def _in_graph(self, net: Any, path: str, make: Make) -> None:
        """Put units at the sites of a graph, and into leaves that have children of their own."""

        def named(name: str, nonlinearity: nn.Module) -> nn.Module:
            return make(_joined(path, name), pure(nonlinearity))

        chosen = [s for s in graph.sites(net, self.clock is None) if self._wanted(_joined(path, s.name))]
        put = graph.put(net, chosen, named)
        self.paths |= {_joined(path, place): _joined(path, name) for place, name in put.items()}
        leaves = {node.target for node in net.graph.nodes if node.op == "call_module"} - set(put)
        for target in sorted(leaves):
            leaf = net.get_submodule(target)
            if isinstance(leaf, MODULES):
                continue
            made = self._module(leaf, _joined(path, target), make)
            if made is not leaf:
                net.add_submodule(target, made)
        net.recompile()

    def _module(self, module: nn.Module, path: str, make: Make, why: str = "") -> nn.Module:
        """The module with units in the place of nonlinearities below it; the same object if there are none.

        why: the reason for which torch.fx cannot trace it.
        """
        if not _known(module):
            self.unseen[path] = why

        def visit(name: str, child: nn.Module) -> nn.Module | None:
            full = _joined(path, name)
            if isinstance(child, MODULES):
                if not self._wanted(full):
                    return child
                if self.time_first and self._below_stepwise(full):
                    refuse(f"hybridise {full}", "a nonlinearity inside a Stepwise", "Stepwise around the layers only")
                self.paths[full] = full
                return make(full, pure(child))
            if _known(child) or child is module:
                return None
            found = graph.traced(child)
            if isinstance(found, str):
                self.unseen[full] = found
                return None
            self._in_graph(found, full, make)
            return found

        return _replaced(module, "", visit)

    def _below_stepwise(self, path: str) -> bool:
        parts = path.split(".")
        return any(isinstance(self.model.get_submodule(".".join(parts[:k])), Stepwise) for k in range(1, len(parts)))


def _joined(*parts: str) -> str:
    return ".".join(part for part in parts if part)


def _known(module: nn.Module) -> bool:
    """True for modules of torch and of this package: what they call is known."""
    return type(module).__module__.startswith(("torch.", "bitspike."))


def _replaced(module: nn.Module, path: str, visit: Callable[[str, nn.Module], nn.Module | None]) -> nn.Module:
    """`module` with what visit(path, module) gives in the place of modules; None: look below.

    Only the modules above a replaced one are copied, and share all else with those they were copied from.
    """
    made = visit(path, module)
    if made is not None:
        return made
    if isinstance(module, TemporalQuantiser):
        return module
    children: dict[str, Any] = {}
    for name, child in module._modules.items():
        closed = isinstance(module, OpenCell | OpenLayers) and name == "closed"
        children[name] = child if child is None or closed else _replaced(child, _joined(path, name), visit)
    if all(children[name] is child for name, child in module._modules.items()):
        return module
    twin = copy.copy(module)
    twin.__dict__["_modules"] = children
    return twin


@torch.no_grad()
def _measure(hybrid: Hybrid, data: Iterable[Any] | Tensor) -> None:
    """Show the data to a network of probes, in evaluation."""
    modes = {module: module.training for whole in (hybrid, hybrid.__dict__["original"]) for module in whole.modules()}
    hybrid.eval()
    batches = 0
    try:
        for batch in [data] if isinstance(data, Tensor) else data:
            x = batch[0] if isinstance(batch, tuple | list) else batch
            if hybrid.clock is not None:
                hybrid.clock.steps, asked = 1, hybrid.clock.steps
                hybrid.readouts(x)
                hybrid.clock.steps = asked
            else:
                hybrid(x)
            batches += 1
    finally:
        for module, mode in modes.items():
            module.training = mode
    if not batches:
        raise BitspikeError("hybridise data: got no batch, wanted at least one")
