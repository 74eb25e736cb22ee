"""A traced step and its adjoint evaluated node by node with torch: the judge of every generated kernel.

Nothing is compiled and nothing is written as source: values come from the nodes themselves. What the forward pass
computes is computed in the dtype of the run, so that spikes and comparisons are the run's own; everything else (the
gradients, the surrogates' derivatives) in float64.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from bitspike.kernels.adjoint import Adjoint
from bitspike.kernels.cpu.source import stored
from bitspike.kernels.trace import Node, Trace, needed

OPERATIONS = {
    "add": torch.add, "sub": torch.sub, "mul": torch.mul, "div": torch.div, "neg": torch.neg, "abs": torch.abs,
    "ge": torch.ge, "gt": torch.gt, "le": torch.le, "lt": torch.lt, "exp": torch.exp, "expm1": torch.expm1,
    "log1p": torch.log1p, "floor": torch.floor, "where": torch.where, "stop": torch.clone, "override": torch.clone,
    "max": lambda a, b: torch.where(a < b, b, a),
    "min": lambda a, b: torch.where(a > b, b, a),
}  # fmt: skip


class Evaluation:
    """Values of nodes, from those of the leaves; `exact` nodes are computed in `dtype`, the others in float64."""

    def __init__(self, known: dict[Node, Tensor], exact: set[Node], dtype: torch.dtype) -> None:
        self.known, self.exact, self.dtype = dict(known), exact, dtype

    def __call__(self, node: Node) -> Tensor:
        if node not in self.known:
            self.known[node] = self._compute(node)
        return self.known[node]

    def _compute(self, node: Node) -> Tensor:
        if node.is_number:
            return torch.tensor(float(node.value or 0.0), dtype=self.dtype)
        wanted = self.dtype if node in self.exact else torch.float64
        args = [self(a) for a in (node.args[:1] if node.op == "override" else node.args)]
        if node.op == "indicator":
            return args[0].to(wanted)
        return OPERATIONS[node.op](*(a if a.dtype == torch.bool else a.to(wanted) for a in args))


def _constants(trace: Trace, constants: Sequence[Tensor], dtype: torch.dtype) -> dict[Node, Tensor]:
    settings = [torch.tensor(number, dtype=torch.float64) for number in trace.settings]
    return {
        leaf: c.detach().to(dtype) for leaf, c in zip(trace.constants.values(), [*constants, *settings], strict=True)
    }


def _exact(trace: Trace) -> set[Node]:
    return set(needed([trace.output, *trace.new_state.values()]))


def forward(
    trace: Trace, kept: tuple[Node, ...], x: Tensor, state: Sequence[Tensor], constants: Sequence[Tensor]
) -> tuple[Tensor, list[Tensor], list[Tensor]]:
    """As `cpu.forward`: output, state after the last step and the values kept."""
    fixed, outputs, keep = _constants(trace, constants, x.dtype), [], [[] for _ in stored(trace, kept)]
    for x_t in x:
        known = fixed | {trace.input: x_t} | dict(zip(trace.state.values(), state, strict=True))
        values = Evaluation(known, _exact(trace), x.dtype)
        outputs.append(values(trace.output).expand(x_t.shape))
        for rows, node in zip(keep, stored(trace, kept), strict=True):
            rows.append(values(node).expand(x_t.shape))
        state = [values(node).expand(x_t.shape) for node in trace.new_state.values()]
    return torch.stack(outputs), list(state), [torch.stack(rows) for rows in keep]


def backward(
    found: Adjoint, gy: Tensor, carries: dict[str, Tensor], x: Tensor, y: Tensor, keep: Sequence[Tensor],
    state: Sequence[Tensor], constants: Sequence[Tensor],
) -> tuple[Tensor, dict[str, Tensor], dict[str, Tensor]]:  # fmt: skip
    """Gradients of input, initial state and constants (not summed), in float64, along the values a run kept.

    carries: gradients of the final states by name.
    """
    trace, dtype, exact = found.trace, x.dtype, _exact(found.trace)
    fixed, initial = _constants(trace, constants, dtype), dict(zip(trace.state, state, strict=True))

    def at(t: int) -> dict[Node, Tensor]:
        loaded = {node: rows[t] for node, rows in zip(stored(trace, found.kept), keep, strict=True)}
        loaded |= {trace.input: x[t]} if trace.input in found.kept else {}
        return fixed | loaded | ({trace.output: y[t]} if trace.output in found.kept else {})

    running = {name: carries[name].double() for name in found.carries}
    gx = torch.zeros(x.shape, dtype=torch.float64)
    shares = {name: torch.zeros(x.shape[1:], dtype=torch.float64) for name in found.constants}
    for t in range(len(x) - 1, -1, -1):
        known = at(t)
        before = Evaluation(at(t - 1), exact, dtype) if t else None
        for name in found.previous:
            known[trace.state[name]] = before(trace.new_state[name]) if before else initial[name]
        known |= {found.gradient: gy[t].double()} | {found.carries[name]: g for name, g in running.items()}
        values = Evaluation(known, exact, dtype)
        if found.input is not None:
            gx[t] = values(found.input)
        for name, node in found.constants.items():
            shares[name] += values(node)
        zero = torch.zeros_like(gx[t])
        running = {name: values(found.state[name]) if name in found.state else zero for name in found.carries}
    return gx, running, shares
