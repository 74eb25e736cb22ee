"""Images less the mean training image, in any range of values.

    x' = range (x - mean of x over the training part)          x in [0, 1], mean for each pixel

(As in cuda-convnet, which trains on raw values: range 255.) Stored with a run as a "standard" normalisation of the
file's own values with one mean per pixel, so that `prepare` does the same to new images.
"""

from __future__ import annotations

from dataclasses import replace

import torch

from bitspike.data.base import DataSet, Split
from bitspike.errors import refuse


def centred(dataset: DataSet, mean: bool = True, pixel_range: float = 1.0) -> DataSet:
    """The data set with the mean training image taken off (if `mean`) and its values times `pixel_range`.

    The three parts are changed in place: the data set given holds the new values too.
    """
    old = dataset.normalisation
    if dataset.input != "image" or old["kind"] != "minmax":
        came = f"{dataset.name}, {dataset.input} input normalised as '{old['kind']}'"
        refuse("data.mean_image or data.pixel_range", came, "images with values in [0, 1]")
    low, high = float(old["low"][0]), float(old["high"][0])
    x = dataset.train.x
    assert isinstance(x, torch.Tensor)
    # In float64 without a copy of the images in it.
    average = sum(part.double().sum(0) for part in x.split(4096)) / len(x) if mean else x[0].double() * 0

    def moved(split: Split) -> Split:
        assert isinstance(split.x, torch.Tensor)
        return replace(split, x=split.x.sub_(average.float()).mul_(pixel_range))

    normalisation = {
        "kind": "standard",
        "mean": (low + (high - low) * average).tolist(),
        "std": [(high - low) / pixel_range],
        "axis": -3,
        "white": high,
    }
    if "pixels" in old:
        normalisation["pixels"] = old["pixels"]
    train, validation, test = moved(dataset.train), moved(dataset.validation), moved(dataset.test)
    return replace(dataset, train=train, validation=validation, test=test, normalisation=normalisation)
