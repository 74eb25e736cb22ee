"""From a network to its plan: which nodes stand for a module, found by its class; see `planner` for one's own.

Chains are followed child by child, the forward pass of any other module by its calls (torch.fx). What has no plan says
why: a class that nobody has planned, a `forward` or a hook of its own, a call that is none of a few.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import replace
from itertools import chain
from typing import Any, TypeVar

import torch
from torch import Tensor, fx, nn

from bitspike.errors import BitspikeError, one_line, refuse
from bitspike.kernels.dtypes import WIDE
from bitspike.layers.fused import Fused, called, plain
from bitspike.layers.modes import evaluating
from bitspike.models.in_place import Tracer, without_changes
from bitspike.models.plan.answers import Decode
from bitspike.models.plan.nodes import Activity, Flatten, Input, Join, Node
from bitspike.models.plan.plan import Plan
from bitspike.neurons.static import STATIC
from bitspike.products import Kind

RUNS = ("forward", "run", "run_between")
CHAINS = (nn.Sequential.forward, Fused.forward)
FUNCTIONS: dict[Any, str] = {
    **{function: name for name, function in STATIC.items()},
    **{getattr(Tensor, name): name for name in ("relu", "tanh", "sigmoid")},
    torch.nn.functional.relu: "relu",
    torch.nn.functional.tanh: "tanh",
    torch.nn.functional.sigmoid: "sigmoid",
}
SUMS = (operator.add, operator.iadd, torch.add, Tensor.add)
CONCATENATIONS = (torch.cat, torch.concat)

Planner = Callable[["Builder", Any, str, str], str | Node]
PLANNERS: dict[type[nn.Module], Planner] = {}
Found = TypeVar("Found", bound=Planner)


def planner(*classes: type[nn.Module]) -> Callable[[Found], Found]:
    """Let `f(builder, module, name, source)` plan modules of exactly these classes.

    It gives the name of its last node, or a node that is then called `name` and reads `source`.
    """

    def register(f: Found) -> Found:
        PLANNERS.update(dict.fromkeys(classes, f))
        return f

    return register


def plan_of(
    network: nn.Module,
    shape: tuple[int, ...],
    *,
    x_kind: Kind = "real",
    source: Input | None = None,
    decoder: Decode | None = None,
    member: str = "",
) -> Plan:
    """The plan of a network that maps (T, B, *shape) to (T, B, *outputs), as it computes in evaluation.

    Weights are those it would use now: of Bayesian ones the draw, or the most probable (`weights.use_map`), which
    `member` names. x_kind: what comes in is made of. source, decoder: nodes for the two ends. The plan shares no
    memory with the network. Raises BitspikeError that says which part has no plan and why.
    """
    tensors = chain(network.parameters(), network.buffers())
    dtype = next((t.dtype for t in tensors if t.is_floating_point()), torch.get_default_dtype())
    if dtype not in WIDE:
        # Neurons and cells compute those in float32; nodes have one dtype.
        refuse("plan of network", f"weights in {dtype}", "float32 or float64: network.float()")
    first = source or Input(name="input", inputs=(), shape=tuple(shape), emits=x_kind)
    with evaluating(network), torch.no_grad():
        builder = Builder(replace(first, dtype=dtype))
        last = builder.module(network, "", first.name)
        if decoder is not None:
            builder.add(replace(decoder, inputs=(last,)))
    return Plan(tuple(builder.nodes), member)


class Builder:
    """Nodes so far, each with what it gives for one example and one step of zeros, which tells the shapes."""

    def __init__(self, first: Input) -> None:
        self.nodes: list[Node] = [first]
        self.samples = {first.name: torch.zeros(1, 1, *first.shape, dtype=first.dtype)}
        self.rows = False
        """Whether a module is called at every step by itself, on rows (N, *features); see `layers.stepwise`."""

    def add(self, node: Node) -> str:
        """Append a node under a name that is free; returns the name."""
        name, number = node.name or "network", 1
        while name in self.samples:
            number += 1
            name = f"{node.name or 'network'}_{number}"
        try:
            y, _ = node.run(node.initial(1), *(self.samples[source] for source in node.inputs))
        except (RuntimeError, IndexError, ValueError) as error:
            shapes = ", ".join(str(tuple(self.samples[source].shape[2:])) for source in node.inputs)
            self.refuse(name, f"{node.kind} on inputs of shape {shapes} ({one_line(str(error).splitlines()[0])})")
        self.samples[name] = y
        self.nodes.append(replace(node, name=name, shape=tuple(y.shape[2:])))
        return name

    def like(self, source: str) -> Tensor:
        """One example and step (1, *features) of a node's outputs, for `initial` of a neuron."""
        return self.samples[source][0]

    def emits(self, source: str) -> Kind:
        """What a node's outputs are made of."""
        return next(node.emits for node in self.nodes if node.name == source)

    def refuse(self, name: str, why: str) -> Any:
        """No plan for this part."""
        refuse(f"plan of {name or 'network'}", why, "parts that have a plan (see bitspike.models.plan)")

    def check_time(self, layer: nn.Module, name: str) -> None:
        """No plan for what has a state, where rows are steps and examples at once."""
        if self.rows:
            self.refuse(name, f"{type(layer).__name__} inside Stepwise, where there is no time")

    def module(self, module: nn.Module, name: str, source: str) -> str:
        """The nodes of a module that reads `source`; returns the name of the last."""
        if not plain(module):
            self.refuse(name, f"{type(module).__name__} with a forward or a hook of its own")
        if isinstance(module, nn.Sequential) and type(module).forward in CHAINS:
            for child_name, child in called(module):
                source = self.module(child, f"{name}.{child_name}" if name else child_name, source)
            return source
        # A parametrized layer has a class of its own; so has a neuron of somebody's, with another step.
        base = next((c for c in type(module).__mro__ if c in PLANNERS), None)
        if base is not None:
            if any(getattr(type(module), method, 0) is not getattr(base, method, 0) for method in RUNS):
                self.refuse(name, f"{type(module).__name__}, a {base.__name__} with a way of its own to run")
            found = PLANNERS[base](self, module, name, source)
            return found if isinstance(found, str) else self.add(replace(found, name=name, inputs=(source,)))
        if type(module).__module__.startswith(("torch.", "bitspike.")) and not isinstance(module, fx.GraphModule):
            self.refuse(name, getattr(module, "no_plan", type(module).__name__))
        return self._calls(module, name, source)

    def _calls(self, module: nn.Module, name: str, source: str) -> str:
        """A module of somebody's own: its forward pass, call by call."""
        try:
            graph = _Tracer().trace(module)
            without_changes(module, graph)
        except Exception as error:
            # A tracer fails in as many ways as there are modules.
            self.refuse(name, f"{type(module).__name__}, whose forward cannot be followed ({one_line(str(error))})")
        found: dict[fx.Node, str] = {}
        for node in graph.nodes:
            if node.op == "placeholder":
                if found and not node.args:
                    self.refuse(name, f"{type(module).__name__} with several inputs")
                if not found:
                    found[node] = source
            elif node.op == "output":
                if not isinstance(node.args[0], fx.Node):
                    self.refuse(name, f"{type(module).__name__}, which returns a {type(node.args[0]).__name__}")
                return found[node.args[0]]
            elif node.op == "call_module":
                path = f"{name}.{node.target}" if name else str(node.target)
                if len(node.args) != 1 or node.kwargs:
                    self.refuse(path, "a call with more than one argument")
                found[node] = self.module(module.get_submodule(str(node.target)), path, found[_only(node.args[0])])
            else:
                found[node] = self._call(node, found, name)
        raise AssertionError("a graph ends with its output")

    def _call(self, node: fx.Node, found: dict[fx.Node, str], name: str) -> str:
        """A function or method of tensors: a sum, a concatenation, a flattening or a known nonlinearity."""
        target: Any = getattr(Tensor, str(node.target), None) if node.op == "call_method" else node.target
        path = f"{name}.{node.name}" if name else node.name
        inputs = tuple(found[each] for each in node.all_input_nodes if each in found)
        rest = [a for a in (*node.args, *node.kwargs.values()) if not isinstance(a, fx.Node)]
        if target in SUMS and len(inputs) == len(node.args) == 2 and not node.kwargs:
            return self.add(Join(name=path, inputs=inputs))
        if target in CONCATENATIONS and len(node.args) + len(node.kwargs) == 2 and isinstance(rest[-1], int):
            # One that comes twice is joined twice.
            joined: Any = node.args[0] if node.args else node.kwargs.get("tensors", ())
            inputs = tuple(found[each] for each in joined if isinstance(each, fx.Node)) or inputs
            dim = rest[-1] + (self.samples[inputs[0]].ndim if rest[-1] < 0 else self.rows)
            if dim >= 2:
                return self.add(Join(name=path, inputs=inputs, dim=dim))
        # From the features on; one that ends somewhere joins other dimensions.
        flat = target in (torch.flatten, Tensor.flatten) and "end_dim" not in node.kwargs
        if flat and rest == [1 if self.rows else 2]:
            return self.add(Flatten(name=path, inputs=inputs, emits=self.emits(inputs[0])))
        if target in FUNCTIONS and not [a for a in rest if a is not False]:
            label = FUNCTIONS[target]
            return self.add(Activity(name=path, inputs=inputs, function=STATIC[label], label=label))
        word = getattr(target, "__name__", str(node.target))
        return str(self.refuse(path, f"{node.op.removeprefix('call_').replace('_', ' ')} {word}"))


def _only(value: Any) -> fx.Node:
    if not isinstance(value, fx.Node):
        raise BitspikeError(f"plan: a module called on a {type(value).__name__}")
    return value


class _Tracer(Tracer):
    """Every module is a leaf: `Builder.module` looks into it."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return True
