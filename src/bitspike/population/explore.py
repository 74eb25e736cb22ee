"""Explore: what becomes of hyperparameters that a member has copied. Pure functions of values, space and named draws.

One's own is a function of the registry, whose other typed parameters are its options:

    @bitspike.register("explore", "halves")
    def halves(values, space, source):
        return {path: value / 2 for path, value in values.items()}

`source` is a `torch.Generator`. What comes back is refused outside the bounds; it is not bent into them in silence.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch

from bitspike import registry
from bitspike.errors import refuse
from bitspike.population.space import Space, Values, uniform

Rule = Callable[[Values, Space, torch.Generator], Values]


class Perturb:
    """value x low or value x high, either with probability 1/2, each by itself; clipped to its bounds.

    0 times anything is 0: a hyperparameter of 0 never moves under multiplication, however long the population lives.
    """

    def __init__(self, low: float = 0.8, high: float = 1.2, resample: float = 0.0) -> None:
        self.low, self.high, self.resample = low, high, resample

    def __call__(self, values: Values, space: Space, source: torch.Generator) -> Values:
        """New values; three draws for each, whatever becomes of it."""
        new = {}
        for path, one in space.dimensions.items():
            anew, up, drawn = uniform(source), uniform(source), one.drawn(source)
            new[path] = drawn if anew < self.resample else one.scaled(values[path], self.high if up < 0.5 else self.low)
        return new


class Additive:
    """value + N(0, scale x width), each by itself; clipped to its bounds."""

    def __init__(self, scale: float = 0.1) -> None:
        self.scale = scale

    def __call__(self, values: Values, space: Space, source: torch.Generator) -> Values:
        """New values."""
        normal = torch.randn(len(space.dimensions), generator=source, dtype=torch.float64).tolist()
        pairs = zip(space.dimensions.items(), normal, strict=True)
        return {path: one.moved(values[path], self.scale * z) for (path, one), z in pairs}


class Resample:
    """Each is drawn from its prior with probability `chance`."""

    def __init__(self, chance: float = 0.25) -> None:
        self.chance = chance

    def __call__(self, values: Values, space: Space, source: torch.Generator) -> Values:
        """New values."""
        new = {}
        for path, one in space.dimensions.items():
            anew, drawn = uniform(source), one.drawn(source)
            new[path] = drawn if anew < self.chance else values[path]
        return new


def rule_of(options: Any) -> Rule:
    """The rule of a table: an object that is called, or a function of one's own with its options put in."""
    name = options.named.name
    found = registry.find("explore", name)
    if inspect.isclass(found):
        made = registry.make(options)
        if not callable(made):
            refuse("population.explore.kind", repr(name), "a class whose objects are called, or a function")
        rule: Rule = made
        return rule
    return lambda values, space, source: found(values=values, space=space, source=source, **registry.fields_of(options))
