"""Elementwise loops of the LMU's cell, compiled by Numba; see `lmu_steps` and `lmu_chunks`.

The order of operations is that of `neurons.quantiser.quantiser_step` and of the reference loop in `lmu`, so that
counts are equal bit for bit. Arrays are of one time step, (B, units), or (units,). d is the order of one memory: unit
c of a row belongs to signal c // d. One called `low` and what comes from a product may be bfloat16, seen as uint16.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types
from numba.extending import overload, register_jitable

from bitspike.kernels.cpu.compiled import Loop, compiled, joined
from bitspike.kernels.cpu.math import expm1


def loose(function: Loop) -> Loop:
    """`joined`, for gradients: sums may take any order."""
    return compiled(function, fastmath={"contract", "reassoc"})


def real(v: Any) -> Any:
    """A number of a product: itself, or the float32 of bfloat16 bits."""
    return v


def put(a: Any, c: int, v: Any) -> None:
    """a[c] = v, rounded to bfloat16 where a is of its bits."""
    a[c] = v


@overload(real, inline="always")
def _real(v: Any) -> Any:
    # Numba wants the implementation's parameter to be annotated as this one's.
    def same(v: Any) -> Any:
        return v

    def widened(v: Any) -> Any:
        return np.uint32(np.uint32(v) << np.uint32(16)).view(np.float32)

    return widened if isinstance(v, types.Integer) else same


@overload(put)
def _put(a: Any, c: Any, v: Any) -> Any:
    def same(a: Any, c: Any, v: Any) -> Any:
        a[c] = v

    def rounded(a: Any, c: Any, v: Any) -> Any:
        bits = np.float32(v).view(np.uint32)
        half = np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))  # to the nearest, ties to even
        a[c] = np.uint16((bits + half) >> np.uint32(16))

    return rounded if isinstance(a.dtype, types.Integer) else same


@register_jitable
def _rounded(low: Any, row: int, y: Any) -> None:
    """low[row] = y, where there is a `low`."""
    if len(low) > 0:
        to = low[row]
        for c in range(len(y)):
            put(to, c, y[c])


@register_jitable
def _send(r: Any, dt: Any, v: Any, y: Any) -> None:
    """y = r quantised; v: carry, updated in place."""
    one, zero = v.dtype.type(1), v.dtype.type(0)
    for c in range(len(r)):
        e = dt[c] * r[c]
        whole = np.floor(e)
        rest = e - whole
        up = one if rest >= one else zero
        w = v[c] + (rest - up)
        more = one if w >= one else zero
        v[c] = w - more
        y[c] = (whole + up + more) / dt[c]


@register_jitable
def _clip(r: Any, bound: Any) -> None:
    for c in range(len(r)):
        r[c] = min(max(r[c], -bound[c]), bound[c])


@register_jitable
def _write(raw: Any, u: Any, by_h: Any, by_m: Any, b: Any, r: Any) -> None:
    """r = raw + (u + by_h + by_m) b, for a row."""
    d = len(b)
    for k in range(len(u)):
        s = (u[k] + by_h[k]) + by_m[k]
        given, to = raw[k * d : (k + 1) * d], r[k * d : (k + 1) * d]
        for i in range(d):
            to[i] = real(given[i]) + s * b[i]


@register_jitable
def _within(r: Any, bound: Any, inside: Any) -> None:
    for c in range(len(r)):
        inside[c] = (r[c] >= -bound[c]) & (r[c] <= bound[c])


@compiled
def memory_static(raw: Any, u: Any, by_h: Any, by_m: Any, b: Any, bound: Any, y: Any, low: Any, inside: Any) -> None:
    """y = raw + (u + by_h + by_m) b, clipped to +-bound (inside: where it was not)."""
    for row in range(raw.shape[0]):
        out = y[row]
        _write(raw[row], u[row], by_h[row], by_m[row], b, out)
        _within(out, bound, inside[row])
        _clip(out, bound)
        _rounded(low, row, out)


@compiled
def memory_quantised(
    raw: Any, u: Any, by_h: Any, by_m: Any, b: Any, bound: Any, y: Any, low: Any, inside: Any, dt: Any, leak: Any,
    v: Any, held: Any,
) -> None:  # fmt: skip
    """As `memory_static` of raw + leak held, then quantised. v: carry and held: r - y, both updated in place."""
    r = np.empty_like(bound)
    for row in range(raw.shape[0]):
        rest, out = held[row], y[row]
        _write(raw[row], u[row], by_h[row], by_m[row], b, r)
        for c in range(len(r)):
            r[c] += leak[c] * rest[c]
        _within(r, bound, inside[row])
        _clip(r, bound)
        _send(r, dt, v[row], out)
        for c in range(len(r)):
            rest[c] = r[c] - out[c]
        _rounded(low, row, out)


@compiled
def add_products(current: Any, by_h: Any, by_m: Any) -> None:
    """current += by_h, then by_m."""
    for row in range(current.shape[0]):
        to, one, other = current[row], by_h[row], by_m[row]
        for c in range(len(to)):
            to[c] = (to[c] + real(one[c])) + real(other[c])


@register_jitable
def tanh_row(x: Any) -> None:
    """x = tanh(x), within 3 units in the last place, by e = expm1(2 x): e / (e + 2)."""
    two, most = x.dtype.type(2), x.dtype.type(20)  # beyond which it is 1 in both dtypes
    for c in range(len(x)):
        z = min(max(x[c], -most), most)
        e = expm1(z + z)
        x[c] = e / (e + two)


@joined
def tanh_of(x: Any) -> None:
    """x = tanh(x), for all rows."""
    for row in range(x.shape[0]):
        tanh_row(x[row])


@register_jitable
def _slope(z: Any, bound: Any, slope: Any) -> None:
    """1 - z z, or 0 where |z| was clipped."""
    one, zero = z.dtype.type(1), z.dtype.type(0)
    for c in range(len(z)):
        put(slope, c, one - z[c] * z[c] if abs(z[c]) <= bound[c] else zero)


@compiled
def hidden_static(z: Any, bound: Any, y: Any, low: Any, slope: Any) -> None:
    """y = z clipped to +-bound; slope: tanh's, 1 - z z, or 0 where clipped."""
    for row in range(z.shape[0]):
        out = y[row]
        _slope(z[row], bound, slope[row])
        for c in range(len(out)):
            out[c] = z[row, c]
        _clip(out, bound)
        _rounded(low, row, out)


