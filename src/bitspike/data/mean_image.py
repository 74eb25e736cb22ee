"""Images less the mean training image, in any range of values.

    x' = (range - low) (x - mean of x over the training part)      x in [0, 1], mean for each pixel
    x' = low + (range - low) x                                     without the mean image

(As in cuda-convnet, which trains on raw values: range 255.) Stored with a run as a "standard" normalisation of the
file's own values with one mean per pixel, so that `prepare` does the same to new images.
"""

from __future__ import annotations

from dataclasses import replace

import torch

from bitspike.data.base import DataSet, Split
from bitspike.errors import refuse


def centred(dataset: DataSet, mean: bool = True, pixel_range: float = 1.0, pixel_low: float = 0.0) -> DataSet:
    """The data set with values from `pixel_low` to `pixel_range`, and then the mean training image taken off (`mean`).

    The three parts are changed in place: the data set given holds the new values too.
    """
    old = dataset.normalisation
    if dataset.input != "image" or old["kind"] != "minmax":
        came = f"{dataset.name}, {dataset.input} input normalised as '{old['kind']}'"
        refuse("data.mean_image, pixel_range or pixel_low", came, "images with values in [0, 1]")
    if not pixel_low < pixel_range:
        refuse("data.pixel_low", pixel_low, f"less than data.pixel_range {pixel_range:g}")
    low, high = float(old["low"][0]), float(old["high"][0])
    x = dataset.train.x
    assert isinstance(x, torch.Tensor)
    # In float64 without a copy of the images in it.
    average = sum(part.double().sum(0) for part in x.split(4096)) / len(x) if mean else x[0].double() * 0

    span, offset = pixel_range - pixel_low, 0.0 if mean else pixel_low

    def moved(split: Split) -> Split:
        assert isinstance(split.x, torch.Tensor)
        x = split.x.sub_(average.float()).mul_(span)
        return replace(split, x=x.add_(offset) if offset else x)

    normalisation = {
        "kind": "standard",
        "mean": (low + (high - low) * (average - offset / span)).tolist(),
        "std": [(high - low) / span],
        "axis": -3,
        "white": high,
    }
    if "pixels" in old:
        normalisation["pixels"] = old["pixels"]
    train, validation, test = moved(dataset.train), moved(dataset.validation), moved(dataset.test)
    return replace(dataset, train=train, validation=validation, test=test, normalisation=normalisation)
