"""The calls of a module as a graph (torch.fx), and where nonlinearities are in it.

Sites of one module may be several: a module used twice, or a function, is told apart by the place in the source
that calls it.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Container, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from bitspike.convert.nonlinearities import FUNCTIONS, MODULES, Function
from bitspike.layers.modes import evaluating
from bitspike.models.in_place import Tracer, without_changes

TORCH = str(Path(torch.__file__).parent)
DROPOUTS: dict[Any, type[nn.Module]] = {
    F.dropout: nn.Dropout, torch.dropout: nn.Dropout, F.dropout1d: nn.Dropout1d, F.dropout2d: nn.Dropout2d,
    F.dropout3d: nn.Dropout3d, F.alpha_dropout: nn.AlphaDropout, F.feature_alpha_dropout: nn.FeatureAlphaDropout,
}  # fmt: skip


@dataclass(frozen=True)
class Site:
    """One nonlinearity in a graph: the call, its name (a path), and the nonlinearity as a module."""

    node: fx.Node
    name: str
    nonlinearity: nn.Module


class _Tracer(Tracer):
    """Looks into a user's modules only, and notes for each call the places in the source that lead to it."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return type(m).__module__.startswith("bitspike.") or super().is_leaf_module(m, module_qualified_name)

    def create_node(self, *arguments: Any, **options: Any) -> fx.Node:
        node = super().create_node(*arguments, **options)
        places, frame = [], sys._getframe(1)
        while frame is not None:
            code = frame.f_code
            if code.co_filename != __file__ and not code.co_filename.startswith(TORCH):
                places.append((code.co_filename, code.co_name, frame.f_lasti))
            if code is fx.Tracer.trace.__code__:
                break
            frame = frame.f_back  # type: ignore[assignment]
        node.meta["place"] = tuple(places)
        return node


def traced(module: nn.Module) -> fx.GraphModule | str:
    """The graph of `module` in evaluation, whose leaves are shared with it; or, in words, why there is none.

    Nothing is changed in place, and dropout by function is a module, which follows the mode of the graph.
    """
    if module._forward_hooks or module._forward_pre_hooks:
        return "it has forward hooks, which a trace of it leaves out"
    training = module.training
    try:
        tracer = _Tracer()
        with evaluating(module):
            graph = tracer.trace(module)
        without_changes(module, graph)
        for node in graph.nodes:
            # Annotations may be strings, which a pickle of the graph cannot name.
            node.type = None
        made = fx.GraphModule(tracer.root, graph, type(module).__name__)
        made.training = training
        _dropouts_as_modules(made)
        return made
    except Exception as error:
        # A tracer fails in as many ways as there are modules.
        return " ".join(str(error).split()).split(". ")[0] or type(error).__name__


def _dropouts_as_modules(graph: fx.GraphModule) -> None:
    """F.dropout(x, p, self.training) is written down as it was in evaluation, and would do nothing for good."""
    for node in list(graph.graph.nodes):
        if node.op != "call_function" or node.target not in DROPOUTS:
            continue
        names = ("input", "p", "train" if node.target is torch.dropout else "training")
        given = dict(zip(names, node.args, strict=False)) | node.kwargs
        share, on = given.get("p", 0.5), given.get(names[2], True)
        if on is not False or not isinstance(share, int | float):
            continue  # always on, or by a share that is computed: as it stands
        taken = {str(each.target) for each in graph.graph.nodes if each.op == "call_module"}
        path = unique(node.name, taken | set(dict(graph.named_children())))
        made = DROPOUTS[node.target](share)
        made.training = graph.training
        graph.add_submodule(path, made)
        with graph.graph.inserting_before(node):
            new = graph.graph.call_module(path, (given["input"],))
        new.meta = dict(node.meta)
        node.replace_all_uses_with(new)
        graph.graph.erase_node(node)
    graph.recompile()


def sites(graph: fx.GraphModule, unrolled: bool) -> Iterator[Site]:
    """Every nonlinearity in the order of calls, by unique names.

    unrolled: calls from one place in the source are the steps of a loop over time, and one site.
    """
    taken: dict[str, Any] = {}
    for node in graph.graph.nodes:
        found = _nonlinearity(graph, node)
        if found is None:
            continue
        name, module = found
        place = node.meta["place"] if unrolled else node
        name = unique(name, {other for other, its in taken.items() if its != place})
        taken[name] = place
        yield Site(node, name, module)


def unique(name: str, taken: Container[str]) -> str:
    """The name, or name_2, name_3, ... where it is taken."""
    return next(each for k in itertools.count(1) if (each := f"{name}_{k}" if k > 1 else name) not in taken)


def _nonlinearity(graph: fx.GraphModule, node: fx.Node) -> tuple[str, nn.Module] | None:
    if node.op == "call_module":
        module = graph.get_submodule(str(node.target))
        return (str(node.target), module) if isinstance(module, MODULES) else None
    name = FUNCTIONS.get(_function(node))
    if name is None:
        return None
    stack = node.meta.get("nn_module_stack") or {}
    scope = next(reversed(stack.values()), ("",))[0] if stack else ""
    return (f"{scope}.{name}" if scope else name), Function(name, node.args[1:], node.kwargs)


def _function(node: fx.Node) -> Any:
    """The function or method that a node calls; None where it calls none."""
    if node.op == "call_method":
        return getattr(Tensor, str(node.target), None)
    return node.target if node.op == "call_function" else None


def calls(graph: fx.GraphModule, functions: Mapping[Any, str]) -> Iterator[tuple[fx.Node, str]]:
    """Calls of any of these functions, with their names."""
    for node in graph.graph.nodes:
        if (name := functions.get(_function(node))) is not None:
            yield node, name


def put(graph: fx.GraphModule, chosen: list[Site], make: Callable[[str, nn.Module], nn.Module]) -> dict[str, str]:
    """Call make(name, nonlinearity) at the sites chosen; returns the path of each made module, with the site's name."""
    nodes = {site.node for site in chosen}
    kept = {str(node.target) for node in graph.graph.nodes if node.op == "call_module" and node not in nodes}
    paths = {}
    for site in chosen:
        if isinstance(site.nonlinearity, Function):
            site.nonlinearity.check(site.name)
        # A module that is also called where it stays keeps its path.
        path = f"{site.name}_quantised" if site.name in kept else site.name
        graph.add_submodule(path, make(site.name, site.nonlinearity))
        value = site.node.args[0] if site.node.args else site.node.kwargs["input"]
        with graph.graph.inserting_before(site.node):
            new = graph.graph.call_module(path, (value,))
        site.node.replace_all_uses_with(new)
        graph.graph.erase_node(site.node)
        paths[path] = site.name
    return paths
