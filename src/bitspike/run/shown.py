"""What the page of a run draws of its data: the inputs of the examples in the raster, and the training points."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from bitspike.data import restore
from bitspike.data.base import DataSet
from bitspike.run.batches import Batches

# Channels of an input and training points that are kept: what a page can show.
CHANNELS, POINTS = 64, 1000

Arrays = dict[str, np.ndarray[Any, Any]]


def shown(dataset: DataSet, test: Batches, index: np.ndarray[Any, Any]) -> Arrays:
    """Arrays of predictions.npz, in the data's own units; `index` (S,) numbers the test examples drawn.

    raster_inputs: (T, channels, S) float32, left out where the network is given nothing but spikes;
    inputs, train_inputs and train_targets: (N, F) and (n, D), of a regression on vectors.
    """
    rows = torch.cat([(dataset.test.index == int(k)).nonzero()[:1, 0] for k in index])
    arrays = {} if len(rows) != len(index) else _inputs(dataset, test, rows)
    x, seen = dataset.test.x, dataset.train.x
    if dataset.kind == "regression" and isinstance(x, Tensor) and isinstance(seen, Tensor) and dataset.steps is None:
        some = torch.linspace(0, len(seen) - 1, min(POINTS, len(seen))).long()
        arrays["inputs"] = _in_data_units(dataset, x)
        arrays["train_inputs"] = _in_data_units(dataset, seen[some])
        arrays["train_targets"] = restore(dataset.train.y[some], dataset.target).float().numpy()
    return arrays


def _in_data_units(dataset: DataSet, x: Tensor) -> np.ndarray[Any, Any]:
    """x (..., *shape) with its normalisation undone where it was one of features, as (N, F)."""
    if len(dataset.shape) == 1:
        x = restore(x, dataset.normalisation)
    return x.flatten(1).float().numpy()


def _inputs(dataset: DataSet, test: Batches, rows: Tensor) -> Arrays:
    """What the network is given of the examples `rows`, unless it is spikes alone."""
    x = dataset.test.x
    if dataset.steps is not None and isinstance(x, Tensor) and len(dataset.shape) == 1:
        given = restore(x[rows], dataset.normalisation).transpose(0, 1)
        encoder = test.encoder
        # Of a window, the step of the data that it ends with.
        last = (torch.arange(1, encoder.steps + 1) * getattr(encoder, "stride", 1)).clamp(max=encoder.reads)
        given = given[last - 1]
    else:
        given = test.events(rows, 0)[0].detach().cpu().flatten(2)
    if bool(((given == 0) | (given == 1)).all()):
        return {}
    some = torch.linspace(0, given.shape[2] - 1, min(CHANNELS, given.shape[2])).long()
    return {"raster_inputs": given[:, :, some].float().transpose(1, 2).contiguous().numpy()}
