"""What a loop or function of our own has to know of autograd and torch.func before it runs.

Inside `torch.func.vmap` a tensor does not say whether a level outside wants its gradient, so it is taken to: were it
believed, `grad(vmap(f))` would be zero without a word. torch.compile cannot trace an autograd function where no
gradient is recorded; there the plain function runs.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

import torch
from torch import Tensor

P = ParamSpec("P")
R = TypeVar("R")


def wants_gradient(tensor: Tensor) -> bool:
    """Whether a gradient of this tensor may be asked for, here or in a transform around."""
    if not torch.is_grad_enabled():
        return False
    return tensor.requires_grad or bool(torch._C._functorch.is_batchedtensor(tensor))


def constant_in_graphs(function: Callable[P, R]) -> Callable[P, R]:
    """`torch.compiler.assume_constant_result` without importing the compiler, which takes seconds."""
    function._dynamo_marked_constant = True  # type: ignore[attr-defined]
    return function


def outside_graphs(function: Callable[P, R]) -> Callable[P, R]:
    """A function that torch.compile breaks its graph for and does not look into; as above."""

    @wraps(function)
    def call(*arguments: P.args, **options: P.kwargs) -> R:
        if torch.compiler.is_compiling():
            apart: Callable[P, R] = torch.compiler.disable(function)
            return apart(*arguments, **options)
        return function(*arguments, **options)

    return call


def transformed() -> bool:
    """Whether a torch.func transform is running."""
    return not torch.compiler.is_compiling() and torch._C._functorch.peek_interpreter_stack() is not None
