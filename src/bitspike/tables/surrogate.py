"""Surrogate derivatives of the spike function; see `neurons.surrogate` for their equations.

An own one is a function of u (membrane minus threshold) and w (the width), with the options below.
"""

from __future__ import annotations

from bitspike.options import Options, Positive
from bitspike.registry import register


class Usual(Options):
    """The spike function's derivative in training."""

    width: Positive = 1.0
    """How wide it is, in thresholds."""
    height: Positive = 1.0
    """Its factor."""


for name in ("boxcar", "triangle", "arctan", "fast-sigmoid", "slayer"):
    register("surrogate", name, f"bitspike.neurons.surrogate:{name.replace('-', '_')}")(Usual)
