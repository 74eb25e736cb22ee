"""One learnable scale and offset per channel: y = g x + b.

Written as a step without state, so that the engine makes it one pass over memory forward and one backward.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from bitspike.errors import refuse
from bitspike.kernels import Spike, no_spike
from bitspike.kernels.dtypes import computing, given_back
from bitspike.kernels.run import Chooser, run_on


class NoState(NamedTuple):
    """Nothing is carried from step to step."""


class Scale(NamedTuple):
    """g: gain; b: offset."""

    g: Any
    b: Any


def scale_step(x: Any, state: NoState, p: Scale, spike: Spike) -> tuple[Any, NoState]:
    """y = x g + b."""
    return x * p.g + p.b, state


def without_norm() -> None:
    """No norm: the weight layer has biases."""
    return


class ChannelScale(nn.Module):
    """y = g x + b along dimension 2 of (T, B, C, *); g starts at `start`, b at 0."""

    def __init__(self, channels: int, start: float = 1.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((channels,), float(start)))
        self.bias = nn.Parameter(torch.zeros(channels))
        self._chooser = Chooser()

    def gains(self, ndim: int) -> Scale:
        """Gain and offset as they broadcast to an input of `ndim` dimensions."""
        shape = (-1, *(1,) * (ndim - 3))
        return Scale(self.weight.view(shape), self.bias.view(shape))

    def forward(self, x: Tensor) -> Tensor:
        """Same shape as x; an input that does not change over time (stride 0) stays so."""
        if x.ndim < 3 or x.shape[2] != len(self.weight):
            refuse("channel scale input", tuple(x.shape), f"(T, B, {len(self.weight)}, *)")
        constant = x.shape[0] > 1 and x.stride(0) == 0
        part = computing(x[:1] if constant else x)
        recurrence, choice = self._chooser(scale_step, NoState, Scale, no_spike, part, "auto")
        y, _ = run_on(choice, recurrence, part, NoState(), self.gains(x.ndim))
        y = given_back(y, x.dtype)
        return y.expand(x.shape) if constant else y
