"""A ReLU network as a graph of what a rate code can carry: sums, weights, means, and the units between them.

Every call is looked at. ReLUs and max pools become units, dropout and a softmax at the very end are left off, and what
is neither linear nor one of these is refused with its path. "Spiking" is what depends on a unit; the rest of the graph
depends on the image alone and may multiply and divide.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import fx, nn

from bitspike.convert import graph as graphs
from bitspike.convert.nonlinearities import Function, bound
from bitspike.convert.relu.clips import is_clip, put_units
from bitspike.convert.relu.linear_calls import LARGEST
from bitspike.convert.relu.rate_units import MaxUnit, Setting
from bitspike.convert.relu.rules import (
    FIELD,
    WANTED,
    called,
    check_call,
    check_products,
    name_of,
    path_of,
    size_nodes,
    spiking_nodes,
    units_of,
)  # fmt: skip
from bitspike.errors import refuse

DROPOUTS = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout, nn.Identity)
ENDS = (nn.Softmax, nn.LogSoftmax, nn.Sigmoid)
END_FUNCTIONS = ("softmax", "log_softmax", "sigmoid")
POOL_FUNCTIONS: dict[Any, type[nn.Module]] = {
    F.max_pool1d: nn.MaxPool1d, torch.max_pool1d: nn.MaxPool1d, F.max_pool2d: nn.MaxPool2d,
    torch.max_pool2d: nn.MaxPool2d, F.adaptive_max_pool1d: nn.AdaptiveMaxPool1d,
    F.adaptive_max_pool2d: nn.AdaptiveMaxPool2d, F.max_pool3d: nn.MaxPool3d, torch.max_pool3d: nn.MaxPool3d,
    F.adaptive_max_pool3d: nn.AdaptiveMaxPool3d,
}  # fmt: skip


def relu_graph(model: nn.Module, setting: Setting, pools: str) -> tuple[fx.GraphModule, nn.Module | None, list[str]]:
    """The graph of `model` (which it shares its layers with) with units, what stood at its end, and the pools swapped.

    pools: "exact", or "average" for means in the place of max pools that spikes reach.
    """
    found = graphs.traced(model)
    if isinstance(found, str):
        refuse(f"{FIELD} model", f"{type(model).__name__}, which cannot be traced ({found})", "code without branches")
    inputs = [node for node in found.graph.nodes if node.op == "placeholder"]
    for node in inputs[1:]:
        if not node.users:
            found.graph.erase_node(node)
        else:
            refuse(f"{FIELD} model", f"{len(inputs)} inputs", "one: images (B, ...)")
    end = _without_end(found)
    _views_as_reshapes(found)
    staying = _put_relus(found, setting)
    _without_dropout(found)
    swapped = _put_pools(found, setting, pools)
    found.graph.eliminate_dead_code()
    found.graph.lint()
    found.recompile()
    if not units_of(found):
        refuse(f"{FIELD} model", f"{type(model).__name__} without a ReLU", "a ReLU network")
    sizes = size_nodes(found)
    for node in found.graph.nodes:
        check_call(found, node, sizes, staying)
    check_products(found)
    return found, end, swapped


def _views_as_reshapes(graph: fx.GraphModule) -> None:
    """Values lie in memory as is fastest, where a view may not be one."""
    for node in graph.graph.nodes:
        casts = any(isinstance(value, torch.dtype) for value in (*node.args, *node.kwargs.values()))
        if node.op == "call_method" and node.target in ("view", "view_as") and not casts:
            node.target = {"view": "reshape", "view_as": "reshape_as"}[str(node.target)]


def _without_end(graph: fx.GraphModule) -> nn.Module | None:
    """Take a softmax or sigmoid off that is the output; returns it."""
    output = next(node for node in graph.graph.nodes if node.op == "output")
    last = output.args[0]
    if not isinstance(last, fx.Node):
        refuse(f"{FIELD} model", f"an output of type {type(last).__name__}", "one tensor of scores (B, classes)")
    end: nn.Module | None = None
    module = called(graph, last)
    if isinstance(module, ENDS):
        end = module
    elif last.op in ("call_function", "call_method") and name_of(last) in END_FUNCTIONS:
        end = _End(name_of(last), last.args[1:], last.kwargs)
    if end is not None:
        output.args = (last.all_input_nodes[0],)
        graph.graph.erase_node(last)
    return end


class _End(Function):
    """A softmax by function."""

    def __init__(self, name: str, arguments: tuple[Any, ...], options: Any) -> None:
        super().__init__(name, (), {})
        given = bound(self.function, arguments, options)
        self.settings = {key: value for key, value in given.items() if key != "_stacklevel"}


def _put_relus(graph: fx.GraphModule, setting: Setting) -> set[fx.Node]:
    """Units for all that clips (`clips`); any other nonlinearity is refused."""
    for site in graphs.sites(graph, unrolled=False):
        if not is_clip(site.nonlinearity):
            name = getattr(site.nonlinearity, "name", type(site.nonlinearity).__name__)
            refuse(f"{FIELD} {site.name}", name, WANTED)
    return put_units(graph, setting)


def _without_dropout(graph: fx.GraphModule) -> None:
    for node in list(graph.graph.nodes):
        dropped = node.op == "call_function" and node.target in graphs.DROPOUTS
        if dropped or isinstance(called(graph, node), DROPOUTS):
            node.replace_all_uses_with(node.all_input_nodes[0])
            graph.graph.erase_node(node)


def _put_pools(graph: fx.GraphModule, setting: Setting, pools: str) -> list[str]:
    spiking, swapped = spiking_nodes(graph), []
    for node, pool in list(_pools(graph)):
        path = path_of(node)
        if getattr(pool, "return_indices", False):
            refuse(f"{FIELD} {path}", "a max pool that returns indices", "return_indices=False")
        if node not in spiking:
            unit: nn.Module = pool
        else:
            mean = _mean_pool(path, pool) if pools == "average" else None
            unit = MaxUnit(path, setting, pool, mean)
            swapped += [path] if mean is not None else []
        target = f"{path}_pooled".replace(".", "_") if node.op != "call_module" else path
        taken = {str(n.target) for n in graph.graph.nodes if n.op == "call_module" and n is not node}
        target = graphs.unique(target, taken)
        graph.add_submodule(target, unit)
        with graph.graph.inserting_before(node):
            made = graph.graph.call_module(target, (node.all_input_nodes[0],))
        made.meta = dict(node.meta)
        node.replace_all_uses_with(made)
        graph.graph.erase_node(node)
    return swapped


def _pools(graph: fx.GraphModule) -> Iterator[tuple[fx.Node, nn.Module]]:
    for node in graph.graph.nodes:
        module = called(graph, node)
        if isinstance(module, LARGEST):
            yield node, module
        elif node.op == "call_function" and node.target in POOL_FUNCTIONS:
            kind = POOL_FUNCTIONS[node.target]
            options = {key: value for key, value in node.kwargs.items() if key != "input"}
            yield node, kind(*(node.args[1:] if "input" not in node.kwargs else node.args), **options)


def _mean_pool(path: str, pool: Any) -> nn.Module:
    kind = next(base.__name__ for base in type(pool).__mro__ if base in LARGEST)
    make: Callable[..., nn.Module] = getattr(nn, kind.replace("Max", "Avg"))
    if "Adaptive" in kind:
        return make(pool.output_size)
    if pool.dilation not in (1, (1,), (1, 1), (1, 1, 1)):
        refuse(f"{FIELD} {path}", f"a max pool with dilation {pool.dilation}", "pools='exact'")
    # Outside the image there is nothing, for a maximum as for a mean.
    return make(pool.kernel_size, pool.stride, pool.padding, pool.ceil_mode, count_include_pad=False)
