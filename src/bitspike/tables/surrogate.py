"""Surrogate derivatives of the spike function; see `neurons.surrogate` for their equations.

An own one is a function of u (membrane minus threshold) and w (the width), with the options below.
"""

from __future__ import annotations

from pydantic import create_model

from bitspike.options import Options, Positive
from bitspike.registry import register


class Usual(Options):
    """The spike function's derivative in training."""

    width: Positive = 1.0
    """How wide it is, in the membrane's units (thresholds, where the threshold is 1)."""
    height: Positive = 1.0
    """Its factor."""
    strict: bool = False
    """A membrane at the threshold itself does not fire."""


SHAPES = {
    "boxcar": "1/w on (-w/2, w/2].",
    "triangle": "max(0, 1 - |u|/w) / w.",
    "arctan": "(1/w) / (1 + (pi u / w)^2).",
    "fast-sigmoid": "(1/w) / (1 + |u|/w)^2.",
    "slayer": "exp(-|u|/w) / (2w).",
}
for name, shape in SHAPES.items():
    home = f"bitspike.neurons.surrogate:{name.replace('-', '_')}"
    register("surrogate", name, home)(create_model("Shape", __base__=Usual, __module__=__name__, __doc__=shape))
