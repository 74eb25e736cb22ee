"""A recurrence over time on values as they lie in memory: an image that keeps its channels last is not copied."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from bitspike.neurons.base import Neuron


def dim_order(x: Tensor) -> list[int]:
    """The dimensions of x (T, B, *features) with the features as they lie in memory."""
    strides = x.stride()
    return [0, 1, *sorted(range(2, x.ndim), key=lambda d: (-strides[d], d))]


def inverse(order: Sequence[int]) -> list[int]:
    """What brings dimensions in this order back."""
    return sorted(range(len(order)), key=order.__getitem__)


def to_memory_format(parts: Any, order: Sequence[int]) -> Any:
    """A state's parts (B, *features) in the memory order of x, contiguous; not a copy where they are already."""
    # One time step has no time: every dimension is one lower.
    return type(parts)(*(part.permute([d - 1 for d in order[1:]]).contiguous() for part in parts))


def from_memory_format(parts: Any, order: Sequence[int]) -> Any:
    """The inverse of `to_memory_format`, which copies nothing."""
    back = [d - 1 for d in inverse(order)[1:]]
    return type(parts)(*(part.permute(back) for part in parts))


def run_in_memory_format(
    neuron: Neuron, x: Tensor, state: Any = None, scale: tuple[Tensor, Tensor] | None = None
) -> tuple[Tensor, Any]:
    """As `neuron.run_between(x, state, scale)`, scale being two numbers; x (T, B, *features)."""
    order = dim_order(x)
    if order == list(range(x.ndim)):
        return neuron.run_between(x, state, scale)
    y, state = neuron.run_between(x.permute(order), None if state is None else to_memory_format(state, order), scale)
    return y.permute(inverse(order)), from_memory_format(state, order)
