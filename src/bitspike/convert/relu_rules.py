"""What of a ReLU network's graph a rate code can carry, and what is refused.

"Spiking" is what depends on a unit. What depends on the image alone is computed once, as real numbers.
"""

from __future__ import annotations

import operator
from typing import Any

import torch
import torch.nn.functional as F
from torch import fx, nn

from bitspike.convert.rate_units import MaxUnit, RateUnit
from bitspike.errors import refuse
from bitspike.layers import Local2d

FIELD = "relu_to_spiking"
WANTED = "ReLU, convolutions, linear layers, batch norm, average and max pools, sums"
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)
LARGEST = (nn.MaxPool1d, nn.MaxPool2d, nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d)
LINEAR = (
    nn.Linear, nn.Conv1d, nn.Conv2d, Local2d, nn.AvgPool1d, nn.AvgPool2d, nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d,
    nn.Flatten, nn.Unflatten, nn.ZeroPad1d, nn.ZeroPad2d, nn.ChannelShuffle, nn.PixelShuffle, *NORMS,
)  # fmt: skip
FUNCTIONS: tuple[Any, ...] = (
    operator.add, torch.add, operator.sub, torch.sub, operator.neg, torch.neg, torch.flatten, torch.reshape,
    torch.squeeze, torch.unsqueeze, torch.mean, torch.sum, torch.cat, torch.concat, torch.chunk, torch.split,
    torch.permute, torch.transpose, F.pad, F.avg_pool1d, torch.avg_pool1d, F.avg_pool2d, F.adaptive_avg_pool1d,
    F.adaptive_avg_pool2d, torch.adaptive_avg_pool1d, F.linear, F.conv1d, F.conv2d, torch.conv1d, torch.conv2d,
    operator.getitem, getattr, len, operator.floordiv,
)  # fmt: skip
METHODS = (
    "add", "sub", "neg", "flatten", "reshape", "view", "contiguous", "squeeze", "unsqueeze", "mean",
    "sum", "chunk", "split", "permute", "transpose", "size", "clone", "detach", "float", "unflatten",
)  # fmt: skip
# Linear in one operand: at most one may be spiking, and none below a fraction bar.
PRODUCTS: tuple[Any, ...] = (operator.mul, torch.mul, operator.matmul, torch.matmul, "mul", "matmul")
FRACTIONS: tuple[Any, ...] = (operator.truediv, torch.div, "div")


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


def check_call(graph: fx.GraphModule, node: fx.Node) -> None:
    """Refuse a call that is neither a unit nor linear."""
    if node.op in ("placeholder", "output", "get_attr"):
        return
    module = called(graph, node)
    if module is not None:
        if isinstance(module, NORMS) and module.running_mean is None:
            came = f"{type(module).__name__} without running statistics"
            refuse(f"{FIELD} {node.target}", came, "statistics that do not depend on the batch")
        if not isinstance(module, (RateUnit, MaxUnit, *LARGEST, *LINEAR)):
            refuse(f"{FIELD} {node.target}", type(module).__name__, WANTED)
        return
    known = METHODS if node.op == "call_method" else FUNCTIONS
    if node.target not in known and node.target not in PRODUCTS and node.target not in FRACTIONS:
        refuse(f"{FIELD} {path_of(node)}", f"a call of {name_of(node)}", WANTED)


def check_products(graph: fx.GraphModule) -> None:
    """Spikes may be weighed by what the image alone decides, not by each other."""
    sizes, spiking = size_nodes(graph), spiking_nodes(graph)
    for node in graph.graph.nodes:
        operands = [a for a in (*node.args, *node.kwargs.values()) if isinstance(a, fx.Node)]
        moving = [a for a in operands if a in spiking and a not in sizes]
        weighs = (F.linear, F.conv1d, F.conv2d, torch.conv1d, torch.conv2d)
        product = node.target in PRODUCTS or node.target in weighs
        if product and len(moving) > 1:
            refuse(f"{FIELD} {path_of(node)}", "a product of two spiking activations", WANTED)
        if node.target in FRACTIONS and moving and (len(moving) > 1 or node.args[0] is not moving[0]):
            refuse(f"{FIELD} {path_of(node)}", "a division by a spiking activation", WANTED)
        rounds = node.target is operator.floordiv or node.kwargs.get("rounding_mode") is not None
        if rounds and node not in sizes:
            refuse(f"{FIELD} {path_of(node)}", "a division that rounds", WANTED)


def size_nodes(graph: fx.GraphModule) -> set[fx.Node]:
    """The nodes that are sizes, or computed from sizes alone."""
    found: set[fx.Node] = set()
    for node in graph.graph.nodes:
        asks = node.op == "call_method" and node.target == "size"
        asks |= node.target is len or (node.target is getattr and node.args[1] == "shape")
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