@compiled
def hidden_quantised(z: Any, bound: Any, y: Any, low: Any, slope: Any, dt: Any, v: Any) -> None:
    """As `hidden_static`, then quantised; z is clipped in place. v: carry, updated in place."""
    for row in range(z.shape[0]):
        _slope(z[row], bound, slope[row])
        _clip(z[row], bound)
        _send(z[row], dt, v[row], y[row])
        _rounded(low, row, y[row])


@loose
def hidden_gradient(by_a: Any, gu: Any, e_h: Any, gy: Any, slope: Any, ga: Any, low: Any) -> None:
    """ga = (by_a + gu e_h + gy) slope."""
    for row in range(ga.shape[0]):
        g, given, above, steep = ga[row], by_a[row], gy[row], slope[row]
        for c in range(len(g)):
            g[c] = real(given[c]) + above[c]
        _add_signals(g, gu[row], e_h)
        for c in range(len(g)):
            g[c] *= real(steep[c])
        _rounded(low, row, g)


@register_jitable
def _add_signals(g: Any, gu: Any, weight: Any) -> None:
    for k in range(len(gu)):
        size, line = gu[k], weight[k]
        for c in range(len(g)):
            g[c] += size * line[c]


@loose
def memory_gradient(
    by_a: Any, by_m: Any, gu: Any, e_m: Any, inside: Any, b: Any, gm: Any, low: Any, gu_now: Any
) -> None:
    """gm = by_a + by_m + gu e_m, 0 where clipped; gu_now = gm b, per signal."""
    d, zero = len(b), gm.dtype.type(0)
    for row in range(gm.shape[0]):
        g, one, other, open_ = gm[row], by_a[row], by_m[row], inside[row]
        for c in range(len(g)):
            g[c] = real(one[c]) + real(other[c])
        _add_signals(g, gu[row], e_m)
        for c in range(len(g)):
            g[c] = g[c] if open_[c] else zero
        _rounded(low, row, g)
        for k in range(gu.shape[1]):
            total, part = zero, g[k * d : (k + 1) * d]
            for i in range(d):
                total += part[i] * b[i]
            gu_now[row, k] = total


@joined
def chunk_step(k: int, by_h: Any, z: Any, lags: Any, u: Any, y: Any, to: int, low: Any, slope: Any) -> None:
    """Step k of a chunk: u[:, :, k] (B, K, C), and y = low[:, to] = tanh of the current. See `lmu_chunks`.

    by_h: (B, V), V = H + K; z: (B, C, V), what the input and the memory before the chunk give; lags: (C, K, V);
    slope: (B, C, H), or without rows where nobody wants it.
    """
    hidden, signals = y.shape[1], u.shape[1]
    one = y.dtype.type(1)
    for row in range(y.shape[0]):
        given, base, out, rounded = by_h[row], z[row, k], y[row], low[row, to]
        for s in range(signals):
            total = real(given[hidden + s]) + base[hidden + s]
            for j in range(k):
                for r in range(signals):
                    total += u[row, r, j] * lags[k - j, r, hidden + s]
            u[row, s, k] = total
        for c in range(hidden):
            out[c] = real(given[c]) + base[c]
        for j in range(k + 1):
            for r in range(signals):
                size, response = u[row, r, j], lags[k - j, r]
                for c in range(hidden):
                    out[c] += size * response[c]
        tanh_row(out)
        for c in range(hidden):
            put(rounded, c, out[c])
        if len(slope) > 0:
            steep = slope[row, k]
            for c in range(hidden):
                put(steep, c, one - out[c] * out[c])


@loose
def chunk_gradient(
    k: int, by_next: Any, gy: Any, at: int, h: Any, is_slope: bool, lags: Any, gu: Any, g: Any, low: Any
) -> None:
    """Adjoint of `chunk_step`: low[:, k] (B, C, V) = ga and gu of step k, and its share of gu (B, K, C) before.

    h[:, at]: the step's output, or its slope where `is_slope`; g: (H,), room for a row.
    """
    hidden, signals = len(g), gu.shape[1]
    one = g.dtype.type(1)
    for row in range(gy.shape[0]):
        given, own, seen, rounded = by_next[row], gy[row], h[row, at], low[row, k]
        if is_slope:
            for c in range(hidden):
                g[c] = (real(given[c]) + own[c]) * real(seen[c])
        else:
            for c in range(hidden):
                a = real(seen[c])
                g[c] = (real(given[c]) + own[c]) * (one - a * a)
        for c in range(hidden):
            put(rounded, c, g[c])
        for j in range(k + 1):
            for r in range(signals):
                total, response = g.dtype.type(0), lags[k - j, r]
                for c in range(hidden):
                    total += g[c] * response[c]
                gu[row, r, j] += total
        for s in range(signals):
            size = gu[row, s, k]
            put(rounded, hidden + s, size)
            for j in range(k):
                for r in range(signals):
                    gu[row, r, j] += size * lags[k - j, r, hidden + s]
