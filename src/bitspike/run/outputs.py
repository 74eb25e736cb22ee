"""Outputs of a learner in the data's own units, with their noise, and their metrics at one moment."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from bitspike import metrics
from bitspike.data import rescale, restore

Noise = float | list[float]
"""Of the value, or of each of several."""


def in_data_units(outputs: Tensor, target: dict[str, Any] | None) -> Tensor:
    """Undo the targets' normalisation on value and spread, stacked in the last dimension."""
    value, spread = outputs.double().chunk(2, -1)
    return torch.cat([restore(value, target), rescale(spread, target)], -1).double()


def with_noise(outputs: Tensor, noise: Noise) -> Tensor:
    """Value and spread (..., 2D) with the fitted noise added to the ensemble's spread."""
    value, spread = outputs.chunk(2, -1)
    return torch.cat([value, (spread.square() + torch.as_tensor(noise).to(spread).square()).sqrt()], -1)


def fit_noise(outputs: Tensor, targets: Tensor) -> Noise:
    """Standard deviation of the residuals beyond the ensemble's own spread, of each value by itself."""
    value, spread = outputs.chunk(2, -1)
    residual = (value - targets.double()).square() - spread.square()
    found = torch.maximum(residual.mean(0).clamp_min(0).sqrt(), _least(targets)).tolist()
    return float(found[0]) if len(found) == 1 else [float(each) for each in found]


def read_noise(stored: Any) -> Noise:
    """The noise that was stored with a network; ValueError or TypeError where it is none."""
    if isinstance(stored, list):
        return [float(each) for each in stored]
    return float(stored)


def _least(targets: Tensor) -> Tensor:
    """The smallest spread that is believed, of each value (D,)."""
    return 1e-4 * targets.double().std(0, correction=0)


def summary(task: str, outputs: Tensor, targets: Tensor, bins: int) -> dict[str, float]:
    """Metrics of outputs (N, C) at one moment."""
    if task == "classification":
        return metrics.classification(outputs, targets, bins=bins)
    value, spread = outputs.chunk(2, -1)
    return metrics.regression(value, spread, targets.double(), floor=_least(targets).clamp_min(1e-12))
