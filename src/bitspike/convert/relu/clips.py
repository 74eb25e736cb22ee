"""Calls that clip a value, and the units that stand in their place.

    clip(x; a, b) = a + min(max(x - a, 0), b - a)        a unit with ceiling b - a, between shifts by a
    max(x, y)     = y + max(x - y, 0)                    exact for any two values, spiking or not
    min(x, y)     = y - max(y - x, 0)

ReLU, ReLU6, hardtanh, hardsigmoid, clamp, threshold, maximum and minimum are all of these forms, as modules, functions
and methods. A clip of the image itself, before any weights, is computed once, as real numbers.
"""

from __future__ import annotations

import operator
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor, fx, nn

from bitspike.convert import graph as graphs
from bitspike.convert.nonlinearities import Function
from bitspike.convert.relu.rate_units import RateUnit, Setting
from bitspike.convert.relu.rules import FIELD, WANTED, called, dependent, name_of, path_of
from bitspike.errors import refuse

MODULES = (nn.ReLU, nn.ReLU6, nn.Hardtanh, nn.Hardsigmoid, nn.Threshold)
NAMES = (
    "relu", "relu6", "hardtanh", "hardsigmoid", "threshold", "clamp", "clip", "clamp_min", "clamp_max", "maximum",
    "minimum", "max", "min", "fmax", "fmin",
)  # fmt: skip
# Calls whose values nothing but a number decides.
FILLED = {"zeros_like": 0.0, "new_zeros": 0.0, "zeros": 0.0, "ones_like": 1.0, "new_ones": 1.0, "ones": 1.0}
Bound = float | fx.Node | None


@dataclass(frozen=True)
class Clip:
    """min(max(scale x + shift, low), high) of the value of a node."""

    x: Any
    low: Bound
    high: Bound
    scale: float = 1.0
    shift: float = 0.0


def clip_of(graph: fx.GraphModule, node: fx.Node) -> Clip | None:
    """What a call clips, and where; None: it is no clip."""
    module = called(graph, node)
    if module is not None:
        return _of_module(node, module) if isinstance(module, MODULES) else None
    name = name_of(node).strip("_")
    if node.op not in ("call_function", "call_method") or name not in NAMES:
        return None

    def at(place: int, key: str, default: Any = None) -> Any:
        value = node.args[place] if len(node.args) > place else node.kwargs.get(key, default)
        return _bound(graph, value)

    x = node.args[0] if node.args else node.kwargs.get("input")
    if name in ("relu", "relu6", "hardsigmoid"):
        return _named(name, x)
    if name == "hardtanh":
        return Clip(x, at(1, "min_val", -1.0), at(2, "max_val", 1.0))
    if name == "threshold":
        return _threshold(node, x, at(1, "threshold"), at(2, "value"))
    if name in ("clamp", "clip"):
        return Clip(x, at(1, "min"), at(2, "max"))
    if name in ("clamp_min", "clamp_max"):
        least = name == "clamp_min"
        bound = at(1, "min" if least else "max")
        return Clip(x, bound, None) if least else Clip(x, None, bound)
    return _of_two(graph, node, name, x)


def _of_two(graph: fx.GraphModule, node: fx.Node, name: str, x: Any) -> Clip | None:
    other = node.args[1] if len(node.args) > 1 else node.kwargs.get("other")
    if len(node.args) > 2 or set(node.kwargs) - {"input", "other"} or not isinstance(other, fx.Node):
        return None  # the largest along a dimension
    first, second = _bound(graph, x), _bound(graph, other)
    if isinstance(first, float):
        x, second = other, first
    return Clip(x, second, None) if name in ("maximum", "max", "fmax") else Clip(x, None, second)


def _of_module(node: fx.Node, module: Any) -> Clip | None:
    x = node.all_input_nodes[0]
    if isinstance(module, nn.Threshold):
        return _threshold(node, x, float(module.threshold), float(module.value))
    # ReLU6 is a kind of hardtanh.
    if isinstance(module, nn.Hardtanh):
        return Clip(x, float(module.min_val), float(module.max_val))
    return _named(type(module).__name__.lower() if type(module) in MODULES else "relu", x)


def _named(name: str, x: Any) -> Clip:
    if name == "hardsigmoid":
        return Clip(x, 0.0, 1.0, 1 / 6, 0.5)
    return Clip(x, 0.0, 6.0 if name == "relu6" else None)


def _threshold(node: fx.Node, x: Any, threshold: Any, value: Any) -> Clip:
    if threshold != value:
        came = f"a threshold at {threshold} with values of {value} below it"
        refuse(f"{FIELD} {path_of(node)}", came, "the same number twice, which is a ReLU")
    return Clip(x, value, None)


