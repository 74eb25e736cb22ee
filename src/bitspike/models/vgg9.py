"""VGG9 with batch normalisation through time, and the two ordinary networks it is compared with.

    VGG9            64 64 a2 128 128 a2 256 256 256 a2 1024 classes
    ReferenceANN    64 a2 64 d 128 a2 128 d 256 a2 256 a2 256 d 4096 d 4096 d classes

3x3 convolutions with padding 1, a2: 2x2 average pool, d: dropout. No layer has biases; VGG9's read-out has no norm, the
reference's dense layers have none. Source: Venkatesha, Kim, Tassiulas & Panda 2021 (FedSNN) and its code.
"""

from __future__ import annotations

import math
from typing import Any

from torch import nn

from bitspike.errors import refuse
from bitspike.models.feedforward import FeedForward
from bitspike.models.setting import Setting
from bitspike.tables.model import FeedForward as Layers
from bitspike.tables.neuron import ReLU

CONVOLUTIONS = (64, 64, 0, 128, 128, 0, 256, 256, 256, 0)  # 0: a pool
HIDDEN = 1024
# Of the ordinary network; None: dropout.
REFERENCE = (64, 0, 64, None, 128, 0, 128, None, 256, 0, 256, 0, 256, None)
REFERENCE_HIDDEN = (4096, 4096)
XAVIER_GAIN = 2.0
DENSE_DEVIATION = 0.01


def scaled(units: int, width: float) -> int:
    """units x width; refuses what is not whole."""
    found = units * width
    if found < 1 or found != int(found):
        refuse("model.width", width, f"a share that leaves {units} channels a whole number, such as 0.25")
    return int(found)


def check_images(shape: tuple[int, ...], pools: int, kind: str) -> None:
    """Refuse inputs that are no images, or too small for 2x2 pools."""
    least = 2**pools
    if len(shape) != 3 or min(shape[1:]) < least:
        refuse("model.kind", f"'{kind}' on inputs of shape {shape}", f"images (C, H, W) of {least} x {least} or more")


class VGG9:
    """The model of a recipe that is called "vgg9"."""

    @staticmethod
    def from_options(options: Any, setting: Setting, **given: Any) -> nn.Module:
        """The network that a recipe's options describe."""
        check_images(setting.shape, CONVOLUTIONS.count(0), "vgg9")
        layers = [f"{scaled(units, options.width)}c3" if units else "a2" for units in CONVOLUTIONS]
        layers.append(str(scaled(HIDDEN, options.width)))
        made = Layers(
            layers=layers, norm=options.norm, norm_at="all" if options.norm == "bias" else "hidden",
            xavier=XAVIER_GAIN, neuron=options.neuron,
        )  # fmt: skip
        return FeedForward.from_options(made, setting)


class ReferenceANN:
    """The model of a recipe that is called "vgg9-reference-ann"."""

    @staticmethod
    def from_options(options: Any, setting: Setting, **given: Any) -> nn.Module:
        """The network that a recipe's options describe."""
        check_images(setting.shape, REFERENCE.count(0), "vgg9-reference-ann")
        layers, deviations = [], []
        for units in REFERENCE:
            if units:
                channels = scaled(units, options.width)
                layers.append(f"{channels}c3")
                deviations.append(math.sqrt(2 / (9 * channels)))
            elif units == 0:
                layers.append("a2")
            elif options.dropout:
                layers.append(dropped(options.dropout))
        for units in REFERENCE_HIDDEN:
            layers.append(str(scaled(units, options.width)))
            if options.dense_dropout:
                layers.append(dropped(options.dense_dropout))
        deviations += [DENSE_DEVIATION] * (len(REFERENCE_HIDDEN) + 1)
        made = Layers(layers=layers, norm="batch", norm_at="convolutions", deviations=deviations, neuron=ReLU())
        return FeedForward.from_options(made, setting)


def dropped(share: float) -> str:
    """A layer of dropout, spelled."""
    return f"d{share:.17f}"
