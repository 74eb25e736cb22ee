"""How far numbers are from the truth: of the whole array's size, so that no bound knows a processor or a scale."""

from __future__ import annotations

import torch
from torch import Tensor

FEW = {torch.float32: 2e-5, torch.float64: 1e-12}  # what some tens of roundings in a row may come to


def off(found: Tensor, truth: Tensor, least: float = 0.0) -> float:
    """|found - truth| / |truth|, Euclidean, in float64; a truth smaller than `least` counts as that."""
    found, truth = found.detach().double(), truth.detach().double()
    assert found.shape == truth.shape
    return float((found - truth).norm()) / max(float(truth.norm()), least, 1e-300)
