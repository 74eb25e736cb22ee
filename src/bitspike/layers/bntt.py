"""Batch normalisation through time (BNTT): statistics and gain of their own at every time step.

    y_t = g_t (x_t - mean_t) / sqrt(var_t + eps)          per channel; mean_t and var_t over (B, *space)

There is no offset: the threshold stays where it is. Source: Kim & Panda 2020; as used by FedSNN (eps 1e-4,
momentum 0.1). Steps are normalised one by one where they lie: joined to channels of one call, they would have to be
moved there and back.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from bitspike.errors import refuse
from bitspike.layers.ends import lengths_for
from bitspike.layers.norm import BatchStatistics, batch_norm, several_processes


class BNTT(BatchStatistics):
    """Normalise (T, B, C, *space) by statistics of each step; T is fixed by `steps`, fewer steps may be given."""

    weighted: ClassVar[bool] = False

    def __init__(self, channels: int, steps: int, eps: float = 1e-4, momentum: float = 0.1) -> None:
        if steps < 1:
            refuse("BNTT steps", steps, "1 or more")
        super().__init__(steps, channels, eps=eps, momentum=momentum)
        self.steps = steps

    def forward(self, x: Tensor) -> Tensor:
        """Same shape as x (T, B, C, *space)."""
        steps, channels = x.shape[0], self.weight.shape[1]
        if x.ndim < 3 or not 1 <= steps <= self.steps or x.shape[2] != channels:
            refuse("BNTT input", tuple(x.shape), f"(T, B, {channels}, *) with 1 to {self.steps} steps")
        if self.training and several_processes():
            refuse("BNTT", "several processes", "one process (its statistics are not synchronised)")
        if self.training and lengths_for(x) is not None:
            refuse("BNTT", "sequences of different lengths", "one length, or another normalisation")
        if self.training and x[0].numel() == channels:
            refuse("BNTT input", "a batch of one example, in training", "two examples or more")
        mean, var = self.statistics()
        # Unbound, so that the gradients of all steps meet once; statistics are views, which are updated in place.
        parts = zip(x.unbind(0), mean.unbind(0), var.unbind(0), self.weight.unbind(0), strict=False)
        options = (None, self.training, self.momentum, self.eps)
        return torch.stack([batch_norm(*part, *options) for part in parts])

    def report_operations(self, tally: Any, given: tuple[Any, ...], output: Any) -> None:
        """None: as of any norm, what it does folds into the neurons behind it."""

    def _load_from_state_dict(self, state: dict[str, Any], prefix: str, *rest: Any) -> None:
        # Files of before there were statistics for MAP weights.
        for name in ("mean", "var"):
            if (found := state.get(f"{prefix}running_{name}")) is not None:
                state.setdefault(f"{prefix}map_{name}", found)
        super()._load_from_state_dict(state, prefix, *rest)
