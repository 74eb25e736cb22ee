"""What a loop or function of our own has to know of autograd and torch.func before it runs.

Inside `torch.func.vmap` a tensor does not say whether a level outside wants its gradient, so it is taken to: were it
believed, `grad(vmap(f))` would be zero without a word. torch.compile cannot trace an autograd function where no
gradient is recorded; there the plain function runs.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar, cast

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.autograd.function import once_differentiable

from bitspike.errors import refuse

P = ParamSpec("P")
R = TypeVar("R")


def wants_gradient(tensor: Tensor) -> bool:
    """Whether a gradient of this tensor may be asked for, here or in a transform around.

    In forward mode it is: what has no forward derivative says so there, where a plain function would give 0.
    """
    if not torch.compiler.is_compiling() and forward_ad._current_level >= 0:
        return tensor.is_floating_point()
    if not torch.is_grad_enabled():
        return False
    return tensor.requires_grad or bool(torch._C._functorch.is_batchedtensor(tensor))


def once(backward: Callable[P, R]) -> Callable[P, R]:
    """A `backward` that is differentiated no further; a second derivative is refused, not taken for 0.

    torch's own `once_differentiable` notices only where the gradient that comes in depends on something, and not inside
    torch.func.
    """
    alone: Any = once_differentiable(cast(Any, backward))

    @wraps(backward)
    def call(*arguments: P.args, **options: P.kwargs) -> R:
        if _twice():
            wanted = "one derivative, or back_end = 'reference' (policy = 'float32' of products)"
            refuse("gradient", "a derivative of a gradient (create_graph, or torch.func.grad inside another)", wanted)
        return cast(R, alone(*arguments, **options))

    return call


def _twice() -> bool:
    """Whether the gradient that is being computed may be differentiated."""
    if torch.compiler.is_compiling():
        return False
    if torch._C._functorch.peek_interpreter_stack() is None:
        return torch.is_grad_enabled()  # in a backward pass: create_graph
    stack = torch._C._functorch.get_interpreter_stack() or []
    return sum(level.key() == torch._C._functorch.TransformType.Grad for level in stack) > 1


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
