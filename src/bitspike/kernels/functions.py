"""Named functions a neuron's step or a surrogate may use besides arithmetic and comparison.

Each runs on tensors (element by element), on the nodes of a trace (`kernels.trace`) and on SymPy expressions, so
that one definition of an equation serves the computation, what is generated from it and the formula in print.

| function                        | value               | derivative                                     |
| ------------------------------- | ------------------- | ---------------------------------------------- |
| exp, expm1, log1p, absolute     | as named            | the ordinary one (absolute: 0 at 0)            |
| maximum(x, c), minimum(x, c)    | max, min            | 1 for x where x >= c (x <= c), else 1 for c    |
| floor, indicator(condition)     | as named; 1 or 0    | 0                                              |
| choose(condition, a, b)         | a where it holds    | that of the branch taken                       |
| stop(x)                         | x                   | 0                                              |
| threshold(u, h, strict)         | 1[u >= 0] or [u > 0] | h(u): a surrogate                             |
| with_gradient(value, of)        | value               | that of `of`, instead of the value's own       |
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from bitspike.kernels.trace import Node
from bitspike.kernels.transforms import wants_gradient

Value = Any  # a Tensor, a Node, a number or a SymPy expression


def exp(x: Value) -> Value:
    """exp(x)."""
    return x.exp() if isinstance(x, Tensor) else _symbolic("exp", x)


def expm1(x: Value) -> Value:
    """exp(x) - 1, accurate near 0."""
    return x.expm1() if isinstance(x, Tensor) else _symbolic("expm1", x)


def log1p(x: Value) -> Value:
    """log(1 + x), accurate near 0."""
    return x.log1p() if isinstance(x, Tensor) else _symbolic("log1p", x)


def absolute(x: Value) -> Value:
    """|x|."""
    return x.abs() if isinstance(x, Tensor) else _symbolic("abs", x)


def maximum(x: Value, bound: Value) -> Value:
    """max(x, bound); the bound is a number or one of the step's constants."""
    return x.clamp_min(bound) if isinstance(x, Tensor) else _symbolic("max", x, bound)


def minimum(x: Value, bound: Value) -> Value:
    """min(x, bound); the bound is a number or one of the step's constants."""
    return x.clamp_max(bound) if isinstance(x, Tensor) else _symbolic("min", x, bound)


def floor(x: Value) -> Value:
    """The largest integer not above x; no gradient."""
    return x.floor() if isinstance(x, Tensor) else _symbolic("floor", x)


def indicator(condition: Value, like: Value = None) -> Value:
    """1 where the comparison holds, else 0; a tensor in the dtype of `like` (float32 without it)."""
    if isinstance(condition, Tensor):
        return condition.to(like.dtype if isinstance(like, Tensor) else torch.float32)
    return _symbolic("indicator", condition)


def choose(condition: Value, a: Value, b: Value) -> Value:
    """a where the comparison holds, else b."""
    return torch.where(condition, a, b) if isinstance(condition, Tensor) else _symbolic("where", condition, a, b)


def stop(x: Value) -> Value:
    """x, with no gradient through it."""
    return x.detach() if isinstance(x, Tensor) else _symbolic("stop", x)


def setting(name: str, value: float, like: Value) -> Value:
    """A number chosen before a step runs; on a trace, one of the step's constants (`like`: a value of the step)."""
    return like.graph.setting(name, value) if isinstance(like, Node) else value


def _fires(u: Tensor, strict: bool) -> Tensor:
    return (u > 0 if strict else u >= 0).to(u.dtype)


class _Threshold(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(u: Tensor, derivative: Callable[[Any], Any], strict: bool) -> Tensor:
        return _fires(u, strict)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        u, ctx.derivative, _ = inputs
        ctx.save_for_backward(u)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[Tensor, None, None]:
        (u,) = ctx.saved_tensors
        return grads[0] * ctx.derivative(u).to(u.dtype), None, None


_threshold: Callable[..., Tensor] = _Threshold.apply


def threshold(u: Value, derivative: Callable[[Any], Any], strict: bool = False) -> Value:
    """1 where u >= 0 (strict: u > 0), else 0; backward multiplies with derivative(u)."""
    if isinstance(u, Tensor):
        return _threshold(u, derivative, strict) if wants_gradient(u) else _fires(u, strict)
    if isinstance(u, Node):
        return u.graph.add("override", u.graph.add("indicator", u > 0 if strict else u >= 0), u, derivative(u))
    import sympy

    return sympy.Function("spike")(u)


class _WithGradient(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(value: Tensor, of: Tensor) -> Tensor:
        return value.view_as(value)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[None, Tensor]:
        return None, grads[0]


_with_gradient: Callable[..., Tensor] = _WithGradient.apply


def with_gradient(value: Value, of: Value) -> Value:
    """`value` forward, the gradient of `of` backward (straight-through)."""
    if isinstance(value, Tensor):
        return _with_gradient(value, of) if wants_gradient(of) else value.detach()
    if isinstance(value, Node):
        return value.graph.add("override", value, of, value.graph.constant(1.0))
    return value


def no_spike(u: Value) -> Value:
    """The spike function of a step that has no threshold, which does not call it."""
    return u


def _symbolic(name: str, *args: Value) -> Value:
    for arg in args:
        if isinstance(arg, Node):
            return arg.graph.add(name, *args)
    import sympy

    return {
        "exp": sympy.exp,
        "expm1": lambda x: sympy.exp(x) - 1,
        "log1p": lambda x: sympy.log(1 + x),
        "abs": sympy.Abs,
        "max": sympy.Max,
        "min": sympy.Min,
        "floor": sympy.floor,
        "indicator": lambda c: sympy.Piecewise((1, c), (0, True)),
        "where": lambda c, a, b: sympy.Piecewise((a, c), (b, True)),
        "stop": sympy.Function("stop"),
    }[name](*args)
