"""What changes over the presentations of an input, and what is the same at every step and computed once."""

from __future__ import annotations

from typing import Any

from torch import Tensor, fx, nn

from bitspike.convert.hybrid.units import Clock, Presented
from bitspike.errors import refuse

REPEAT = "repeat_over_presentations"
SIZES = ("size", "shape", "numel", "__len__")


def over_presentations(graph: fx.GraphModule, clock: Clock) -> set[str]:
    """Let the graph take inputs (B, ...) and repeat what has not met a unit where it meets what has.

    Returns the names of the units whose input does not change over steps. If the graph asks for sizes before the
    first unit, their batch would be B where T*B is wanted: then the inputs themselves are repeated.
    """
    graph.add_submodule(REPEAT, Repeated(clock))
    nodes = list(graph.graph.nodes)
    inputs = [node for node in nodes if node.op == "placeholder"]
    called = {node: graph.get_submodule(str(node.target)) for node in nodes if node.op == "call_module"}
    units = {node for node, module in called.items() if isinstance(module, Presented)}
    within = {node for node, module in called.items() if any(isinstance(m, Presented) for m in module.modules())}
    constant: set[fx.Node] = set(inputs)
    varying: set[fx.Node] = set()
    for node in nodes:
        arguments = set(node.all_input_nodes)
        if node in within or arguments & varying:
            varying.add(node)
        elif arguments & constant:
            constant.add(node)
    if any(node in constant and _asks_size(node) for node in nodes):
        constant, varying = set(), set(nodes)
        for node in inputs:
            with graph.graph.inserting_after(inputs[-1]):
                made = graph.graph.call_module(REPEAT, (node,))
            node.replace_all_uses_with(made, lambda user, made=made: user is not made)
    first = {str(n.target) for n in units if set(n.all_input_nodes) & constant}
    for node in nodes:
        if node not in varying or node in units or node.op in ("placeholder", "output"):
            continue
        for argument in set(node.all_input_nodes) & constant:
            with graph.graph.inserting_before(node):
                made = graph.graph.call_module(REPEAT, (argument,))
            node.replace_input_with(argument, made)
    graph.graph.lint()
    graph.recompile()
    return first


def _asks_size(node: fx.Node) -> bool:
    if node.op == "call_method":
        return node.target in SIZES
    return node.op == "call_function" and (node.target is len or (node.target is getattr and node.args[1] in SIZES))


class Repeated(nn.Module):
    """(B, ...) as (T*B, ...), presentation by presentation; what is no tensor stays."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self.clock = clock

    def forward(self, x: Any) -> Any:
        """x, T times."""
        steps = self.clock.steps
        if not isinstance(x, Tensor) or steps == 1:
            return x
        if x.ndim == 0:
            refuse("hybrid input", "a tensor without dimensions", "tensors whose first dimension is the batch")
        return x.unsqueeze(0).expand(steps, *x.shape).flatten(0, 1)
