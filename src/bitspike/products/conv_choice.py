"""Which method a convolution takes, and its measurement (see `choice`); and, asked the same way, a linear product."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F

from bitspike.products import conv_methods, measure
from bitspike.products import problem as problems
from bitspike.products.choice import Plan, decide
from bitspike.products.conv_methods import Geometry
from bitspike.products.kinds import Part, few_bit, fits_float32
from bitspike.products.operands import to_int8
from bitspike.products.problem import DENSITIES, WORK, Problem
from bitspike.products.processor import capabilities
from bitspike.products.table import Seconds


class ConvProblem(NamedTuple):
    """One convolution: its part, kinds, policy, shapes and geometry."""

    part: Part
    x_kind: str
    weight_kind: str
    policy: str
    x_shape: tuple[int, ...]
    w_shape: tuple[int, ...]
    geometry: Geometry

    @property
    def work(self) -> int:
        """Multiplications of the plain convolution."""
        return self.x_shape[0] * math.prod(self.geometry.sizes(self.x_shape, self.w_shape)) * math.prod(self.w_shape)

    def measured_batch(self) -> int:
        """A power of two next to the batch; less where the convolution would take too long."""
        near: int = 2 ** round(math.log2(max(self.x_shape[0], 1)))
        return max(1, min(near, WORK * self.x_shape[0] // max(self.work, 1)))

    @property
    def name(self) -> str:
        """The class of this problem."""
        (s0, s1), (p0, p1), (d0, d1), groups = self.geometry
        x = "x".join(map(str, (self.measured_batch(), *self.x_shape[1:])))
        w = "x".join(map(str, self.w_shape))
        return f"conv-{self.part}-{self.x_kind}-{self.weight_kind}-{x}-{w}-s{s0}.{s1}p{p0}.{p1}d{d0}.{d1}g{groups}"


def problem_of(
    part: Part, x_kind: str, weight_kind: str, policy: str, x_shape: Sequence[int], w_shape: Sequence[int],
    form: list[int],
) -> Problem | ConvProblem:  # fmt: skip
    """A product to be made: a convolution where there is a form, else a linear one."""
    if form:
        shapes = (tuple(x_shape), tuple(w_shape))
        return ConvProblem(part, x_kind, weight_kind, policy, *shapes, conv_methods.geometry_of(form))
    return Problem(part, x_kind, weight_kind, policy, math.prod(x_shape[:-1]), w_shape[1], w_shape[0])


def allowed(problem: ConvProblem) -> tuple[str, ...]:
    """The methods that this convolution may take besides float32, on this processor."""
    can = capabilities()
    part, x_kind, weight_kind, policy, _, w_shape, geometry = problem
    methods: list[str] = []
    if policy == "float32" or problem.work < problems.SMALL:
        return ()
    both = few_bit(x_kind) and few_bit(weight_kind)
    exact = both and fits_float32(x_kind, weight_kind, math.prod(w_shape[1:]))
    if part == "forward" and exact and can.integers and conv_methods.int8_available():
        methods.append("int8")
    sums = (part == "forward" and (exact or weight_kind == "real")) or part == "grad_weight"
    if sums and x_kind == "spikes" and can.compiled and geometry.plain(w_shape):
        methods.append("sparse")
    few = weight_kind if part == "grad_input" else x_kind
    if part != "forward" and policy == "fast" and can.bfloat16 and few_bit(few) and few != "integers":
        methods.append("bfloat16")
    return tuple(methods)


def plan(problem: Problem | ConvProblem) -> Plan:
    """The method for this product, from the table (measured now if it is not there)."""
    if isinstance(problem, Problem):
        return decide(problem, problems.allowed(problem), lambda: measure.linear(problem))
    return decide(problem, allowed(problem), lambda: times(problem))


@torch.no_grad()
def times(problem: ConvProblem) -> Seconds:
    """Times of float32 and of whatever could be allowed for this class under any policy."""
    geometry, part = problem.geometry, problem.part
    able = allowed(problem._replace(policy="fast"))
    shape = (problem.measured_batch(), *problem.x_shape[1:])
    x, w = measure.operand(problem.x_kind, shape), measure.operand(problem.weight_kind, problem.w_shape)
    g = measure.operand("real", (shape[0], w.shape[0], *geometry.sizes(shape, w.shape)))
    stride, padding, dilation, groups = geometry
    wanted = (part == "grad_input", part == "grad_weight")
    calls: dict[str, Callable[[], object]] = {}
    if part == "forward":
        calls["float32"] = lambda: F.conv2d(x, w, None, stride, padding, dilation, groups)
        if "int8" in able:
            calls["int8"] = lambda: conv_methods.int8_forward(
                eight("x", x, problem.x_kind)[0], eight("weight", w, problem.weight_kind)[0], problem.x_kind, geometry
            )
    else:
        calls["float32"] = lambda: conv_methods.torch_grads(g, x, w, geometry, wanted)
        if "bfloat16" in able:
            calls["bfloat16"] = lambda: half(g, x, w, geometry, wanted)

    def sparse(spikes: torch.Tensor) -> Callable[[], object]:
        if part == "forward":
            return lambda: conv_methods.sparse_forward(eight("x", spikes, "spikes")[0], w, geometry)
        x8 = eight("x", spikes, "spikes")[0]
        return lambda: conv_methods.sparse_grad_weight(g, x8, w.shape, geometry)

    if "sparse" in able:
        calls |= {f"sparse {share}": sparse(measure.operand("spikes", shape, share)) for share in DENSITIES}
    return measure.in_turn(calls)


def eight(field: str, a: torch.Tensor, kind: str) -> tuple[torch.Tensor, int]:
    """`a`, of any shape, as int8, and its non-zeros; see `operands.to_int8`."""
    out, ones = to_int8(field, a.reshape(a.shape[0], -1), kind)
    return out.view(a.shape), ones


def half(
    g: torch.Tensor, x: torch.Tensor, weight: torch.Tensor, geometry: Geometry, wanted: tuple[bool, bool]
) -> tuple[torch.Tensor | None, torch.Tensor | None]:
    """The gradients in bfloat16 arithmetic, as float32."""
    gx, gw = conv_methods.torch_grads(g.bfloat16(), x.bfloat16(), weight.bfloat16(), geometry, wanted)
    return None if gx is None else gx.float(), None if gw is None else gw.float()
