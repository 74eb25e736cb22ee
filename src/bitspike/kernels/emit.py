"""A list of assignments as source text, for the languages kernels are generated in.

One line per node, in the order in which the step wrote them, so that every kernel rounds alike.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping

from bitspike.kernels.trace import COMPARISONS, Node

SIGNS = {"add": "+", "sub": "-", "mul": "*", "div": "/", **COMPARISONS}

# max and min return their operand where it is nan, as torch's clamp does.
NUMBA: dict[str, str] = {
    "neg": "-{0}",
    **{name: f"{name}({{0}})" for name in ("abs", "exp", "expm1", "log1p", "floor")},
    "max": "({1} if {0} < {1} else {0})",
    "min": "({1} if {0} > {1} else {0})",
    "indicator": "(one if {0} else zero)",
    "where": "({1} if {0} else {2})",
}

# With the functions of `cuda_math`; times -1 keeps the sign of zero in every version of Triton.
TRITON: dict[str, str] = {
    **NUMBA,
    "neg": "{0} * -1.0",
    "abs": "tl.abs({0})",
    "max": "tl.where({0} < {1}, {1}, {0})",
    "min": "tl.where({0} > {1}, {1}, {0})",
    "indicator": "tl.where({0}, one, zero)",
    "where": "tl.where({0}, {1}, {2})",
    "div": "divide({0}, {1})",
}


class Literals:
    """Numbers as named values of the kernel's dtype; form: how a value is made of a number's text."""

    def __init__(self, form: str) -> None:
        self.form = form
        self.known: dict[str, str] = {repr(1.0): "one", repr(0.0): "zero"}

    def __call__(self, value: float) -> str:
        text = repr(value) if math.isfinite(value) else f"float('{value}')"
        return self.known.setdefault(text, f"number_{len(self.known) - 2}")

    @property
    def lines(self) -> list[str]:
        """Their definitions; first those of 1 and 0."""
        return [f"{name} = {self.form.format(text)}" for text, name in self.known.items()]


def assignments(
    nodes: Iterable[Node],
    names: Mapping[Node, str],
    language: Mapping[str, str],
    number: Callable[[float], str],
    prefix: str = "n",
) -> tuple[list[str], dict[Node, str]]:
    """Lines that compute `nodes` (in order) and the name of every node.

    names: nodes that are given (loaded, or arguments). number: a literal in the language. prefix: of new names.
    """
    known = dict(names)
    lines: list[str] = []
    for node in nodes:
        if node in known:
            continue
        if node.is_number:
            known[node] = number(float(0.0 if node.value is None else node.value))
            continue
        args = [known[a] for a in (node.args[:1] if node.op == "override" else node.args)]
        if node.op in ("stop", "override"):
            known[node] = args[0]
            continue
        known[node] = f"{prefix}{node.index}"
        form = language.get(node.op) or f"{{0}} {SIGNS[node.op]} {{1}}"
        lines.append(f"{known[node]} = {form.format(*args)}")
    return lines, known
