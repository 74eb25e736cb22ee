"""The calls of a module as a graph (torch.fx) in which nothing is changed in place.

`y += x`, `y.relu_()`, `nn.ReLU(inplace=True)` change a tensor that other names may stand for. torch.fx writes `y += x`
down as a new value, and what reads `y` by another name behind it as the old one. Here a change in place is a call like
any other, and whatever reads the tensor behind it reads the change's output.
"""

from __future__ import annotations

import operator
from typing import Any

from torch import fx, nn

CHANGES: dict[Any, Any] = {
    operator.iadd: operator.add, operator.isub: operator.sub, operator.imul: operator.mul,
    operator.itruediv: operator.truediv,
}  # fmt: skip


class _Noting(fx.Proxy):
    """A value whose `+=` is a call in place."""

    def _changed(self, function: Any, other: Any) -> Any:
        return self.tracer.create_proxy("call_function", function, (self, other), {})

    def __iadd__(self, other: Any) -> Any:
        return self._changed(operator.iadd, other)

    def __isub__(self, other: Any) -> Any:
        return self._changed(operator.isub, other)

    def __imul__(self, other: Any) -> Any:
        return self._changed(operator.imul, other)

    def __itruediv__(self, other: Any) -> Any:
        return self._changed(operator.itruediv, other)


class Tracer(fx.Tracer):
    """Notes what is changed in place; see `without_changes`."""

    def proxy(self, node: fx.Node) -> fx.Proxy:
        """A value of the graph."""
        return _Noting(node, self)


def changes(root: nn.Module, node: fx.Node) -> bool:
    """Whether a call changes its first input."""
    if node.op == "call_module":
        return bool(getattr(root.get_submodule(str(node.target)), "inplace", False))
    if node.target in CHANGES or node.kwargs.get("inplace", False):
        return True
    name = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "")
    return node.op in ("call_function", "call_method") and name.endswith("_") and not name.endswith("__")


def without_changes(root: nn.Module, graph: fx.Graph) -> None:
    """What was read from a changed tensor is read from the change's output; root: the module that was traced."""
    order = {node: number for number, node in enumerate(graph.nodes)}
    for node in graph.nodes:
        if not node.all_input_nodes or not changes(root, node):
            continue
        place = order[node]
        node.all_input_nodes[0].replace_all_uses_with(node, lambda user, place=place: order[user] > place)
        if node.op == "call_method":
            node.target = str(node.target).removesuffix("_")
        elif node.target in CHANGES:
            node.target = CHANGES[node.target]
