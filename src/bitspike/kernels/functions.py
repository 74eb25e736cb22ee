"""Named functions a neuron's step or a surrogate may use besides arithmetic and comparison.

Each runs on tensors (element by element) and on SymPy expressions, so that one definition of an
equation serves both the computation and whatever is generated from it.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

Value = Any  # a Tensor, a number or a SymPy expression


def exp(x: Value) -> Value:
    """exp(x)."""
    if isinstance(x, Tensor):
        return x.exp()
    return _sympy().exp(x)


def absolute(x: Value) -> Value:
    """|x|."""
    return x.abs() if isinstance(x, Tensor) else _sympy().Abs(x)


def maximum(x: Value, floor: float) -> Value:
    """max(x, floor) for a constant floor."""
    return x.clamp_min(floor) if isinstance(x, Tensor) else _sympy().Max(x, floor)


def indicator(condition: Value) -> Value:
    """1 where the comparison holds, else 0; a float32 tensor for a boolean one (it promotes to the operand)."""
    if isinstance(condition, Tensor):
        return condition.to(torch.float32)
    sympy = _sympy()
    return sympy.Piecewise((1, condition), (0, True))


def stop(x: Value) -> Value:
    """x, with no gradient through it (SymPy: the unevaluated function `stop`)."""
    return x.detach() if isinstance(x, Tensor) else _sympy().Function("stop")(x)


def _sympy() -> Any:
    import sympy

    return sympy
