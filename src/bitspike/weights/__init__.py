"""Floor 2: how many bits a weight has. Each precision is a `torch.nn.utils.parametrize` parametrization."""

from functools import partial

from bitspike import registry
from bitspike.renamed import moved
from bitspike.weights.apply import (
    at_step,
    binary_parametrizations,
    drawn_each_step,
    histograms,
    latent_parameters,
    quantise,
    redraw,
    stored_dtype,
    use_map,
)  # fmt: skip
from bitspike.weights.bayesian import BayesianBinary, natural_draw, natural_scale, natural_scale_float32
from bitspike.weights.precision import Precision, binary_sign
from bitspike.weights.straight_through import StraightThrough

__all__ = [
    "BayesianBinary", "Precision", "StraightThrough", "at_step", "binary_parametrizations", "binary_sign",
    "drawn_each_step", "histograms", "latent_parameters", "natural_draw", "natural_scale", "natural_scale_float32",
    "quantise", "redraw", "stored_dtype", "use_map",
]  # fmt: skip

__getattr__ = moved(
    __name__, {"PRECISIONS": ('registry.classes("precision")', partial(registry.classes, "precision"))}
)  # fmt: skip
