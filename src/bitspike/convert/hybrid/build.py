"""A model with something else in the place of its nonlinearities, built from parts that it goes on sharing.

A model that torch.fx can trace becomes a graph over the same leaves, in which every call has a place of its own. Of one
that cannot, the modules above each nonlinearity are copied; its own code then runs as it is. In between, modules that
can be traced become graphs inside a model that cannot.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from typing import Any

from torch import nn

from bitspike.convert import graph
from bitspike.convert.hybrid.cells import opened
from bitspike.convert.hybrid.hybrid import Hybrid
from bitspike.convert.hybrid.repeat import over_presentations
from bitspike.convert.hybrid.units import Clock
from bitspike.convert.nonlinearities import CLOSED, CLOSED_FUNCTIONS, MODULES, pure
from bitspike.convert.swap import joined, swapped
from bitspike.errors import refuse
from bitspike.layers import Stepwise, TemporalBatchNorm
from bitspike.neurons import Neuron, Static, TemporalQuantiser, quantisers

Make = Callable[[str, nn.Module], nn.Module]
SWAPPABLE = "nonlinearities of one value each, as modules or functions, or `layers` that names what to swap"


class Builder:
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
        root = _replaced(self.model, self._open)
        found = "it is of this package" if self.time_first else graph.traced(root)
        net: nn.Module
        if isinstance(found, str):
            net = self._module(root, "", make, found)
            repeat = self.clock is not None
        else:
            net = found
            self._in_graph(found, "", make)
            if self.clock is not None:
                for name in over_presentations(found, self.clock):
                    unit: Any = found.get_submodule(name)
                    unit.constant = True
        self._check()
        found_at = {path.removesuffix(".quantiser"): path for path, _ in quantisers(net)}
        names = {f"net.{found_at[path]}": name for path, name in self.paths.items() if path in found_at}
        how = {"time_first": self.time_first, "repeat_input": repeat, "unseen": {} if self.patterns else self.unseen}
        return Hybrid(self.model, net, names, self.clock, **how)

    def _wanted(self, name: str) -> bool:
        self.seen.append(name)
        wanted = self.patterns is None or any(fnmatchcase(name, pattern) for pattern in self.patterns)
        if wanted and self.time_first and self._below_stepwise(name):
            refuse(f"hybridise {name}", "a nonlinearity inside a Stepwise", "Stepwise around the layers only")
        return wanted

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
            refuse(f"hybridise {path or 'model'}", f"{type(module).__name__}, which has its own inside", SWAPPABLE)
        made = opened(module)
        if made is not None and self.clock is not None:
            refuse("hybridise steps", f"{self.clock.steps} with {type(module).__name__}", "none: its sequence is time")
        return made

    def _in_graph(self, net: Any, path: str, make: Make) -> None:
        """Put units at the sites of a graph, and into leaves that have children of their own."""

        def named(name: str, nonlinearity: nn.Module) -> nn.Module:
            return make(joined(path, name), pure(nonlinearity))

        if self.patterns is None:
            for node, name in graph.calls(net, CLOSED_FUNCTIONS):
                refuse(f"hybridise {joined(path, node.name)}", f"{name} called as a function", SWAPPABLE)
        chosen = [s for s in graph.sites(net, self.clock is None) if self._wanted(joined(path, s.name))]
        put = graph.put(net, chosen, named)
        self.paths |= {joined(path, place): joined(path, name) for place, name in put.items()}
        leaves = {node.target for node in net.graph.nodes if node.op == "call_module"} - set(put)
        for target in sorted(leaves):
            leaf = net.get_submodule(target)
            if isinstance(leaf, MODULES):
                continue
            made = self._module(leaf, joined(path, target), make)
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
            full = joined(path, name)
            if isinstance(child, MODULES):
                if not self._wanted(full):
                    return child
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

        return _replaced(module, visit)

    def _below_stepwise(self, path: str) -> bool:
        parts = path.split(".")
        return any(isinstance(self.model.get_submodule(".".join(parts[:k])), Stepwise) for k in range(1, len(parts)))


def _known(module: nn.Module) -> bool:
    """True for modules of torch and of this package: what they call is known."""
    return type(module).__module__.startswith(("torch.", "bitspike."))


def _replaced(module: nn.Module, visit: Callable[[str, nn.Module], nn.Module | None]) -> nn.Module:
    """As `swapped`, but quantisers stay whole."""

    def with_quantisers(path: str, child: nn.Module) -> nn.Module | None:
        made = visit(path, child)
        return child if made is None and isinstance(child, TemporalQuantiser) else made

    return swapped(module, with_quantisers)
