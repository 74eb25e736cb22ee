"""Which method a product takes: allowed by its kinds and the policy, then by times measured on this processor.

The times of a class (`problem`) include every conversion from and to float32. The sums over spikes are timed at two
densities; the choice then depends on the density of the operand itself, so it is a function of the data and the stored
table alone.

Where no table can be kept, only methods that are exact by arithmetic are taken, by a fixed rule.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

from bitspike.products import table
from bitspike.products.problem import DENSITIES, why_float32

GAIN = 0.95  # a method replaces float32 when it takes at most this part of its time
MOST_DENSE = 0.6  # sums over spikes were never found to win above; guards a bad measurement


class Plan(NamedTuple):
    """dense: the method at any density; sparse_below: the density of x below which sums over spikes win."""

    dense: str
    sparse_below: float
    reason: str

    @property
    def gains(self) -> bool:
        """Whether anything but torch's product is made, at some density."""
        return self.dense != "float32" or self.sparse_below > 0

    def method(self, density: float) -> str:
        """The method at this density of ones in x."""
        return "sparse" if density < self.sparse_below else self.dense


def decide(problem: Any, methods: tuple[str, ...], measured: Callable[[], table.Seconds]) -> Plan:
    """The plan for a `Problem` or `ConvProblem`, to which these methods are allowed."""
    if not methods:
        return Plan("float32", 0.0, why_float32(problem))
    times = table.seconds(problem.name, measured)
    if times is None:
        dense = "int8" if "int8" in methods else "float32"
        return Plan(dense, 0.0, "no table of measured times can be kept here: exact methods only")
    return from_times(methods, times)


def from_times(methods: tuple[str, ...], times: table.Seconds) -> Plan:
    """The plan that these times ask for."""
    plain = times["float32"]
    dense, best = "float32", plain
    for method in methods:
        if method in times and times[method] < min(best, GAIN * plain):
            dense, best = method, times[method]
    below = 0.0
    low, high = (times.get(f"sparse {d}", math.inf) for d in DENSITIES)
    if "sparse" in methods and math.isfinite(high) and low < GAIN * best:
        slope = max(high - low, 1e-12) / (DENSITIES[1] - DENSITIES[0])
        below = min(max(DENSITIES[0] + (GAIN * best - low) / slope, 0.0), MOST_DENSE)
    told = ", ".join(f"{name} {1e3 * value:.2f} ms" for name, value in times.items())
    return Plan(dense, below, f"measured here: {told}")
