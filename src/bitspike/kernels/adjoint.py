"""The adjoint of a traced step: reverse mode over its assignments, and what has to be kept for it.

For a step (x, s, p) -> (y, s') with incoming gradients gy and gs' (carried from the step after), one pass over the
assignments in reverse order gives gx, gs (carried to the step before) and each constant's share gp. Three things
are then decided from the graph alone:

- **carried**: the states whose gradient is not identically zero and reaches something that was asked for;
- **kept**: the fewest values per step from which everything the adjoint needs can be computed again. The state
  before a step may be computed from what the step before kept. A linear trace needs nothing kept; LIF one value.
- **previous**: the states before the step that are rebuilt in this way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

from bitspike.kernels.trace import Node, Trace, Untraceable, needed

MOST_KEPT = 4
MOST_TRIED = 20_000  # choices of what to keep that are looked at


@dataclass(frozen=True, eq=False)
class Adjoint:
    """One variant of a step's adjoint; see the module. Gradients that are identically zero are None.

    gradient: leaf gy; carries: leaf gs' per carried state; input, state, constants: gx, gs, gp.
    kept: values stored at every step (the input and the output, if among them, are kept by reference).
    previous: states before the step, computed from the values kept one step earlier.
    """

    trace: Trace
    gradient: Node
    carries: dict[str, Node]
    input: Node | None
    state: dict[str, Node]
    constants: dict[str, Node]
    kept: tuple[Node, ...]
    previous: tuple[str, ...]

    @property
    def roots(self) -> list[Node]:
        """Everything the adjoint computes at a step."""
        return [n for n in (self.input, *self.state.values(), *self.constants.values()) if n is not None]

    def keeping(self, kept: tuple[Node, ...]) -> Adjoint:
        """The same adjoint from other kept values (those of a variant that asks for more)."""
        previous = _previous(self.trace, _frontier(self.trace, self.roots), kept)
        if previous is None:
            raise Untraceable("an adjoint that cannot be computed from the values kept")
        return replace(self, kept=kept, previous=previous)


def adjoint(
    trace: Trace, constants: Iterable[str] = (), want_input: bool = True, want_state: bool = False,
    final: Iterable[str] = (),
) -> Adjoint:  # fmt: skip
    """The adjoint for gradients of the input, of the named constants and (want_state) of the initial state.

    final: states whose value after the last step has a gradient of its own.
    """
    constants, final = tuple(constants), tuple(final)
    graph = trace.graph
    gradient = graph.leaf("gradient", "gy")
    carried = set(final)
    while True:  # the least set of states with a gradient that is not identically zero
        leaves = {name: graph.leaf("carry", f"g_{name}") for name in trace.state if name in carried}
        found = _reverse(trace, gradient, leaves)
        more = {name for name, leaf in trace.state.items() if leaf in found} - carried
        if not more:
            break
        carried |= more
    state = {name: found[leaf] for name, leaf in trace.state.items() if leaf in found}
    shares = {name: found[trace.constants[name]] for name in constants if trace.constants[name] in found}
    gx = found.get(trace.input) if want_input else None
    asked = [*shares.values(), *([] if gx is None else [gx])]
    live = _live(asked, state, leaves, set(state) if want_state else set())
    state = {name: node for name, node in state.items() if name in live}
    leaves = {name: leaf for name, leaf in leaves.items() if name in live}
    kept, previous = _keep(trace, [*asked, *state.values()])
    return Adjoint(trace, gradient, leaves, gx, state, shares, kept, previous)


def _reverse(trace: Trace, gradient: Node, carries: dict[str, Node]) -> dict[Node, Node]:
    found: dict[Node, Node] = {}

    def receive(node: Node, share: Node) -> None:
        if not node.is_number:
            found[node] = found[node] + share if node in found else share

    receive(trace.output, gradient)
    for name, leaf in carries.items():
        receive(trace.new_state[name], leaf)
    for node in reversed(trace.graph.nodes[: trace.forward]):
        if node in found and node.args:
            for arg, share in RULES[node.op](node, found[node], *node.args):
                receive(arg, share)
    return found


Shares = list[tuple[Node, Node]]


def _where(condition: Node, a: Any, b: Any) -> Node:
    return condition.graph.add("where", condition, a, b)


def _choose(g: Node, condition: Node, a: Node, b: Node) -> Shares:
    return [(a, _where(condition, g, 0.0)), (b, _where(condition, 0.0, g))]


# By operation: what the node n = op(*args) with gradient g hands to each of args.
RULES: dict[str, Callable[..., Shares]] = {
    "add": lambda n, g, a, b: [(a, g), (b, g)],
    "sub": lambda n, g, a, b: [(a, g), (b, -g)],
    "mul": lambda n, g, a, b: [(a, g * b), (b, g * a)],
    "div": lambda n, g, a, b: [(a, g / b), (b, -(g * (n / b)))],
    "neg": lambda n, g, a: [(a, -g)],
    "exp": lambda n, g, a: [(a, g * n)],
    "expm1": lambda n, g, a: [(a, g * (n + 1.0))],
    "log1p": lambda n, g, a: [(a, g / (a + 1.0))],
    "abs": lambda n, g, a: [(a, _where(a > 0.0, g, _where(a < 0.0, -g, 0.0)))],
    "max": lambda n, g, a, b: _choose(g, a >= b, a, b),
    "min": lambda n, g, a, b: _choose(g, a <= b, a, b),
    "where": lambda n, g, condition, a, b: _choose(g, condition, a, b),
    "override": lambda n, g, value, of, slope: [(of, g * slope)],
    **dict.fromkeys(("floor", "indicator", "stop", "ge", "gt", "le", "lt"), lambda n, g, *args: []),
}


def _live(roots: list[Node], state: dict[str, Node], leaves: dict[str, Node], wanted: set[str]) -> set[str]:
    """The carried states that reach a root or a wanted state."""
    live = set(wanted)
    used = {name for name, leaf in leaves.items() if leaf in set(needed(roots))}
    while not used <= live:
        live |= used
        below = set(needed([state[name] for name in live if name in state]))
        used |= {name for name, leaf in leaves.items() if leaf in below}
    return live


def _forward(trace: Trace) -> set[Node]:
    """What a forward pass computes. Derivatives of spikes are not in it: the adjoint alone knows them."""
    return {n for n in needed([trace.output, *trace.new_state.values()]) if n.op not in ("number", "constant")}


def _frontier(trace: Trace, roots: list[Node]) -> set[Node]:
    """The values of the forward pass that `roots` read; where outputs are pooled, the outputs too."""
    forward = _forward(trace)
    roots = [*roots, trace.output] if trace.pooled and roots else roots
    return {n for n in needed(roots, stop_at=forward) if n in forward}


def _keep(trace: Trace, roots: list[Node]) -> tuple[tuple[Node, ...], tuple[str, ...]]:
    """The cheapest values to keep, and the states before the step rebuilt from those of the step before."""
    frontier = _frontier(trace, roots)
    if not frontier:
        return (), ()
    useful = {*needed(list(frontier)), *trace.new_state.values(), trace.output} & _forward(trace)
    # The input and the output exist anyway (unless it is pooled); keeping them costs no store.
    output = 1.0 if trace.pooled else 0.4
    cost = {n: output if n is trace.output else 0.9 if n is trace.input else 1.0 for n in useful}
    candidates = [n for n in useful if n.op != "state" and not n.is_boolean]
    candidates.sort(key=lambda n: (cost[n], n.index))
    best: tuple[float, tuple[Node, ...], tuple[str, ...]] | None = None
    order, tried = _orders(trace, frontier), 0
    for size in range(1, MOST_KEPT + 1):
        for chosen in combinations(candidates, size):
            tried += 1
            if tried > MOST_TRIED:
                break
            price = sum(cost[n] for n in chosen)
            if best is None or price < best[0]:
                previous = _previous(trace, frontier, chosen, order)
                if previous is not None:
                    best = (price, chosen, previous)
        if best is not None:
            return best[1], best[2]
        if tried > MOST_TRIED:
            raise Untraceable(f"an adjoint that could keep too many of the step's {len(candidates)} values")
    raise Untraceable(f"an adjoint that needs more than {MOST_KEPT} values per step")


def _orders(trace: Trace, frontier: set[Node]) -> tuple[list[Node], list[Node]]:
    return needed(list(trace.new_state.values())), needed(list(frontier))


def _previous(
    trace: Trace, frontier: set[Node], kept: tuple[Node, ...], order: tuple[list[Node], list[Node]] | None = None
) -> tuple[str, ...] | None:
    """The states before the step that `frontier` needs beside `kept`; None if it cannot be computed.

    order: what the new states and `frontier` depend on, in the order of computation; found if left out.
    """
    steps, reads = _orders(trace, frontier) if order is None else order
    within = _computable(steps, set(kept))
    rebuilt = {n for n, node in trace.new_state.items() if node in within}
    known = set(kept) | {trace.state[name] for name in rebuilt}
    if not frontier <= _computable(reads, known):
        return None
    used = set(needed(list(frontier), stop_at=known))
    return tuple(name for name in trace.state if name in rebuilt and trace.state[name] in used)


def _computable(nodes: list[Node], known: set[Node]) -> set[Node]:
    """Of nodes in the order of computation, those that come of `known`, numbers and constants."""
    found = set(known)
    for node in nodes:
        args = node.args[:1] if node.op == "override" else node.args
        if node.op in ("number", "constant") or (args and all(a in found for a in args)):
            found.add(node)
    return found
