"""The loops over few-bit operands, in the plain Python that Numba compiles; `compiled` compiles one at first use.

Shapes: x (M, K) with entries in {0, 1} where it is called spikes; weights transposed, w_t (K, N); y (M, N);
g = dL/dy (M, N). Every loop takes a range lo..hi of the rows it writes, so that threads share the work and the
result does not depend on how many there are.

    sum_signs, sum_reals    y[m] = sum of w_t[k] over the k with x[m, k] = 1
    sum_gradients           w_grad_t[k] = sum of g[m] over the m with x[m, k] = 1
    split, combine          g[m] = scale[m] (256 high[m] + low[m]): two int8 digits of 16 bits, and back

A sum over spikes has the order that MKL's float32 product has on the processors measured: one term after the other
within blocks of 192, then block after block. Terms with x = 0 change nothing and those with x = 1 are not rounded,
so the result is the same bit for bit where torch uses that order, and has its error where it uses another.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from bitspike.kernels.cpu.compiled import compiled as kept

BLOCK = 192  # terms summed one by one before they join the total, as MKL does it; fits a uint8
LARGEST_INT8 = 127  # additions of +-1 that int8 holds
TOP = 32639  # 127 * 256 + 127: the largest number of two balanced digits


@cache
def compiled(function: Callable[..., None]) -> Callable[..., None]:
    """`function` compiled by Numba; kept on disk for later processes. Frees the interpreter lock."""
    # No fast-math: sums keep their order, so a run does not depend on the compiler's mood.
    return kept(function)


def spikes_to_int8(lo: int, hi: int, x: Any, out: Any, count: Any) -> None:
    """out = x as int8; count[m]: the ones in row m, or -1 where an entry is neither 0 nor 1."""
    for m in range(lo, hi):
        wrong, ones = 0, 0
        for k in range(x.shape[1]):
            v = x[m, k]
            wrong |= (v != 0) & (v != 1)
            out[m, k] = np.int8(v)
            ones += v != 0
        count[m] = -1 if wrong else ones


def signs_to_int8(lo: int, hi: int, x: Any, out: Any, count: Any) -> None:
    """out = x as int8; count[m] = -1 where an entry of row m is neither -1 nor 1, else the row's length."""
    for m in range(lo, hi):
        wrong = 0
        for k in range(x.shape[1]):
            v = x[m, k]
            wrong |= (v != -1) & (v != 1)
            out[m, k] = np.int8(v)
        count[m] = -1 if wrong else x.shape[1]


def integers_to_int8(lo: int, hi: int, x: Any, out: Any, count: Any) -> None:
    """out = x as int8; count[m] = -1 where an entry of row m is no integer of -127..127, else the row's length."""
    for m in range(lo, hi):
        wrong = 0
        for k in range(x.shape[1]):
            v = x[m, k]
            # The comparison is written so that NaN fails it.
            wrong |= (not (abs(v) <= 127)) | (np.rint(v) != v)
            out[m, k] = np.int8(v)
        count[m] = -1 if wrong else x.shape[1]


def to_float(lo: int, hi: int, sums: Any, out: Any) -> None:
    """out = sums (int32) as float32; `out` may be the same memory."""
    for m in range(lo, hi):
        for n in range(sums.shape[1]):
            out[m, n] = np.float32(sums[m, n])


def sum_signs(lo: int, hi: int, x: Any, w_t: Any, y: Any) -> None:
    """x int8 spikes, w_t int8 of +-1: sums in int8 over at most 127 spikes, then in float32, which is exact."""
    inputs, outputs = w_t.shape
    index = np.empty(inputs + 1, np.int32)
    part = np.empty(outputs, np.int8)
    for m in range(lo, hi):
        row, total = x[m], y[m]
        spikes = 0
        for k in range(inputs):
            # No branch: the place after the last spike is written over until a spike comes.
            index[spikes] = k
            spikes += row[k]
        for n in range(outputs):
            total[n] = 0
        start = 0
        while start < spikes:
            stop = min(start + LARGEST_INT8, spikes)
            for n in range(outputs):
                part[n] = 0
            j = start
            while j + 4 <= stop:
                a, b, c, d = w_t[index[j]], w_t[index[j + 1]], w_t[index[j + 2]], w_t[index[j + 3]]
                for n in range(outputs):
                    part[n] = np.int8(part[n] + a[n] + b[n] + c[n] + d[n])
                j += 4
            while j < stop:
                a = w_t[index[j]]
                for n in range(outputs):
                    part[n] = np.int8(part[n] + a[n])
                j += 1
            for n in range(outputs):
                total[n] += np.float32(part[n])
            start = stop


