"""What becomes of hyperparameters that were copied."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from bitspike.options import Options, Positive
from bitspike.registry import register

Chance = Annotated[float, Field(ge=0, le=1)]


@register("explore", "perturb", "bitspike.population.explore:Perturb")
class Perturb(Options):
    """Each is multiplied by one of two factors, either as likely; a choice moves to a neighbour."""

    low: Positive = 0.8
    """The factor below 1."""
    high: Positive = 1.2
    """The factor above 1."""
    resample: Chance = 0.0
    """Chance of each to be drawn anew instead."""

    @model_validator(mode="after")
    def _apart(self) -> Perturb:
        if not self.low < 1 < self.high:
            raise ValueError(f"low = {self.low}, high = {self.high}: wanted one below 1 and one above")
        return self


@register("explore", "additive", "bitspike.population.explore:Additive")
class Additive(Options):
    """Each gets Gaussian noise: of a log-uniform dimension in its logarithm."""

    scale: Positive = 0.1
    """Standard deviation, as a share of the dimension's width."""


@register("explore", "resample", "bitspike.population.explore:Resample")
class Resample(Options):
    """Each is drawn anew with a chance, and stays otherwise."""

    chance: Chance = 0.25
    """Of each, by itself."""