def _bound(graph: fx.GraphModule, value: Any) -> Any:
    """A number as a float, also where a tensor holds but one."""
    if isinstance(value, bool) or not isinstance(value, int | float | fx.Node):
        return value
    if not isinstance(value, fx.Node):
        return float(value)
    if value.op == "get_attr":
        held = operator.attrgetter(str(value.target))(graph)
        return float(held) if isinstance(held, Tensor) and held.numel() == 1 else value
    if value.op in ("call_function", "call_method"):
        name = name_of(value)
        if name in FILLED:
            return FILLED[name]
        number = value.args[1] if len(value.args) > 1 else value.kwargs.get("fill_value")
        if name in ("full_like", "new_full", "full") and isinstance(number, int | float):
            return float(number)
    return value


def put_units(graph: fx.GraphModule, setting: Setting) -> set[fx.Node]:
    """Put units in the place of clips, by unique names; returns the clips of the image that stay as they are."""
    nodes = list(graph.graph.nodes)
    found = {node: clip for node in nodes if (clip := clip_of(graph, node)) is not None}
    images = dependent(graph, {n for n in nodes if n.op == "placeholder"})
    weighed = dependent(graph, {n for n in nodes if _weighs(graph, n)})
    staying = {n for n in found if n not in images or not (n in weighed or _is_relu(graph, n))}
    builder = _Builder(graph, setting, {str(n.target) for n in nodes if n.op == "call_module" and n not in found})
    for node in nodes:
        if node in found and node not in staying:
            # What it clips may have been replaced since.
            module = node.op == "call_module"
            builder.put(node, replace(found[node], x=node.all_input_nodes[0]) if module else clip_of(graph, node))
    return staying


def _is_relu(graph: fx.GraphModule, node: fx.Node) -> bool:
    return isinstance(called(graph, node), nn.ReLU) or name_of(node).rstrip("_") in ("relu", "relu6")


def _weighs(graph: fx.GraphModule, node: fx.Node) -> bool:
    module = called(graph, node)
    if module is not None:
        return any(True for _ in module.parameters())
    return node.op == "get_attr" and isinstance(operator.attrgetter(str(node.target))(graph), nn.Parameter)


class _Builder:
    def __init__(self, graph: fx.GraphModule, setting: Setting, kept: set[str]) -> None:
        self.graph, self.setting, self.kept = graph, setting, kept
        self.taken: set[str] = set()

    def put(self, node: fx.Node, clip: Clip | None) -> None:
        assert clip is not None
        numbers = [each for each in (clip.low, clip.high) if isinstance(each, float)]
        known = all(each is None or isinstance(each, float | fx.Node) for each in (clip.low, clip.high))
        if not known or not isinstance(clip.x, fx.Node) or (len(numbers) == 2 and not numbers[0] < numbers[1]):
            came = f"a clip from {clip.low} to {clip.high}"
            refuse(f"{FIELD} {path_of(node)}", came, "a lower bound below the upper one, numbers or tensors")
        if clip.low is None and clip.high is None:
            refuse(f"{FIELD} {path_of(node)}", "a clip without bounds", WANTED)
        with self.graph.graph.inserting_before(node):
            y = self._built(node, clip)
        node.replace_all_uses_with(y)
        self.graph.graph.erase_node(node)

    def _built(self, node: fx.Node, clip: Clip) -> fx.Node:
        x = self._call(operator.mul, clip.x, clip.scale) if clip.scale != 1 else clip.x
        x = self._call(operator.add, x, clip.shift) if clip.shift else x
        low, high = clip.low, clip.high
        if isinstance(low, float) and isinstance(high, float):
            return self._above(node, x, low, high - low)
        if low is not None:
            x = self._above(node, x, low, float("inf"))
        if high is None:
            return x
        unit = called(self.graph, x)
        if isinstance(unit, RateUnit) and isinstance(high, float) and high > 0 and set(x.users) <= {node}:
            unit.ceiling = min(unit.ceiling, high)
            return x
        over = self._unit(node, self._call(operator.sub, high, x), float("inf"))
        return self._call(operator.sub, high, over)

    def _call(self, function: Any, *arguments: Any) -> fx.Node:
        return self.graph.graph.call_function(function, arguments)

    def _above(self, node: fx.Node, x: fx.Node, low: Bound, ceiling: float) -> fx.Node:
        if low == 0.0:
            return self._unit(node, x, ceiling)
        return self._call(operator.add, self._unit(node, self._call(operator.sub, x, low), ceiling), low)

    def _unit(self, node: fx.Node, x: fx.Node, ceiling: float) -> fx.Node:
        scope, _, called_as = path_of(node).rpartition(".")
        name = graphs.unique(f"{scope}.{called_as.strip('_')}" if scope else called_as.strip("_"), self.taken)
        self.taken.add(name)
        # A module of that name that is called for something else keeps its path.
        path = f"{name}_unit" if name in self.kept else name
        self.graph.add_submodule(path, RateUnit(name, self.setting, ceiling))
        return self.graph.graph.call_module(path, (x,))


def is_clip(nonlinearity: nn.Module) -> bool:
    """Whether a nonlinearity that `graph.sites` found is one of these."""
    name = nonlinearity.name if isinstance(nonlinearity, Function) else ""
    return isinstance(nonlinearity, MODULES) or name in NAMES
