"""Soft-LIF rates, their slopes and their training noise in one pass over memory, in float32.

What `soft_lif` and `soft_lif_noise` say, arranged for few divisions and exponentials, with e = exp(-|a|):

    log(1 + exp(a))  = max(a, 0) + 2 atanh(e / (2 + e))
    log(1 + 1/j)     = k log 2 + 2 atanh((1 - (2^k - 1) j) / (1 + (2^k + 1) j)),   2^k nearest to (1 + j)/j
    1 - qr           = (1 + j (1 - exp(-tau_ref/tau_rc))) / (1 + j)

atanh by its series. A block of values goes through four short loops, each of which fits the vector registers, by way
of arrays that stay in the first-level cache. j counts as 1e12 at most and 1e-30 at least, a period as 1e6 s at most.
x and the gradient may be bfloat16, given as the uint16 of their bits.

Held to the equations, computed in float64, by tests/neurons/test_soft_lif_fused.py.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba.extending import register_jitable

from bitspike.kernels.cpu.compiled import joined
from bitspike.kernels.cpu.draws import BLOCK, f, index, normal, uniform
from bitspike.kernels.cpu.half import put, value
from bitspike.kernels.cpu.math import LN2_HIGH, LN2_LOW, LOG2E, _as_bits, _as_float

NONE, GAUSSIAN, ALPHA, ALPHA_RC = range(4)
EXPONENTIAL = tuple(f(1 / math.factorial(n)) for n in range(2, 8))
ATANH = tuple(f(1 / n) for n in (3, 5, 7, 9, 11, 13))
LOG2, ONE, TWO = f(math.log(2)), f(1.0), f(2.0)
LEAST, MOST, LONGEST = f(1e-30), f(1e12), f(1e6)
FAR_BELOW, NO_MORE = f(-20.0), f(-87.0)


@register_jitable
def _parts(x: Any) -> Any:
    """(exp(x) - 2^k, 2^k) for x <= 0; below -87 as at -87."""
    x = NO_MORE if x < NO_MORE else x
    k = np.floor(x * LOG2E + f(0.5))
    r = (x - k * LN2_HIGH) - k * LN2_LOW
    a, b, c, d, e, g = EXPONENTIAL
    q = r + r * r * (a + r * (b + r * (c + r * (d + r * (e + r * g)))))
    power = _as_float(np.int32((np.int32(k) + np.int32(127)) << np.int32(23)))
    return q * power, power


@register_jitable
def _exp(x: Any) -> Any:
    rest, power = _parts(x)
    return rest + power


@register_jitable
def _less(x: Any) -> Any:
    """1 - exp(x), accurate near 0."""
    rest, power = _parts(x)
    return (ONE - power) - rest


@joined
def rates(
    lo: int, hi: int, x: Any, y: Any, slope: Any, keeps: int, kind: int, key0: Any, key1: Any, c: Any
) -> None:  # fmt: skip
    """Blocks lo..hi-1 of x: noisy rates into y and, if asked to keep them, noiseless slopes df/dx into slope.

    c: what `soft_lif_fused.numbers` gives, float32.
    """
    slope_in, offset, gamma, log_gamma, tau_ref, tau_rc = c[0], c[1], c[2], c[3], c[4], c[5]
    amplitude, spread, per_tau_s, per_tau_rc, lost = c[6], c[7], c[8], c[9], c[10]
    first, second, rise = c[11], c[12], c[13]
    s3, s5, s7, s9, s11, s13 = ATANH
    u, period = np.empty(BLOCK, np.float32), np.empty(BLOCK, np.float32)
    current, steep = np.empty(BLOCK, np.float32), np.empty(BLOCK, np.float32)
    values = np.empty(BLOCK, np.float32)
    for block in range(lo, hi):
        base = index(block * BLOCK)
        size = index(min(BLOCK, len(y) - block * BLOCK))
        if kind == GAUSSIAN:
            normal(block, u, key0, key1)
        elif kind != NONE:
            uniform(block, u, key0, key1)
        for i in range(index(0), size):
            a = value(x, base + i) * slope_in + offset
            e = _exp(-abs(a))
            r = ONE / ((TWO + e) * (ONE + e))
            s = e * (ONE + e) * r
            z = s * s
            series = ONE + z * (s3 + z * (s5 + z * (s7 + z * (s9 + z * (s11 + z * s13)))))
            j = gamma * ((a if a > f(0.0) else f(0.0)) + TWO * s * series)
            logistic = (ONE if a > f(0.0) else e) * (TWO + e) * r
            j = MOST if j > MOST else j
            j = LEAST if j < LEAST else j
            k = np.int32((_as_bits(ONE + j) - _as_bits(j) + np.int32(0x400000)) >> np.int32(23))
            power = _as_float(np.int32((k + np.int32(127)) << np.int32(23)))
            below = ONE + (power + ONE) * j
            product = j * (ONE + j)
            r = ONE / (below * product)
            s = (ONE - (power - ONE) * j) * product * r
            z = s * s
            logarithm = f(k) * LOG2 + TWO * s * (ONE + z * (s3 + z * (s5 + z * (s7 + z * s9))))
            falls = gamma * logistic * below * r
            far = a < FAR_BELOW
            p = tau_ref + tau_rc * (-a - log_gamma if far else logarithm)
            period[i] = LONGEST if p > LONGEST else p
            current[i] = j
            values[i] = a
            steep[i] = (ONE if far else falls) * rise
        if kind == NONE:
            for i in range(index(0), size):
                rate = ONE / period[i]
                y[base + i] = amplitude * rate
                steep[i] *= rate * rate
        elif kind == GAUSSIAN:
            for i in range(index(0), size):
                rate = ONE / period[i]
                noisy = amplitude * rate + spread * u[i]
                noisy = f(0.0) if noisy < f(0.0) else noisy
                y[base + i] = noisy if values[i] > f(0.0) else amplitude * rate
                steep[i] *= rate * rate
        elif kind == ALPHA:
            for i in range(index(0), size):
                p = period[i]
                t = u[i] * p
                off = _less(-p * per_tau_s)
                left = _exp(-t * per_tau_s)
                both = ONE / (p * off)
                per_off, rate = both * p, both * off
                bracket = t * off + p * (ONE - off)
                y[base + i] = first * left * bracket * per_off * per_off
                steep[i] *= rate * rate
        else:
            for i in range(index(0), size):
                p, j = period[i], current[i]
                t = u[i] * p
                off = _less(-p * per_tau_s)
                left = _exp(-t * per_tau_s)
                slow = _exp(-t * per_tau_rc)
                ends = ONE + j * lost
                both = ONE / (p * (off * ends))
                share = both * p
                rate = both * (off * ends)
                slow = slow * (ONE + j) * off * share
                left = left * ends * share
                bracket = (t * off + p * (ONE - off)) * ends * share
                y[base + i] = first * (slow - left) - second * bracket * left
                steep[i] *= rate * rate
        if keeps:
            for i in range(index(0), size):
                slope[base + i] = steep[i]


@joined
def times(lo: int, hi: int, gy: Any, slope: Any, gx: Any) -> None:
    """gx = gy slope, values lo..hi-1."""
    for i in range(index(lo), index(hi)):
        put(gx, i, gy[i] * slope[i])
