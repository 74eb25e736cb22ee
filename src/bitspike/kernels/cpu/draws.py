"""Large draws inside compiled loops: the numbers of `draws.uniform` and `draws.normal`, made where they are used.

A block of 2 `draws.HALF` values comes from `draws.HALF` counters; `normal` is computed in float32, so it may differ
from `draws.normal` in its last bits.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba.extending import register_jitable

from bitspike.draws import HALF, PARITY, ROTATIONS
from bitspike.kernels.cpu.math import LN2_HIGH, LN2_LOW, _as_bits, _as_float

f, u32, index = np.float32, np.uint32, np.uintp
BLOCK = 2 * HALF
SHARE = f(2.0**-24)
TURNS = tuple(u32(turn) for turn in ROTATIONS)
MIX = u32(PARITY)
HALF_PI = f(math.pi / 2)
ATANH = tuple(f(1 / n) for n in (3, 5, 7, 9))
SINE = tuple(f((-1) ** n / math.factorial(2 * n + 1)) for n in range(1, 5))
COSINE = tuple(f((-1) ** n / math.factorial(2 * n)) for n in range(1, 5))


@register_jitable
def _round(x: Any, y: Any, turn: Any) -> Any:
    x = u32(x + y)
    return x, u32(u32(u32(y << turn) | u32(y >> u32(u32(32) - turn))) ^ x)


@register_jitable
def words(x: Any, y: Any, key0: Any, key1: Any) -> Any:
    """`draws.threefry` of one counter."""
    key2 = u32(u32(key0 ^ key1) ^ MIX)
    a, b, c, d, e, g, h, k = TURNS
    x, y = u32(x + key0), u32(y + key1)
    x, y = _round(x, y, a)
    x, y = _round(x, y, b)
    x, y = _round(x, y, c)
    x, y = _round(x, y, d)
    x, y = u32(x + key1), u32(y + u32(key2 + u32(1)))
    x, y = _round(x, y, e)
    x, y = _round(x, y, g)
    x, y = _round(x, y, h)
    x, y = _round(x, y, k)
    x, y = u32(x + key2), u32(y + u32(key0 + u32(2)))
    x, y = _round(x, y, a)
    x, y = _round(x, y, b)
    x, y = _round(x, y, c)
    x, y = _round(x, y, d)
    x, y = u32(x + key0), u32(y + u32(key1 + u32(3)))
    return _round(x, y, e)


@register_jitable
def uniform(block: int, u: Any, key0: Any, key1: Any) -> None:
    """u (BLOCK,) float32: values block * BLOCK onwards."""
    for i in range(index(0), index(HALF)):
        # 2^32 counters are 2^33 values: more than an array of them holds.
        x, y = words(u32(index(block * HALF) + i), u32(0), key0, key1)
        u[i] = f(np.int32(x >> u32(8))) * SHARE
        u[index(HALF) + i] = f(np.int32(y >> u32(8))) * SHARE


@register_jitable
def _minus_log(v: Any) -> Any:
    """-log(v), 2^-24 <= v <= 1."""
    bits = _as_bits(v)
    # Take the mantissa from [sqrt(1/2), sqrt(2)): 0x3f3504f3 is sqrt(1/2).
    k = np.int32((bits - np.int32(0x3F3504F3)) >> np.int32(23))
    m = _as_float(np.int32(bits - np.int32(k << np.int32(23))))
    s = (m - f(1.0)) / (m + f(1.0))
    z = s * s
    a, b, c, d = ATANH
    series = f(2.0) * s * (f(1.0) + z * (a + z * (b + z * (c + z * d))))
    return -(f(k) * LN2_HIGH + (series + f(k) * LN2_LOW))


@register_jitable
def normal(block: int, u: Any, key0: Any, key1: Any) -> None:
    """u (BLOCK,) float32: values block * BLOCK onwards."""
    uniform(block, u, key0, key1)
    a, b, c, d = SINE
    e, g, h, k = COSINE
    for i in range(index(0), index(HALF)):
        length = np.sqrt(f(2.0) * _minus_log(f(1.0) - u[i]))
        turn = u[index(HALF) + i] * f(4.0)
        quarter = np.floor(turn + f(0.5))
        q = np.int32(quarter)
        angle = (turn - quarter) * HALF_PI
        z = angle * angle
        sine = angle * (f(1.0) + z * (a + z * (b + z * (c + z * d))))
        cosine = f(1.0) + z * (e + z * (g + z * (h + z * k)))
        odd = (q & np.int32(1)) == np.int32(1)
        x = sine if odd else cosine
        y = cosine if odd else sine
        x = -x if ((q + np.int32(1)) & np.int32(2)) == np.int32(2) else x
        y = -y if (q & np.int32(2)) == np.int32(2) else y
        u[i] = length * x
        u[index(HALF) + i] = length * y
