"""Outputs of a learner in the data's own units, with their noise, and their metrics at one moment."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from bitspike import metrics
from bitspike.data import rescale, restore


def in_data_units(outputs: Tensor, target: dict[str, Any] | None) -> Tensor:
    """Undo the targets' normalisation on value and spread, stacked in the last dimension."""
    value, spread = outputs.double().chunk(2, -1)
    return torch.cat([restore(value, target), rescale(spread, target)], -1).double()


def with_noise(outputs: Tensor, noise: float) -> Tensor:
    """Value and spread (..., 2D) with the fitted noise added to the ensemble's spread."""
    value, spread = outputs.chunk(2, -1)
    return torch.cat([value, (spread.square() + noise**2).sqrt()], -1)


def fit_noise(outputs: Tensor, targets: Tensor) -> float:
    """Standard deviation of the residuals beyond the ensemble's own spread."""
    value, spread = outputs.chunk(2, -1)
    residual = (value - targets.double()).square() - spread.square()
    smallest = 1e-4 * float(targets.double().std(correction=0))
    return max(float(residual.mean().clamp_min(0).sqrt()), smallest)


def summary(task: str, outputs: Tensor, targets: Tensor, bins: int) -> dict[str, float]:
    """Metrics of outputs (N, C) at one moment."""
    if task == "classification":
        return metrics.classification(outputs, targets, bins=bins)
    value, spread = outputs.chunk(2, -1)
    floor = 1e-4 * float(targets.double().std(correction=0))
    return metrics.regression(value, spread, targets.double(), floor=max(floor, 1e-12))
