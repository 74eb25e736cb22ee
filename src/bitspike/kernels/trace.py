"""A neuron's step as a list of single assignments, in the order in which the step wrote them.

Calling a pure step with nodes instead of tensors records every operation once (equal operations share a node). The
order of the operations is kept, so that every generated kernel rounds exactly as the plain PyTorch loop does. (SymPy
would sort and regroup the terms of a sum, and with them the last bit of a membrane and, at threshold, a spike; it is
used for the printed formula only, see `kernels.formula`.)
"""

from __future__ import annotations

import hashlib
import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from bitspike.errors import BitspikeError

Key = tuple[Any, ...]
LEAVES = ("input", "state", "constant", "number", "gradient", "carry")
COMPARISONS = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<"}


def _operation(op: str) -> Callable[[Node, Any], Node]:
    return lambda self, other: self.graph.add(op, self, other)


def _turned(op: str) -> Callable[[Node, Any], Node]:
    return lambda self, other: self.graph.add(op, other, self)


class Node:
    """One value of a step: an operation on other nodes, or a leaf (`value` is its name, or a number).

    known: of a constant whose number is known while the step is traced; see `Graph.setting`.
    """

    __slots__ = ("args", "graph", "index", "known", "op", "value")

    def __init__(self, graph: Graph, index: int, op: str, args: tuple[Node, ...], value: str | float | None) -> None:
        self.graph, self.index, self.op, self.args, self.value = graph, index, op, args, value
        self.known: float | None = value if isinstance(value, float) else None

    @property
    def is_number(self) -> bool:
        """True for a number written in the step."""
        return self.op == "number"

    @property
    def is_boolean(self) -> bool:
        """True for the result of a comparison."""
        return self.op in COMPARISONS

    def __repr__(self) -> str:
        if self.value is not None:
            return f"{self.value}"
        return f"{self.op}({', '.join(f'n{a.index}' if a.args else repr(a) for a in self.args)})"

    __add__, __radd__ = _operation("add"), _turned("add")
    __sub__, __rsub__ = _operation("sub"), _turned("sub")
    __mul__, __rmul__ = _operation("mul"), _turned("mul")
    __truediv__ = _operation("div")
    __ge__, __gt__, __le__, __lt__ = map(_operation, COMPARISONS)

    def __rtruediv__(self, other: Any) -> Node:
        # A number by a tensor is its reciprocal times the number in PyTorch, which rounds twice.
        return self.graph.add("mul", self.graph.add("div", 1.0, self), other)

    def __eq__(self, other: object) -> bool:
        if self.graph.recording:
            raise Untraceable("== or != on a value; use >=, >, <= or <")
        return self is other

    __hash__ = object.__hash__

    def __neg__(self) -> Node:
        return self.graph.add("neg", self)

    def __pow__(self, power: int) -> Node:
        if power != 2:
            raise Untraceable(f"a power of {power}; only squares are traced (write a product)")
        return self.graph.add("mul", self, self)

    def __bool__(self) -> bool:
        raise Untraceable("a Python `if` on a value; use choose(condition, a, b)")

    def __getattr__(self, name: str) -> Any:
        raise Untraceable(f"the method or attribute '{name}'; use the functions of bitspike.kernels")


class Untraceable(BitspikeError):
    """The step does something that cannot be recorded; the message says what."""


ON_NUMBERS: dict[str, Callable[..., float]] = {
    "add": operator.add, "sub": operator.sub, "mul": operator.mul, "div": operator.truediv, "neg": operator.neg,
}  # fmt: skip


class Graph:
    """Nodes in the order of their creation; equal operations on equal nodes are one node.

    written: settings are numbers in the step, which is then another step for each of their values.
    """

    def __init__(self, written: bool = False) -> None:
        self.nodes: list[Node] = []
        self.written = written
        self.recording = False  # while a step runs, whose comparisons are the step's
        self._known: dict[Key, Node] = {}

    def leaf(self, op: str, name: str) -> Node:
        """A value that comes from outside: input, state, constant, gradient or carried gradient."""
        return self._node(op, (), name)

    def constant(self, value: float) -> Node:
        """A number written in the step."""
        return self._node("number", (), float(value))

    def setting(self, name: str, value: float) -> Node | float:
        """A number that is chosen before a step runs, such as a surrogate's width, as a constant of the step.

        What is computed of settings and numbers alone is one constant, computed here in double precision: a kernel
        rounds as if the number were written in the step. 1 is written: it costs nothing there.
        """
        return value if self.written or value == 1.0 else self._setting(("setting", name), float(value))

    def _setting(self, key: Key, value: float) -> Node:
        if key not in self._known:
            node = self._node("constant", (), f"_setting{len(self._known)}")
            node.known = value
            self._known[key] = node
        return self._known[key]

    def add(self, op: str, *args: Any) -> Node:
        """The node of `op` on args; numbers become nodes."""
        nodes = tuple(a if isinstance(a, Node) else self._number(a) for a in args)
        # The only simplification: times 1 and by 1 change no bit.
        if op in ("mul", "div") and nodes[1].value == 1.0:
            return nodes[0]
        if op == "mul" and nodes[0].value == 1.0:
            return nodes[1]
        numbers = [n.known for n in nodes if n.known is not None]
        if op in ON_NUMBERS and len(numbers) == len(nodes) and any(n.op == "constant" for n in nodes):
            return self._setting((op, *(n.index for n in nodes)), ON_NUMBERS[op](*numbers))
        return self._node(op, nodes, None)

    def _number(self, value: Any) -> Node:
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise Untraceable(f"a {type(value).__name__} inside the step; pass it as one of the step's constants")
        return self.constant(value)

    def _node(self, op: str, args: tuple[Node, ...], value: str | float | None) -> Node:
        # repr tells 0.0 from -0.0 and makes nan equal to itself.
        key = (op, repr(value), *(a.index for a in args))
        if key not in self._known:
            self._known[key] = Node(self, len(self.nodes), op, args, value)
            self.nodes.append(self._known[key])
        return self._known[key]


