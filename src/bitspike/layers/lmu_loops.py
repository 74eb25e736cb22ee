"""Elementwise loops of the LMU's cell, in the plain Python that Numba compiles; see `lmu_scan`.

The order of operations is that of `neurons.quantiser.quantiser_step` and of the reference loop in `lmu`, so that
counts are equal bit for bit. All arrays are (B, units) or (units,); `span` is the order d of one memory, and unit
c of a row belongs to signal c // span.
"""

from __future__ import annotations

from typing import Any

import numpy as np


def memory_static(raw: Any, u: Any, b: Any, span: int, y: Any) -> None:
    """y = raw + u b."""
    for row in range(raw.shape[0]):
        for k in range(u.shape[1]):
            s = u[row, k]
            for i in range(span):
                y[row, k * span + i] = raw[row, k * span + i] + s * b[i]


def memory_quantised(
    raw: Any, u: Any, b: Any, span: int, dt: Any, bound: Any, leak: Any, v: Any, held: Any, y: Any, inside: Any
) -> None:
    """r = raw + u b + leak held, clipped to +-bound (inside: where it was not); y = its quantised value.

    v: carry and held: r - y, both updated in place.
    """
    one, zero = v.dtype.type(1), v.dtype.type(0)
    for row in range(raw.shape[0]):
        for k in range(u.shape[1]):
            s = u[row, k]
            for i in range(span):
                c = k * span + i
                r = raw[row, c] + s * b[i] + leak[c] * held[row, c]
                limit = bound[c]
                inside[row, c] = (r >= -limit) & (r <= limit)
                r = min(max(r, -limit), limit)
                e = dt[c] * r
                whole = np.floor(e)
                rest = e - whole
                up = one if rest >= one else zero
                w = v[row, c] + (rest - up)
                more = one if w >= one else zero
                out = (whole + up + more) / dt[c]
                v[row, c] = w - more
                held[row, c] = r - out
                y[row, c] = out


def hidden_quantised(h: Any, dt: Any, bound: Any, v: Any, y: Any) -> None:
    """y = h clipped to +-bound and quantised; v: carry, updated in place."""
    one, zero = v.dtype.type(1), v.dtype.type(0)
    for row in range(h.shape[0]):
        for c in range(h.shape[1]):
            e = dt[c] * min(max(h[row, c], -bound[c]), bound[c])
            whole = np.floor(e)
            rest = e - whole
            up = one if rest >= one else zero
            w = v[row, c] + (rest - up)
            more = one if w >= one else zero
            v[row, c] = w - more
            y[row, c] = (whole + up + more) / dt[c]


def hidden_gradient(g: Any, h: Any, bound: Any) -> None:
    """h becomes g f'(a) = g (1 - h h), 0 where |h| was clipped."""
    one = h.dtype.type(1)
    for row in range(h.shape[0]):
        for c in range(h.shape[1]):
            z = h[row, c]
            h[row, c] = g[row, c] * (one - z * z) * (abs(z) <= bound[c])


def keep_inside(g: Any, inside: Any) -> None:
    """g = 0 where a memory was clipped."""
    for row in range(g.shape[0]):
        for c in range(g.shape[1]):
            g[row, c] = g[row, c] * inside[row, c]
