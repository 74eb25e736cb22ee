"""Batch normalisation through time (BNTT): statistics and gain of their own at every time step.

    y_t = g_t (x_t - mean_t) / sqrt(var_t + eps)          per channel; mean_t and var_t over (B, *space)

There is no offset: the threshold stays where it is. Source: Kim & Panda 2020; as used by FedSNN (eps 1e-4,
momentum 0.1). All steps are one call: steps and channels together are the channels of one batch normalisation.
"""

from __future__ import annotations

from typing import Any, ClassVar

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
        # (B, T*C, *space); statistics are views of the buffers, so F.batch_norm updates them in place.
        together = x.transpose(0, 1).flatten(1, 2)
        mean, var = (each[:steps].view(-1) for each in self.statistics())
        weight = self.weight[:steps].reshape(-1)
        y = batch_norm(together, mean, var, weight, None, self.training, self.momentum, self.eps)
        apart: Tensor = y.unflatten(1, (steps, channels)).transpose(0, 1)
        return apart

    def _load_from_state_dict(self, state: dict[str, Any], prefix: str, *rest: Any) -> None:
        # Files of before there were statistics for MAP weights.
        for name in ("mean", "var"):
            if (found := state.get(f"{prefix}running_{name}")) is not None:
                state.setdefault(f"{prefix}map_{name}", found)
        super()._load_from_state_dict(state, prefix, *rest)
