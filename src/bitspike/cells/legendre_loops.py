"""Between chunks of steps (n B, C, H) and time (T, B, H), compiled by Numba; see `legendre_readings`."""

from __future__ import annotations

from typing import Any

from bitspike.cells.lmu_loops import tanh_row
from bitspike.kernels.cpu.compiled import joined


@joined
def to_time(lo: int, hi: int, chunks: Any, tanh: bool, y: Any) -> None:
    """y[c C + k, b] = f(chunks[c B + b, k]) for rows lo..hi."""
    steps, batch, _ = y.shape
    size = chunks.shape[1]
    for row in range(lo, hi):
        first, b = (row // batch) * size, row % batch
        for k in range(min(size, steps - first)):
            to, given = y[first + k, b], chunks[row, k]
            for c in range(len(to)):
                to[c] = given[c]
            if tanh:
                tanh_row(to)


@joined
def from_time(lo: int, hi: int, gy: Any, y: Any, tanh: bool, g: Any) -> None:
    """Adjoint of `to_time`, 0 after the end; gy: (T, B, H), or one step for all."""
    steps, batch, _ = y.shape
    one = g.dtype.type(1)
    for row in range(lo, hi):
        first, b = (row // batch) * g.shape[1], row % batch
        for k in range(g.shape[1]):
            to = g[row, k]
            if first + k >= steps:
                to[:] = 0
                continue
            above, z = gy[(first + k) if len(gy) > 1 else 0, b], y[first + k, b]
            if tanh:
                for c in range(len(to)):
                    to[c] = above[c] * (one - z[c] * z[c])
            else:
                for c in range(len(to)):
                    to[c] = above[c]
