"""The space that is searched: how a value is drawn, and how it is changed without ever leaving its bounds."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from typing import Any

import torch

from bitspike import registry
from bitspike.draws import generator

Value = bool | int | float | str
Values = dict[str, Any]


def uniform(source: torch.Generator) -> float:
    """A number of [0, 1)."""
    return float(torch.rand((), generator=source, dtype=torch.float64))


class Dimension:
    """One hyperparameter; `at` turns a share of its width, 0 to 1, into a value, `share` is its inverse."""

    points: int | None = None

    def at(self, share: float) -> Any:
        """The value at a share of the width; what is below 0 or above 1 is at the end."""
        raise NotImplementedError

    def share(self, value: Any) -> float:
        """Where a value lies."""
        raise NotImplementedError

    def drawn(self, source: torch.Generator) -> Any:
        """A value of the prior."""
        return self.at(uniform(source))

    def scaled(self, value: Any, factor: float) -> Any:
        """The value times a factor."""
        raise NotImplementedError

    def moved(self, value: Any, shares: float) -> Any:
        """The value, moved by so many shares of the width."""
        return self.at(self.share(value) + shares)

    def grid(self) -> list[Any]:
        """Evenly spaced values with both ends; each once."""
        count = self.points or 3
        return list(dict.fromkeys(self.at(k / (count - 1)) for k in range(count)))

    def holds(self, value: Any) -> bool:
        """Whether a value is of this dimension."""
        raise NotImplementedError


class Uniform(Dimension):
    """A number between `low` and `high`."""

    def __init__(self, low: float, high: float, points: int | None = None) -> None:
        self.low, self.high, self.points = low, high, points

    def clipped(self, value: float) -> Any:
        """The nearest value within bounds; rounding in `at` may step over one."""
        return float(min(max(value, self.low), self.high))

    def at(self, share: float) -> Any:
        """The value at a share of the width; at 0 and 1 the bounds themselves, which rounding may miss."""
        return self.clipped(self.low if share <= 0 else self.high if share >= 1 else self.between(share))

    def between(self, share: float) -> float:
        """low + share (high - low)."""
        return self.low + share * (self.high - self.low)

    def share(self, value: Any) -> float:
        """(value - low) / (high - low)."""
        return float((value - self.low) / (self.high - self.low))

    def scaled(self, value: Any, factor: float) -> Any:
        """Clipped to the bounds; 0 stays 0, whatever the factor."""
        return self.clipped(value * factor)

    def holds(self, value: Any) -> bool:
        """A finite number within bounds."""
        return isinstance(value, int | float) and not isinstance(value, bool) and self.low <= value <= self.high


class LogUniform(Uniform):
    """A positive number whose logarithm is uniform."""

    def between(self, share: float) -> float:
        """low (high / low) ** share, by logarithms alone where high / low is beyond all numbers."""
        width = self._over_low(self.high)
        return self.low * math.exp(share * width) if self._finite else math.exp(math.log(self.low) + share * width)

    def share(self, value: Any) -> float:
        """log(value / low) / log(high / low)."""
        return self._over_low(value) / self._over_low(self.high)

    @property
    def _finite(self) -> bool:
        return math.isfinite(self.high / self.low)

    def _over_low(self, value: float) -> float:
        """log(value / low)."""
        return math.log(value / self.low) if self._finite else math.log(value) - math.log(self.low)


class Integer(Uniform):
    """A whole number between `low` and `high`, both included."""

    low: int
    high: int

    def clipped(self, value: float) -> Any:
        """The nearest whole number within bounds."""
        return min(max(round(value), self.low), self.high)

    def drawn(self, source: torch.Generator) -> Any:
        """Every one as likely."""
        return self.clipped(math.floor(self.low + uniform(source) * (self.high - self.low + 1)))

    def scaled(self, value: Any, factor: float) -> Any:
        """Rounded; at least one further where rounding would leave it as it is."""
        new = round(value * factor)
        return self.clipped(new if new != value else value + (1 if factor > 1 else -1))

    def moved(self, value: Any, shares: float) -> Any:
        """Rounded."""
        return self.clipped(value + shares * (self.high - self.low))

    def holds(self, value: Any) -> bool:
        """A whole number within bounds."""
        return isinstance(value, int) and super().holds(value)


class Choice(Dimension):
    """One of a list."""

    def __init__(self, of: list[Any]) -> None:
        self.of = list(of)

    def at(self, share: float) -> Any:
        """The list is cut into parts of equal width."""
        return self.of[min(max(math.floor(share * len(self.of)), 0), len(self.of) - 1)]

    def share(self, value: Any) -> float:
        """The middle of the value's part."""
        return (self._place(value) + 0.5) / len(self.of)

    def scaled(self, value: Any, factor: float) -> Any:
        """The neighbour, above or below; at an end it stays."""
        place = self._place(value) + (1 if factor > 1 else -1)
        return self.of[min(max(place, 0), len(self.of) - 1)]

    def grid(self) -> list[Any]:
        """The whole list."""
        return list(self.of)

    def holds(self, value: Any) -> bool:
        """One of the list, of the same type."""
        return any(type(value) is type(one) and value == one for one in self.of)

    def _place(self, value: Any) -> int:
        return next(k for k, one in enumerate(self.of) if type(value) is type(one) and value == one)


class Space:
    """Dimensions by path. Draws are named, so that a member's first values depend on nothing but seed and number."""

    def __init__(self, dimensions: Mapping[str, Any]) -> None:
        self.dimensions: dict[str, Dimension] = {
            path: one if isinstance(one, Dimension) else registry.make(one) for path, one in dimensions.items()
        }

    def drawn(self, seed: int, member: int) -> Values:
        """The values that a member begins with."""
        return {path: one.drawn(generator(seed, "population", "first", member, path))
                for path, one in self.dimensions.items()}  # fmt: skip

    def grid(self) -> list[Values]:
        """Every combination, the last dimension fastest."""
        each = [one.grid() for one in self.dimensions.values()]
        return [dict(zip(self.dimensions, point, strict=True)) for point in itertools.product(*each)]

    def holds(self, values: Mapping[str, Any]) -> bool:
        """Whether these are values of all dimensions, within bounds."""
        return values.keys() == self.dimensions.keys() and all(
            one.holds(values[path]) for path, one in self.dimensions.items()
        )
