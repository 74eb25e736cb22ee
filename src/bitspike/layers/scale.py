"""One learnable scale and offset per channel: y = g x + b."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class ChannelScale(nn.Module):
    """y = g x + b along dimension 2 of (T, B, C, *); g starts at `start`, b at 0."""

    def __init__(self, channels: int, start: float = 1.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((channels,), float(start)))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Same shape as x."""
        shape = (-1, *(1,) * (x.ndim - 3))
        return x * self.weight.view(shape) + self.bias.view(shape)
