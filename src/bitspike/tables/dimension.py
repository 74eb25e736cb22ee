"""What a hyperparameter may be: a dimension of the space that a population searches."""

from __future__ import annotations

import math
from typing import Annotated, Any

from pydantic import Field, model_validator

from bitspike.options import Options
from bitspike.registry import register

Number = Annotated[float, Field(ge=-1e30, le=1e30)]
Points = Annotated[
    int | None, Field(ge=2, le=1000, description="Of a grid: how many, evenly spaced with both ends; left out: 3.")
]
Value = bool | int | float | str


class DimensionOptions(Options):
    """Bounds, which every value keeps."""

    low: Any
    high: Any

    @model_validator(mode="after")
    def _ordered(self) -> DimensionOptions:
        if not self.low < self.high:
            raise ValueError(f"low = {self.low}, high = {self.high}: wanted low below high")
        return self


@register("dimension", "log-uniform", "bitspike.population.space:LogUniform")
class LogUniform(DimensionOptions):
    """A positive number, every factor as likely as another."""

    low: Annotated[float, Field(gt=0, le=1e30)]
    """Smallest."""
    high: Annotated[float, Field(gt=0, le=1e30)]
    """Largest."""
    points: Points = None


@register("dimension", "uniform", "bitspike.population.space:Uniform")
class Uniform(DimensionOptions):
    """A number, every one as likely as another."""

    low: Number
    """Smallest."""
    high: Number
    """Largest."""
    points: Points = None


@register("dimension", "integer", "bitspike.population.space:Integer")
class Integer(DimensionOptions):
    """A whole number, every one as likely as another."""

    low: Annotated[int, Field(ge=-(2**53), le=2**53)]
    """Smallest."""
    high: Annotated[int, Field(ge=-(2**53), le=2**53)]
    """Largest."""
    points: Points = None


@register("dimension", "choice", "bitspike.population.space:Choice")
class Choice(Options):
    """One of a list, whose neighbours are alike (explore moves to a neighbour)."""

    of: Annotated[list[Value], Field(min_length=2, max_length=1000)]
    """The list; a grid takes all of it."""

    @model_validator(mode="after")
    def _differ(self) -> Choice:
        if any(isinstance(value, float) and not math.isfinite(value) for value in self.of):
            raise ValueError("of: wanted finite numbers")
        if len({(type(value), value) for value in self.of}) < len(self.of):
            raise ValueError(f"of = {self.of}: wanted values that differ")
        return self
