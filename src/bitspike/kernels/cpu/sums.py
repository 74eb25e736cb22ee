"""Sums over the numbers of large tensors in one pass, in double precision: what a federation makes of its replies."""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import torch
from torch import Tensor

from bitspike.kernels.cpu.compiled import compiled

LEAST = 1 << 12  # numbers below which a call costs more than the pass


def distance(one: Tensor, other: Tensor) -> float:
    """||one - other|| of two of one shape; infinite or NaN where a number is not finite."""
    if one.numel() < LEAST or not _single(one, other):
        return float(torch.linalg.vector_norm(one.double() - other.double()))
    return math.sqrt(_kernels()[0](one.reshape(-1).numpy(), other.reshape(-1).numpy()))


def add_scaled(total: Tensor, part: Tensor, factor: float) -> None:
    """total (N,) float64, in place: total + factor part (N,)."""
    if _single(part):
        _kernels()[1](total.numpy(), part.numpy(), factor)
    else:
        total.add_(part, alpha=factor)


def _single(*tensors: Tensor) -> bool:
    return all(t.dtype == torch.float32 and t.device.type == "cpu" and not t.requires_grad for t in tensors)


@cache
def _kernels() -> tuple[Any, ...]:
    # Squares may be added up in any order, so that the loop is vectorised; the order is the same in every call.
    return compiled(_squares, fastmath={"reassoc", "contract"}), compiled(_add)


def _squares(one: Any, other: Any) -> Any:
    total = 0.0
    for i in range(len(one)):
        difference = 1.0 * one[i] - 1.0 * other[i]  # Numba's float() leaves single precision as it is
        total += difference * difference
    return total


def _add(total: Any, part: Any, factor: Any) -> None:
    for i in range(len(total)):
        total[i] += factor * part[i]
