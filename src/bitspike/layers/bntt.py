"""Batch normalisation through time (BNTT): statistics and gain of their own at every time step.

    y_t = g_t (x_t - mean_t) / sqrt(var_t + eps)          per channel; mean_t and var_t over (B, *space)

There is no offset: the threshold stays where it is. Source: Kim & Panda 2020; as used by FedSNN (eps 1e-4,
momentum 0.1). All steps are one call: steps and channels together are the channels of one batch normalisation.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from bitspike.errors import refuse
from bitspike.layers.norm import batch_norm, several_processes


class BNTT(nn.Module):
    """Normalise (T, B, C, *space) by statistics of each step; T is fixed by `steps`, fewer steps may be given."""

    weighted: ClassVar[bool] = False
    running_mean: Tensor
    running_var: Tensor

    def __init__(self, channels: int, steps: int, eps: float = 1e-4, momentum: float = 0.1) -> None:
        super().__init__()
        if steps < 1:
            refuse("BNTT steps", steps, "1 or more")
        self.steps, self.eps, self.momentum = steps, eps, momentum
        self.weight = nn.Parameter(torch.ones(steps, channels))
        self.register_buffer("running_mean", torch.zeros(steps, channels))
        self.register_buffer("running_var", torch.ones(steps, channels))

    def forward(self, x: Tensor) -> Tensor:
        """Same shape as x (T, B, C, *space)."""
        steps, channels = x.shape[0], self.weight.shape[1]
        if x.ndim < 3 or not 1 <= steps <= self.steps or x.shape[2] != channels:
            refuse("BNTT input", tuple(x.shape), f"(T, B, {channels}, *) with 1 to {self.steps} steps")
        if self.training and several_processes():
            refuse("BNTT", "several processes", "one process (its statistics are not synchronised)")
        # (B, T*C, *space); statistics are views of the buffers, so F.batch_norm updates them in place.
        together = x.transpose(0, 1).flatten(1, 2)
        mean, var = self.running_mean[:steps].view(-1), self.running_var[:steps].view(-1)
        weight = self.weight[:steps].reshape(-1)
        y = batch_norm(together, mean, var, weight, None, self.training, self.momentum, self.eps)
        apart: Tensor = y.unflatten(1, (steps, channels)).transpose(0, 1)
        return apart
