"""How many bits a weight has, and how binary weights are learned (see `bitspike.weights`)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from bitspike.options import Options, Positive, Unread
from bitspike.registry import register


@register("precision", "full", "bitspike.weights.precision:Precision")
class Full(Options):
    """Real numbers."""

    has_latents: ClassVar[bool] = False


class Binary(Options):
    """Signs of latent weights."""

    init: Positive = 1.0
    """Latent weights start uniform between this and its negative."""
    init_at_ends: bool = False
    """They start at one of the two ends instead."""
    biases: bool = False
    """Give biases the precision too."""


@register("precision", "straight-through", "bitspike.weights.straight_through:StraightThrough")
class StraightThrough(Binary):
    """Signs, learned through real latent weights."""

    clip: Annotated[float, Field(ge=0)] = 0.0
    """No gradient where a latent weight is larger; 0 is off."""


@register("precision", "bayesian", "bitspike.weights.bayesian:BayesianBinary")
class Bayesian(Binary):
    """A probability for each sign."""

    is_drawn: ClassVar[bool] = True
    prior: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """Prior probability of +1."""
    temperature: Positive = 1.0
    """Of relaxed draws."""
    relaxed: bool = False
    """Training draws weights between -1 and 1 (tanh) in place of signs."""
    rule: Literal["natural", "pathwise", "straight-through", "mean"] = "straight-through"
    """What of the gradient reaches a latent weight."""
    scale_limit: Positive = 1e3
    """natural: largest factor on a gradient."""
    redraw: Literal["pass", "step"] = "pass"
    """How long a draw holds: for a whole presentation or one time step (in learning by the online rule always)."""
    reference_float32: bool = False
    """natural: the factor as the paper's code rounds it, for comparison only."""

    def unread(self, recipe: Any) -> Iterator[Unread]:
        """What only relaxed draws, or their natural gradient, read."""
        if not self.relaxed:
            yield ("temperature", "scale_limit", "reference_float32"), "hard draws (weights.relaxed = false)"
        elif self.rule != "natural":
            yield ("scale_limit", "reference_float32"), f"weights.rule '{self.rule}'"