def sum_reals(lo: int, hi: int, x: Any, w_t: Any, y: Any) -> None:
    """x int8 spikes, w_t float32."""
    inputs, outputs = w_t.shape
    index = np.empty(BLOCK + 1, np.int32)
    part = np.empty(outputs, np.float32)
    for m in range(lo, hi):
        row, total = x[m], y[m]
        for first in range(0, max(inputs, 1), BLOCK):
            spikes = 0
            for k in range(first, min(first + BLOCK, inputs)):
                index[spikes] = k
                spikes += row[k]
            sums = total if first == 0 else part
            for n in range(outputs):
                sums[n] = 0
            j = 0
            while j + 4 <= spikes:
                a, b, c, d = w_t[index[j]], w_t[index[j + 1]], w_t[index[j + 2]], w_t[index[j + 3]]
                for n in range(outputs):
                    sums[n] = (((sums[n] + a[n]) + b[n]) + c[n]) + d[n]
                j += 4
            while j < spikes:
                a = w_t[index[j]]
                for n in range(outputs):
                    sums[n] += a[n]
                j += 1
            if first > 0 and spikes > 0:
                for n in range(outputs):
                    total[n] += part[n]


def sum_gradients(lo: int, hi: int, x: Any, g: Any, w_grad_t: Any) -> None:
    """x int8 spikes (M, K), g float32 (M, N), w_grad_t (K, N), of which rows lo..hi are written."""
    rows, outputs = g.shape
    width = hi - lo
    moments = np.empty((width, BLOCK), np.uint8)
    spikes = np.empty(width, np.uint32)
    index = np.empty(width + 1, np.uint32)
    part = np.empty(outputs, np.float32)
    for k in range(lo, hi):
        for n in range(outputs):
            w_grad_t[k, n] = 0
    for first in range(0, rows, BLOCK):
        last = min(first + BLOCK, rows)
        for i in range(width):
            spikes[i] = 0
        for m in range(first, last):
            row = x[m, lo:hi]
            here = np.uint8(m - first)
            count = 0
            for i in range(width):
                index[count] = i
                count += row[i]
            for j in range(count):
                k = index[j]
                moments[k, spikes[k]] = here
                spikes[k] += np.uint32(1)
        for i in range(width):
            stop = np.int64(spikes[i])
            if stop == 0:
                continue
            at = moments[i]
            for n in range(outputs):
                part[n] = 0
            j = 0
            while j + 4 <= stop:
                a, b = g[first + np.int64(at[j])], g[first + np.int64(at[j + 1])]
                c, d = g[first + np.int64(at[j + 2])], g[first + np.int64(at[j + 3])]
                for n in range(outputs):
                    part[n] = (((part[n] + a[n]) + b[n]) + c[n]) + d[n]
                j += 4
            while j < stop:
                a = g[first + np.int64(at[j])]
                for n in range(outputs):
                    part[n] += a[n]
                j += 1
            total = w_grad_t[lo + i]
            for n in range(outputs):
                total[n] += part[n]


def find_wild(lo: int, hi: int, bits: Any, found: Any) -> None:
    """found[m] = 1 where row m of a float32 array, seen as its int32 bits, holds NaN or infinity."""
    for m in range(lo, hi):
        wild = 0
        for n in range(bits.shape[1]):
            wild |= (bits[m, n] & 0x7F800000) == 0x7F800000
        found[m] = wild


def split(lo: int, hi: int, g: Any, scale: Any, high: Any, low: Any) -> None:
    """Two balanced int8 digits per value and a scale per row; a row with NaN or infinity gets scale NaN."""
    for m in range(lo, hi):
        largest = np.float32(0)
        wild = 0
        for n in range(g.shape[1]):
            size = abs(g[m, n])
            wild |= not (size < np.inf)
            largest = size if size > largest else largest
        step = largest / np.float32(TOP)
        # Below the smallest normal number the inverse overflows; such a row is zero to float32's own precision.
        inverse = np.float32(1) / step if step > np.float32(1.2e-38) else np.float32(0)
        scale[m] = np.float32(np.nan) if wild else step
        for n in range(g.shape[1]):
            whole = np.int32(np.rint(g[m, n] * inverse))
            upper = (whole + 128) >> 8
            high[m, n] = np.int8(upper)
            low[m, n] = np.int8(whole - (upper << 8))


def combine(lo: int, hi: int, high: Any, low: Any, scale: Any, out: Any) -> None:
    """out[m] = scale[m] (256 high[m] + low[m]) from the integer sums of both digits."""
    for m in range(lo, hi):
        s = scale[m]
        for n in range(out.shape[1]):
            out[m, n] = s * (np.float32(256) * np.float32(high[m, n]) + np.float32(low[m, n]))
