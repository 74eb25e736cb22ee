"""Spike functions: forward 1[u >= 0] (strict: 1[u > 0]), backward a surrogate derivative h(u).

| name         | h(u)                                   | source                                             |
| ------------ | -------------------------------------- | -------------------------------------------------- |
| boxcar       | 1/w for -w/2 < u <= w/2, else 0        | DECOLLE (Kaiser et al. 2020), BiSNN with w = 1     |
| triangle     | max(0, 1 - |u|/w) / w                  | Esser et al. 2016; Bellec et al. 2018              |
| arctan       | (1/w) / (1 + (pi u / w)^2)             | Fang et al. 2021 (w = 2/alpha)                     |
| fast-sigmoid | (1/w) / (1 + |u|/w)^2                  | Zenke & Ganguli 2018 (SuperSpike; 1/w = steepness) |
| slayer       | exp(-|u|/w) / (2w)                     | Shrestha & Orchard 2018, scaled to unit area       |

u is membrane minus threshold, w the width, both in the membrane's units. `height` multiplies h.
Boxcar, triangle and slayer have unit area at height 1, arctan too; fast-sigmoid has area 2.
"""

from __future__ import annotations

import inspect
import math
from dataclasses import dataclass
from typing import Any

from bitspike import registry
from bitspike.errors import refuse
from bitspike.kernels import absolute, exp, indicator, maximum, threshold
from bitspike.kernels.functions import setting


def boxcar(u: Any, w: float) -> Any:
    """1/w on (-w/2, w/2]."""
    return indicator(u > -w / 2, u) * indicator(u <= w / 2, u) / w


def triangle(u: Any, w: float) -> Any:
    """max(0, 1 - |u|/w) / w."""
    return maximum(1 - absolute(u) / w, 0) / w


def arctan(u: Any, w: float) -> Any:
    """(1/w) / (1 + (pi u / w)^2)."""
    return 1 / (w * (1 + (math.pi / w * u) ** 2))


def fast_sigmoid(u: Any, w: float) -> Any:
    """(1/w) / (1 + |u|/w)^2."""
    return 1 / (w * (1 + absolute(u) / w) ** 2)


def slayer(u: Any, w: float) -> Any:
    """exp(-|u|/w) / (2w)."""
    return exp(-absolute(u) / w) / (2 * w)


@dataclass(frozen=True)
class Surrogate:
    """A spike function with a named surrogate derivative; call it on u = membrane - threshold.

    strict: there is no spike at the threshold itself.
    """

    name: str = "triangle"
    width: float = 1.0
    height: float = 1.0
    strict: bool = False

    def __post_init__(self) -> None:
        derivative = registry.find("surrogate", self.name)
        try:
            inspect.signature(derivative).bind("u", "width")
            fits = not isinstance(derivative, type)
        except TypeError:
            fits = False
        if not fits:
            refuse(f"surrogate '{self.name}'", derivative.__name__, "a function of u and width")
        if not 0 < self.width < math.inf:
            refuse("surrogate width", self.width, "a positive number")
        if not math.isfinite(self.height):
            refuse("surrogate height", self.height, "a number")

    def derivative(self, u: Any) -> Any:
        """height * h(u), on a tensor or a SymPy expression."""
        width, height = setting("width", self.width, u), setting("height", self.height, u)
        return height * registry.find("surrogate", self.name)(u, width)

    def __call__(self, u: Any) -> Any:
        """Spikes 1[u >= 0], or 1[u > 0], with the surrogate's gradient, on a tensor or symbolically."""
        return threshold(u, self.derivative, self.strict)


def surrogate(name: str = "triangle", width: float = 1.0, height: float = 1.0, strict: bool = False) -> Surrogate:
    """The spike function called `name`; see the table above."""
    return Surrogate(name, width, height, strict)
