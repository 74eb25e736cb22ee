"""What every weight precision shares."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from bitspike import registry
from bitspike.draws import Key
from bitspike.options import Options
from bitspike.products.kinds import Kind


def binary_sign(latent: Tensor) -> Tensor:
    """+1 where latent >= 0, else -1: sign with sign(0) = +1."""
    # Three vectorised passes over one new tensor; a comparison makes a second one, whose conversion takes longest.
    return torch.sign(latent).add_(0.5).sign_()


class Precision(nn.Module):
    """A parametrization from a stored latent tensor to the weight that multiplies.

    The latent tensor is the parameter that is trained and checkpointed. `bits`: bits per shipped weight. `is_drawn`:
    the weight is random, `draw` fixes the next one, and `map` asks for the most probable one instead. `each_step`: a
    draw holds for one time step, and `keys` names the draws of a pass (`weights.at_step`). What is answered here are
    those of a weight without draws and without a prior.
    """

    bits: ClassVar[float] = 32.0
    is_drawn: ClassVar[bool] = False
    map: bool = False
    each_step: bool = False
    keys: tuple[Key, ...] = ()

    @classmethod
    def from_options(cls, options: Options) -> Precision:
        """A new one by a recipe's options; `biases` says what gets it and is no concern of its own."""
        fields = registry.fields_of(options)
        fields.pop("biases", None)
        return cls(**fields)

    @property
    def kind(self) -> Kind:
        """What the weight is made of as things stand: "signs" where it is all -1 and +1."""
        return "real"

    def forward(self, latent: Tensor) -> Tensor:
        """The weight for `latent`, same shape."""
        return latent

    def draw(self, like: Tensor, source: torch.Generator) -> None:
        """Fix the noise of the next draw, for a latent such as `like`; it stays until the next call."""

    def prior_gradient(self, latent: Tensor) -> Tensor | None:
        """Gradient of the divergence from the prior, in the geometry that the latent learns in; none: no prior."""
        return None

    def divergence(self, latent: Tensor) -> Tensor:
        """Divergence of the weights from their prior, summed, in nats."""
        return latent.new_zeros(())

    def histogram(self, latent: Tensor, bins: int) -> Tensor | None:
        """Counts (bins,) int64 of p(w = +1) over equal bins of [0, 1]; none: there is no such probability."""
        return None

    @torch.no_grad()
    def initialise(self, latent: Tensor, source: torch.Generator) -> None:
        """Fill `latent` in place with starting values drawn from `source`."""
