"""Bins of forecasts against outcomes, for every calibration error."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from bitspike.errors import check_whole


class BinSums(NamedTuple):
    """Per bin, float64: number of forecasts, their sum, and the sum of their outcomes (0 or 1)."""

    number: Tensor
    forecast: Tensor
    outcome: Tensor


def equal_width_edges(bins: int) -> Tensor:
    """bins + 1 edges from 0 to 1, float64."""
    check_whole("calibration bins", bins)
    return torch.linspace(0, 1, bins + 1, dtype=torch.float64)


def equal_mass_edges(forecast: Tensor, bins: int) -> Tensor:
    """bins + 1 edges with N/bins of the forecasts (N,) between each two; equal ones are never parted."""
    check_whole("calibration bins", bins)
    ordered = forecast.sort().values
    inner = ordered[torch.arange(1, bins) * len(ordered) // bins]
    return torch.cat([ordered[:1], inner, ordered[-1:]])


def bin_sums(forecast: Tensor, outcome: Tensor, edges: Tensor) -> BinSums:
    """Sums over the bins [edge_b, edge_b+1), the last one closed; forecast and outcome (N,) float64."""
    bins = len(edges) - 1
    index = (torch.bucketize(forecast.contiguous(), edges, right=True) - 1).clamp(0, bins - 1)
    zero = torch.zeros(bins, dtype=torch.float64)
    return BinSums(
        zero.index_add(0, index, torch.ones_like(forecast)),
        zero.index_add(0, index, forecast),
        zero.index_add(0, index, outcome),
    )


def gap(sums: BinSums) -> float:
    """sum_b n_b/N |mean outcome - mean forecast|."""
    return ((sums.outcome - sums.forecast).abs().sum() / sums.number.sum()).item()
