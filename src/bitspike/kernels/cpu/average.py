"""Averages over 2 x 2 windows of planes, and their gradient: PyTorch's own take ten times as long on planes.

    y[h, w]               = (x[2h, 2w] + x[2h, 2w + 1] + x[2h + 1, 2w] + x[2h + 1, 2w + 1]) / 4, added up in this order
    gx[2h + a, 2w + b]    = gy[h, w] / 4,                                          0 where no whole window is filled

Both are PyTorch's, bit for bit.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor

from bitspike.kernels.cpu import threads
from bitspike.kernels.cpu.buffers import empty
from bitspike.kernels.cpu.compiled import compiled


def averages(x: Tensor) -> Tensor:
    """x (N, C, H, W), float32 or float64 in main memory, to (N, C, H // 2, W // 2)."""
    y = empty((*x.shape[:2], x.shape[2] // 2, x.shape[3] // 2), x.dtype)
    _over_planes(_kernels()[0], x.detach().contiguous(), y)
    return y


def spread(gy: Tensor, shape: torch.Size) -> Tensor:
    """dL/dx, of `shape` (N, C, H, W), from dL/dy."""
    gx = empty(shape, gy.dtype)
    if shape[2] % 2 or shape[3] % 2:
        gx.zero_()
    _over_planes(_kernels()[1], gy.contiguous(), gx)
    return gx


def _over_planes(kernel: Any, given: Tensor, made: Tensor) -> None:
    arrays = [part.flatten(0, 1).numpy() for part in (given, made)]
    threads.run(lambda lo, hi: kernel(lo, hi, *arrays), len(arrays[0]), given.numel(), lanes=1)


@cache
def _kernels() -> tuple[Any, Any]:
    return compiled(_average), compiled(_spread)


def _average(begin: int, end: int, x: Any, y: Any) -> None:
    quarter = y.dtype.type(0.25)
    for n in range(begin, end):
        for h in range(y.shape[1]):
            for w in range(y.shape[2]):
                total = (x[n, 2 * h, 2 * w] + x[n, 2 * h, 2 * w + 1]) + x[n, 2 * h + 1, 2 * w]
                y[n, h, w] = (total + x[n, 2 * h + 1, 2 * w + 1]) * quarter


def _spread(begin: int, end: int, gy: Any, gx: Any) -> None:
    quarter = gy.dtype.type(0.25)
    for n in range(begin, end):
        for h in range(gy.shape[1]):
            for w in range(gy.shape[2]):
                part = gy[n, h, w] * quarter
                gx[n, 2 * h, 2 * w] = part
                gx[n, 2 * h, 2 * w + 1] = part
                gx[n, 2 * h + 1, 2 * w] = part
                gx[n, 2 * h + 1, 2 * w + 1] = part
