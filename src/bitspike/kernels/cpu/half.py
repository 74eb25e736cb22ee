"""bfloat16 in compiled loops: Numba has no such type, so its bits come as uint16; float32 arrays work the same."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numba import types
from numba.extending import overload
from torch import Tensor

from bitspike.kernels.cpu.math import _as_bits, _as_float

u32 = np.uint32


def array(x: Tensor) -> Any:
    """x (float32 or bfloat16) as an array for `value` and `put`; shares its memory."""
    x = x.detach()
    return x.view(torch.uint16).numpy() if x.dtype == torch.bfloat16 else x.numpy()


def value(x: Any, i: Any) -> Any:
    """x[i] as float32; in compiled loops only."""
    raise NotImplementedError


def put(x: Any, i: Any, v: Any) -> None:
    """x[i] = v, to the nearest, ties to even; in compiled loops only."""
    raise NotImplementedError


@overload(value, inline="always")
def _value(x: Any, i: Any) -> Any:
    def wide(x: Any, i: Any) -> Any:
        return x[i]

    def half(x: Any, i: Any) -> Any:
        return _as_float(np.int32(np.int32(x[i]) << np.int32(16)))

    return half if x.dtype == types.uint16 else wide


@overload(put, inline="always")
def _put(x: Any, i: Any, v: Any) -> Any:
    def wide(x: Any, i: Any, v: Any) -> None:
        x[i] = v

    def half(x: Any, i: Any, v: Any) -> None:
        bits = u32(_as_bits(v))
        near = u32(u32(bits + u32(0x7FFF) + u32(u32(bits >> u32(16)) & u32(1))) >> u32(16))
        # A NaN would round to infinity, or beyond it.
        x[i] = np.uint16(near if v == v else u32(0x7FC0))

    return half if x.dtype == types.uint16 else wide