@dataclass(frozen=True, eq=False)
class Trace:
    """A traced step: the graph, its leaves by name, what it puts out and the state it leaves.

    forward: number of nodes of the forward step (nodes behind it belong to the adjoint). pool: what is handed on is the
    largest output of each pool x pool neighbours in the last two dimensions; 1: the output itself. settings: numbers
    of the last of the constants, those that come with the spike function; not of the step's identity.
    """

    graph: Graph
    input: Node
    state: dict[str, Node]
    constants: dict[str, Node]
    output: Node
    new_state: dict[str, Node]
    forward: int = 0
    pool: int = 1
    settings: tuple[float, ...] = ()

    @property
    def pooled(self) -> bool:
        """Whether outputs leave as maxima of neighbours, and so are not there afterwards."""
        return self.pool > 1

    def handed_on(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of what a run of this shape (*, H, W) puts out: maxima of whole windows only, as torch's."""
        return (*shape[:-2], shape[-2] // self.pool, shape[-1] // self.pool) if self.pooled else tuple(shape)

    def key(self) -> str:
        """A digest of the whole step: equal for equal arithmetic, whatever the function is called."""
        roots = {"output": self.output, **{f"state {n}": v for n, v in self.new_state.items()}}
        names = f"{list(self.state)} {list(self.constants)}" + (f" pool {self.pool}" if self.pooled else "")
        # Gradients of spikes included: they are of the step's identity.
        lines = [f"n{n.index} = {n!r}" for n in needed(list(roots.values()), gradients=True)]
        text = "\n".join([*lines, repr({n: r.index for n, r in roots.items()}), names])
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def trace(
    step: Callable[..., Any],
    state_type: type[Any],
    constants_type: type[Any] | None,
    spike: Callable[..., Any],
    written: bool = False,
) -> Trace:
    """Record `step(x, state, p, spike) -> (output, state)`.

    state_type, constants_type: NamedTuples that the step reads; written: see `Graph`. Raises Untraceable with the
    reason.
    """
    graph = Graph(written)
    x = graph.leaf("input", "x")
    state = {name: graph.leaf("state", name) for name in state_type._fields}
    constants = {name: graph.leaf("constant", name) for name in (constants_type._fields if constants_type else ())}
    p = constants_type(**constants) if constants_type else ()
    graph.recording = True
    try:
        output, after = step(x, state_type(**state), p, spike)
        new_state = {name: _as_node(graph, value) for name, value in zip(state, after, strict=True)}
    except (AttributeError, TypeError, ValueError, KeyError, IndexError) as error:
        raise Untraceable(f"step {getattr(step, '__name__', step)}: {error}") from error
    finally:
        graph.recording = False
    used = {arg for node in graph.nodes for arg in node.args}
    settings = {str(n.value): n for n in graph.nodes if n.op == "constant" and n.known is not None and n in used}
    numbers = tuple(n.known for n in settings.values() if n.known is not None)
    y = _as_node(graph, output)
    return Trace(graph, x, state, constants | settings, y, new_state, len(graph.nodes), settings=numbers)


def _as_node(graph: Graph, value: Any) -> Node:
    return value if isinstance(value, Node) else graph.constant(value)


def needed(
    roots: list[Node], stop_at: frozenset[Node] | set[Node] = frozenset(), gradients: bool = False
) -> list[Node]:
    """The nodes that `roots` depend on, in order of computation; nothing below a node of `stop_at`.

    gradients: with those that a replaced gradient is computed from, which serve the adjoint only.
    """
    seen: set[Node] = set()
    waiting = list(roots)
    while waiting:
        node = waiting.pop()
        if node in seen:
            continue
        seen.add(node)
        if node not in stop_at:
            waiting.extend(node.args[:1] if node.op == "override" and not gradients else node.args)
    return sorted(seen, key=lambda n: n.index)
