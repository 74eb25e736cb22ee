"""What of a ReLU network's graph a rate code can carry, and what is refused.

"Spiking" is what depends on a unit. What depends on the image alone is computed once, as real numbers.
"""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch import fx, nn

from bitspike.convert.relu import linear_calls
from bitspike.convert.relu.linear_calls import FRACTIONS, LARGEST, NORMS, PRODUCTS, nodes_in
from bitspike.convert.relu.rate_units import MaxUnit, RateUnit
from bitspike.errors import refuse

FIELD = "relu_to_spiking"
WANTED = "ReLU, convolutions, linear layers, batch norm, average and max pools, sums"

HALF = (torch.float16, torch.bfloat16)


def units_of(graph: fx.GraphModule) -> dict[str, RateUnit]:
    """The units of a graph by the path of the ReLU they stand for, in the order of calls."""
    called = (graph.get_submodule(str(n.target)) for n in graph.graph.nodes if n.op == "call_module")
    return {m.name: m for m in called if isinstance(m, RateUnit)}


def spiking_nodes(graph: fx.GraphModule) -> set[fx.Node]:
    """The units of a graph, and whatever depends on one."""
    return dependent(graph, {n for n in graph.graph.nodes if isinstance(called(graph, n), RateUnit)})


def dependent(graph: fx.GraphModule, roots: set[fx.Node]) -> set[fx.Node]:
    """The nodes `roots`, and whatever depends on one."""
    found = set(roots)
    for node in graph.graph.nodes:
        if any(used in found for used in node.all_input_nodes):
            found.add(node)
    return found


def path_of(node: fx.Node) -> str:
    """Where a call is: the module's path, or the path of the code that calls a function, and the function's name."""
    if node.op == "call_module":
        return str(node.target)
    stack = node.meta.get("nn_module_stack") or {}
    scope = next(reversed(stack.values()), ("",))[0] if stack else ""
    return f"{scope}.{name_of(node)}" if scope else name_of(node)


def check_call(graph: fx.GraphModule, node: fx.Node, sizes: set[fx.Node], staying: set[fx.Node]) -> None:
    """Refuse a call that is neither a unit nor linear; staying: clips of the image alone, before any weights."""
    if node.op in ("placeholder", "output", "get_attr") or node in sizes or node in staying:
        return
    module = called(graph, node)
    if module is not None:
        if isinstance(module, NORMS) and module.running_mean is None:
            came = f"{type(module).__name__} without running statistics"
            refuse(f"{FIELD} {node.target}", came, "statistics that do not depend on the batch")
        if not isinstance(module, (RateUnit, MaxUnit, *LARGEST, *linear_calls.MODULES)):
            refuse(f"{FIELD} {node.target}", type(module).__name__, WANTED)
        return
    if not linear_calls.is_linear(node):
        refuse(f"{FIELD} {path_of(node)}", f"a call of {name_of(node)}", WANTED)
    if "out" in node.kwargs:
        refuse(f"{FIELD} {path_of(node)}", "a call that writes into 'out'", "one that returns its result")
    _check_settings(node)


def _check_settings(node: fx.Node) -> None:
    name, path = name_of(node), f"{FIELD} {path_of(node)}"
    dtypes = [value for value in (*node.args, *node.kwargs.values()) if isinstance(value, torch.dtype)]
    if any(dtype in HALF or not dtype.is_floating_point for dtype in dtypes) or (name == "view" and dtypes):
        refuse(path, f"a cast to {dtypes[0]} within the network", "float32 or float64 throughout")
    training = node.args[5] if len(node.args) > 5 else node.kwargs.get("training", False)
    if name == "batch_norm" and training is not False:
        refuse(path, "batch_norm with the statistics of the batch", "training=False and running statistics")


def check_products(graph: fx.GraphModule) -> None:
    """Spikes may be weighed by what the image alone decides, not by each other."""
    sizes, spiking = size_nodes(graph), spiking_nodes(graph)
    for node in graph.graph.nodes:
        moving = [a for a in nodes_in([*node.args, *node.kwargs.values()]) if a in spiking and a not in sizes]
        if node.op not in ("call_function", "call_method"):
            continue
        first = nodes_in(node.args[:1])
        adds = name_of(node) in ("addmm", "baddbmm")
        weighed = [a for a in moving if not (adds and a in first)]
        if node.target in PRODUCTS and len(weighed) > 1:
            refuse(f"{FIELD} {path_of(node)}", "a product of two spiking activations", WANTED)
        if node.target in FRACTIONS and moving and (len(moving) > 1 or node.args[0] is not moving[0]):
            refuse(f"{FIELD} {path_of(node)}", "a division by a spiking activation", WANTED)
        chooses = {"where": nodes_in(node.args[:1]), "masked_fill": nodes_in(node.args[1:2])}.get(name_of(node), [])
        chooses += nodes_in([node.kwargs.get("mask"), node.kwargs.get("condition")])
        if moving and any(a in spiking for a in chooses):
            refuse(f"{FIELD} {path_of(node)}", "a choice that spiking activations make", WANTED)
        if _rounds(node) and node not in sizes:
            refuse(f"{FIELD} {path_of(node)}", "a division that rounds", WANTED)


def _rounds(node: fx.Node) -> bool:
    return node.target is operator.floordiv or node.kwargs.get("rounding_mode") is not None


def size_nodes(graph: fx.GraphModule) -> set[fx.Node]:
    """The nodes that are sizes, or computed from sizes alone."""
    found: set[fx.Node] = set()
    for node in graph.graph.nodes:
        asks = node.op == "call_method" and node.target in linear_calls.SIZES
        asks |= node.target is len or (node.target is getattr and node.args[1] in linear_calls.SHAPES)
        if asks or (node.op == "call_function" and node.all_input_nodes and set(node.all_input_nodes) <= found):
            found.add(node)
    return found


def called(graph: fx.GraphModule, node: Any) -> nn.Module | None:
    """The module that a node calls."""
    is_call = isinstance(node, fx.Node) and node.op == "call_module"
    return graph.get_submodule(str(node.target)) if is_call else None


def name_of(node: fx.Node) -> str:
    """The function, method or path that a node calls."""
    name = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", str(node.target))
    # F.max_pool2d and the like are all called "fn": the node's own name is the function's.
    return node.name if name == "fn" else str(name)
