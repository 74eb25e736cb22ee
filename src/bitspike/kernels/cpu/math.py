"""exp, expm1 and log1p that LLVM can turn into vector instructions, within 2 units in the last place in float32.

    exp(x)   = 2^k (1 + q),  k = round(x / ln 2),  q = expm1(x - k ln 2) by its series
    expm1(x) = 2^k q + (2^k - 1)
    log1p(x) = k ln 2 + f - (f^2/2 - s (f^2/2 + r)),  1 + x = 2^k (1 + f),  s = f / (2 + f),  r = 2 atanh(s)/s - 2,
               with the rounding of 1 + x corrected

In float64 the C library's functions are called.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic, overload, register_jitable

LOG2E = np.float32(1 / math.log(2))
LN2_HIGH = np.float32(0.693359375)
LN2_LOW = np.float32(math.log(2) - 0.693359375)
SERIES = tuple(np.float32(1 / math.factorial(n)) for n in range(2, 9))


def _float_of_bits(typing_context: Any, bits: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.bitcast(args[0], ir.FloatType())

    return types.float32(types.int32), generate


def _bits_of_float(typing_context: Any, value: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.bitcast(args[0], ir.IntType(32))

    return types.int32(types.float32), generate


_as_float: Any = intrinsic(_float_of_bits)
_as_bits: Any = intrinsic(_bits_of_float)


@register_jitable
def _power_of_two(k: Any) -> Any:
    """2^k for -126 <= k <= 127."""
    return _as_float(np.int32((k + np.int32(127)) << np.int32(23)))


@register_jitable
def _reduce(x: Any) -> Any:
    """k and expm1(x - k ln 2), for |x| < 105."""
    k = np.floor(x * LOG2E + np.float32(0.5))
    r = (x - k * LN2_HIGH) - k * LN2_LOW
    a, b, c, d, e, f, g = SERIES
    return np.int32(k), r + r * r * (a + r * (b + r * (c + r * (d + r * (e + r * (f + r * g))))))


@register_jitable
def _clamped(x: Any) -> Any:
    """x within the range where the results are finite or rounded to 0; 0 for nan."""
    x = np.float32(-104.0) if x < np.float32(-104.0) else x
    x = np.float32(89.0) if x > np.float32(89.0) else x
    return x if x == x else np.float32(0.0)


@register_jitable
def _exp(x: Any) -> Any:
    k, q = _reduce(_clamped(x))
    half = np.int32(k >> np.int32(1))
    # In two factors, so that 2^k may leave the range of normal numbers.
    value = ((np.float32(1.0) + q) * _power_of_two(half)) * _power_of_two(np.int32(k - half))
    return value if x == x else x


@register_jitable
def _expm1(x: Any) -> Any:
    k, q = _reduce(_clamped(x))
    half = np.int32(k >> np.int32(1))
    low, high = _power_of_two(half), _power_of_two(np.int32(k - half))
    # For k > 24 the -1 is below the last place; adding it to the scaled sum keeps 2^128 out of reach.
    value = q * low * high + (low * high - np.float32(1.0))
    large = (np.float32(1.0) + q) * low * high
    value = large if k > np.int32(30) else value
    return value if x == x else x


@register_jitable
def _log1p(x: Any) -> Any:
    u = np.float32(1.0) + x
    lost = x - (u - np.float32(1.0))
    bits = _as_bits(u)
    # Take the mantissa from [sqrt(1/2), sqrt(2)): 0x3f3504f3 is sqrt(1/2).
    k = np.int32((bits - np.int32(0x3F3504F3)) >> np.int32(23))
    f = _as_float(np.int32(bits - np.int32(k << np.int32(23)))) - np.float32(1.0)
    s = f / (np.float32(2.0) + f)
    z = s * s
    r = z * (np.float32(2 / 3) + z * (np.float32(2 / 5) + z * (np.float32(2 / 7) + z * np.float32(2 / 9))))
    half_square = np.float32(0.5) * f * f
    series = f - (half_square - s * (half_square + r))
    value = np.float32(k) * LN2_HIGH + (series + (np.float32(k) * LN2_LOW + lost / u))
    value = x if abs(x) < np.float32(1e-7) else value
    value = np.float32(np.inf) if x == np.float32(np.inf) else value
    value = np.float32(-np.inf) if x == np.float32(-1.0) else value
    return value if x >= np.float32(-1.0) else np.float32(np.nan)


def exp(x: float) -> float:
    """exp(x)."""
    return math.exp(x)


def expm1(x: float) -> float:
    """exp(x) - 1."""
    return math.expm1(x)


def log1p(x: float) -> float:
    """log(1 + x)."""
    return math.log1p(x)


def _overload(name: Any, single: Any, double: Any) -> None:
    @overload(name, inline="always")
    def choose(x: Any) -> Any:
        # Numba wants the implementation's parameter to be annotated as this one's.
        def in_float32(x: Any) -> Any:
            return single(x)

        def in_float64(x: Any) -> Any:
            return double(x)

        return in_float32 if x == types.float32 else in_float64


_overload(exp, _exp, math.exp)
_overload(expm1, _expm1, math.expm1)
_overload(log1p, _log1p, math.log1p)
