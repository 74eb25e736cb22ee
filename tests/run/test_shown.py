"""What a page draws of the data is what was given, in the data's own units."""

from __future__ import annotations

import numpy as np
import torch

from bitspike.data import restore
from bitspike.data.base import DataSet
from bitspike.run.assemble import build_encoder, form_of, load_data
from bitspike.run.batches import Batches
from bitspike.run.recipe_files import load_recipe
from bitspike.run.shown import Arrays, shown


def arrays(name: str, rows: list[int], *changes: str) -> tuple[Arrays, DataSet]:
    recipe = load_recipe(name, list(changes))
    data = load_data(recipe, None)
    encoder = build_encoder(recipe, form_of(data))
    test = Batches(recipe, encoder, data.test, torch.device("cpu"), torch.float32, data.target)
    return shown(data, test, data.test.index[rows].numpy()), data


def test_a_series_is_kept_in_its_own_units() -> None:
    sizes = [f"data.options.{name}={size}" for name, size in (("train_size", 8), ("validation", 2), ("test_size", 5))]
    kept, data = arrays("mackey-glass-hybrid", [4, 1], *sizes)
    assert set(kept) == {"raster_inputs"}
    assert kept["raster_inputs"].shape == (100, 1, 2)
    assert isinstance(data.test.x, torch.Tensor)
    wanted = restore(data.test.x[[4, 1], :, 0], data.normalisation).T
    np.testing.assert_allclose(kept["raster_inputs"][:, 0], wanted, rtol=1e-6)


def test_a_regression_keeps_its_training_points() -> None:
    kept, data = arrays("regression-1d-st", [0, 7])
    assert kept["train_inputs"].shape == kept["train_targets"].shape == (60, 1)
    # The set's own x: from -1 to 5, three stretches of 20 points.
    assert kept["train_inputs"].min() == -1
    np.testing.assert_allclose(np.sort(kept["train_inputs"][:, 0])[20:40], 1.5 + np.arange(20) / 20, rtol=1e-5)
    assert kept["inputs"].shape == (len(data.test), 1)


def test_pixels_are_kept_as_they_are_given_and_spikes_are_not() -> None:
    kept, data = arrays("digits-rows-hybrid", [0, 1, 2])
    assert isinstance(data.test.x, torch.Tensor)
    rows = data.test.x[:3].reshape(3, 8, 8).permute(1, 2, 0)
    np.testing.assert_allclose(kept["raster_inputs"], rows, rtol=1e-6)
    spiking = ["encoder.name=rate", "encoder.steps=5"]
    assert arrays("digits-bayes", [0, 1], *spiking)[0] == {}
