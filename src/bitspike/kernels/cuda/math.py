"""Division, floor, exp, expm1 and log1p for generated Triton kernels, in float32 and float64.

    a / b    rounded to nearest (Triton's `/` is approximate in float32)
    exp(x)   = 2^k (1 + q),  k = round(x / ln 2),  q = expm1(x - k ln 2) by its series
    expm1(x) = 2^k q + (2^k - 1)
    log1p(x) = k ln 2 + 2 atanh(s),  1 + x = 2^k (1 + f),  s = f / (2 + f), with the rounding of 1 + x corrected

exp, expm1 and log1p are within 3 units in the last place. Triton's own exp and log are not used in float32: on a GPU
they are the hardware's approximations (2^x and log2 x, some 20 bits). Formulas are those of `cpu_math`. A number in
the source takes the dtype of the tensor it meets. Imported by generated modules only, since it needs triton.
"""

# Triton compiles a function's annotations too, and would not know their names.
# mypy: allow-untyped-defs, allow-untyped-calls

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any, TypeVar

tl: Any = importlib.import_module("triton.language")
Function = TypeVar("Function", bound=Callable[..., Any])


def jit(function: Function) -> Function:
    """triton.jit, with a type."""
    made: Function = importlib.import_module("triton").jit(function)
    return made


@jit
def divide(a, b):
    """a / b, rounded to nearest."""
    if a.dtype == tl.float32:
        result = tl.div_rn(a, b)
    else:
        result = a / b
    return result


@jit
def floor(x):
    """The largest integer not above x."""
    whole = tl.floor(x)
    # In float32 a GPU flushes small numbers to zero first, which would lift a negative one.
    return tl.where(whole > x, whole - 1.0, whole)


@jit
def power_of_two(k, x):
    """2^k in the dtype of x, for an integer k within the range of normal numbers."""
    if x.dtype == tl.float32:
        result = ((k + 127) << 23).to(tl.float32, bitcast=True)
    else:
        result = ((k + 1023) << 52).to(tl.float64, bitcast=True)
    return result


@jit
def reduced(x):
    """k, as an integer as wide as x, and expm1(x - k ln 2); x is clamped to where exp is finite or rounds to 0."""
    if x.dtype == tl.float32:
        x = tl.where(x < -104.0, -104.0, tl.where(x > 89.0, 89.0, x))
    else:
        x = tl.where(x < -746.0, -746.0, tl.where(x > 710.0, 710.0, x))
    # nan, which has no integer, becomes 0; exp and expm1 put it back.
    x = tl.where(x == x, x, 0.0)
    k = tl.floor(x * 1.4426950408889634 + 0.5)
    # ln 2 in two parts, the first short enough for an exact product with k.
    r = (x - k * 0.693359375) - k * -2.1219444005469058e-4
    if x.dtype == tl.float32:
        series = 1 / 5040 + r * (1 / 40320)
        whole = k.to(tl.int32)
    else:
        series = 1 / 479001600 + r * (1 / 6227020800 + r * (1 / 87178291200))
        series = 1 / 362880 + r * (1 / 3628800 + r * (1 / 39916800 + r * series))
        series = 1 / 5040 + r * (1 / 40320 + r * series)
        whole = k.to(tl.int64)
    series = 1 / 24 + r * (1 / 120 + r * (1 / 720 + r * series))
    return whole, r + r * r * (1 / 2 + r * (1 / 6 + r * series))


@jit
def exp(x):
    """exp(x)."""
    k, q = reduced(x)
    half = k >> 1
    # In two factors, so that 2^k may leave the range of normal numbers.
    value = ((q + 1.0) * power_of_two(half, x)) * power_of_two(k - half, x)
    return tl.where(x == x, value, x)


@jit
def expm1(x):
    """exp(x) - 1, accurate near 0."""
    k, q = reduced(x)
    half = k >> 1
    low = power_of_two(half, x)
    high = power_of_two(k - half, x)
    value = (q * low) * high + (low * high - 1.0)
    # For a large k the -1 is below the last place, and 2^k alone may be infinite where the product is not.
    value = tl.where(k > 60, ((q + 1.0) * low) * high, value)
    # The series at 0 would lose the sign of -0.
    return tl.where((x == x) & (x != 0.0), value, x)


@jit
def log1p(x):
    """log(1 + x), accurate near 0; -inf at -1, nan below."""
    u = x + 1.0
    lost = x - (u - 1.0)
    if x.dtype == tl.float32:
        # Of another number where there is no logarithm, so that no integer overflows.
        bits = tl.where(u > 0.0, u, 1.0).to(tl.int32, bitcast=True)
        # Take the mantissa from [sqrt(1/2), sqrt(2)): 0x3F3504F3 is sqrt(1/2).
        k = (bits - 0x3F3504F3) >> 23
        f = (bits - (k << 23)).to(tl.float32, bitcast=True) - 1.0
        s = tl.div_rn(f, f + 2.0)
        z = s * s
        series = s * 2.0 + (s * 2.0) * z * (1 / 3 + z * (1 / 5 + z * (1 / 7 + z * (1 / 9))))
        n = k.to(tl.float32)
        value = n * 0.693359375 + (series + (n * -2.1219444005469058e-4 + tl.div_rn(lost, u)))
    else:
        # In float64 the logarithm is accurate on a GPU as well.
        value = tl.log(u) + lost / u
    value = tl.where((x == float("inf")) | (x == 0.0), x, value)
    value = tl.where(x == -1.0, float("-inf"), value)
    return tl.where(x >= -1.0, value, float("nan"))
