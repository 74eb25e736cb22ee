"""Dropout with named draws: in training a share p of the units is 0 and the rest 1 / (1 - p) times as large.

In evaluation, and in a spiking run, nothing is done: dividing by 1 - p in training stands for multiplying by it later.
A unit that is dropped is dropped at every time step.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bitspike.draws import Key
from bitspike.errors import refuse
from bitspike.kernels.dtypes import computing, given_back
from bitspike.neurons.stochastic import Stochastic


class Dropout(Stochastic, nn.Module):
    """x (T, B, *features); p: the share dropped. keys: names the draws until `redraw_units` does."""

    def __init__(self, p: float = 0.5, keys: tuple[Key, ...] = (0, "dropout")) -> None:
        super().__init__()
        if not 0 <= p < 1:
            refuse("dropout p", p, "a share from 0 to below 1")
        self.p, self.keys = float(p), keys

    def forward(self, x: Tensor) -> Tensor:
        """Same shape as x."""
        if not self.training or self.p == 0:
            return x if x.is_floating_point() else computing(x)
        source, given, x = self.next_draw(x.device), x.dtype, computing(x)
        kept = torch.rand(x.shape[1:], generator=source, device=x.device, dtype=x.dtype) >= self.p
        return given_back(x * (kept / (1 - self.p)).to(x.dtype), given)

    def extra_repr(self) -> str:
        """The share."""
        return f"p={self.p:g}"
