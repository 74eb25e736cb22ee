"""What every weight precision shares."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn


def binary_sign(latent: Tensor) -> Tensor:
    """+1 where latent >= 0, else -1: sign with sign(0) = +1."""
    # Three vectorised passes; `where` with two numbers takes several times as long.
    return (latent >= 0).to(latent.dtype).mul_(2).sub_(1)


class Precision(nn.Module):
    """A parametrization from a stored latent tensor to the weight that multiplies.

    `bits`: bits per shipped weight. The latent tensor is the parameter that is trained and checkpointed.
    """

    bits: ClassVar[float] = 32.0

    def forward(self, latent: Tensor) -> Tensor:
        """The weight for `latent`, same shape."""
        return latent

    @torch.no_grad()
    def initialise(self, latent: Tensor, source: torch.Generator) -> None:
        """Fill `latent` in place with starting values drawn from `source`."""
