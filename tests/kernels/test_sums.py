"""One-pass sums over large tensors: what they are in double precision, and what becomes of numbers that are none."""

from __future__ import annotations

import math

import pytest
import torch

from bitspike.checks import all_finite
from bitspike.kernels.cpu.sums import add_scaled, distance


@pytest.mark.parametrize("count", [3, 5000, 70_001])
def test_they_are_those_of_double_precision(count):
    one, other = torch.randn(2, count, generator=torch.Generator().manual_seed(0))
    assert distance(one, other) == pytest.approx(float((one.double() - other.double()).norm()), rel=1e-12)
    total = torch.zeros(count, dtype=torch.float64)
    add_scaled(total, one, 0.3)
    add_scaled(total, other.double(), 0.7)
    assert torch.allclose(total, 0.3 * one.double() + 0.7 * other.double(), rtol=1e-14, atol=1e-15)


def test_numbers_that_are_not_finite_are_seen_and_large_ones_are_no_such():
    large = torch.full((5000,), 3e38)
    assert not math.isfinite(large.sum())
    assert all_finite(large)
    assert math.isfinite(distance(large, -large))
    for wrong in (math.nan, math.inf, -math.inf):
        one = torch.zeros(5000)
        one[17] = wrong
        assert not all_finite(one)
        assert not math.isfinite(distance(one, torch.zeros(5000)))
