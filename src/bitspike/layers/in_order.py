"""A recurrence over time on values as they lie in memory: an image that keeps its channels last is not copied."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from bitspike.neurons.base import Neuron


def run_in_order(
    neuron: Neuron, x: Tensor, state: Any = None, scale: tuple[Tensor, Tensor] | None = None
) -> tuple[Tensor, Any]:
    """As `neuron.run_between(x, state, scale)`, scale being two numbers; x (T, B, *features)."""
    strides = x.stride()
    features = sorted(range(2, x.ndim), key=lambda d: (-strides[d], d))
    if features == list(range(2, x.ndim)):
        return neuron.run_between(x, state, scale)
    there = (0, 1, *features)
    back = sorted(range(x.ndim), key=there.__getitem__)

    def placed(parts: Any, order: tuple[int, ...] | list[int]) -> Any:
        # One time step has no time: every dimension is one lower.
        return type(parts)(*(part.permute([d - 1 for d in order[1:]]) for part in parts))

    y, state = neuron.run_between(x.permute(there), None if state is None else placed(state, there), scale)
    return y.permute(back), placed(state, back)
