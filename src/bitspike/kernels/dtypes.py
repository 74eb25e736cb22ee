"""In which dtype neurons and layers compute, whatever dtype their input has.

| input                     | computed in                  | answered in                                        |
| ------------------------- | ---------------------------- | -------------------------------------------------- |
| float64, float32          | as it is                     | as it is                                           |
| float16, bfloat16, float8 | float32: membranes need it   | the input's dtype                                  |
| integers, booleans        | the default dtype            | the default dtype: spikes of the frames as floats  |
| complex numbers           | refused                      |                                                    |

An input that is float32 or float64 already goes through without a pass over it. States stay in the computing dtype.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from bitspike.errors import refuse
from bitspike.kernels.cpu.buffers import unchanging, zeros_like

WIDE = (torch.float32, torch.float64)


def computing_dtype(dtype: torch.dtype) -> torch.dtype:
    """The dtype that an input of `dtype` is computed in."""
    if dtype in WIDE:
        return dtype
    if dtype.is_floating_point:
        return torch.float32
    if dtype.is_complex:
        refuse("input dtype", dtype, "real numbers")
    try:
        torch.iinfo(dtype)
    except TypeError:
        if dtype is not torch.bool:
            refuse("input dtype", dtype, "floating-point numbers, integers or booleans")
    default = torch.get_default_dtype()
    return default if default in WIDE else torch.float32


def once(f: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """f(x), step by step; of an x that does not change over time computed once, and a view again."""
    if unchanging(x):
        y = f(x[:1])
        return y.expand(len(x), *y.shape[1:])
    return f(x)


def computing(x: Tensor) -> Tensor:
    """x in its computing dtype; an input that does not change over time (stride 0) stays a view."""
    if x.dtype in WIDE:
        return x
    dtype = computing_dtype(x.dtype)
    return once(lambda part: part.to(dtype), x)


def given_back(y: Tensor, dtype: torch.dtype) -> Tensor:
    """What was computed for an input of `dtype`, in that dtype where it is a floating one."""
    if y.dtype == dtype or not dtype.is_floating_point:
        return y
    return once(lambda part: part.to(dtype), y)


def at_least_single(value: Any) -> Any:
    """A constant kept in half precision as float32: what is computed from it needs the digits. Others as they are."""
    half = isinstance(value, Tensor) and value.dtype not in WIDE and value.dtype.is_floating_point
    return value.float() if half else value


def mixed(product: Callable[[Tensor, Tensor], Tensor], x: Tensor, weight: Tensor) -> Tensor:
    """product(x, weight) as torch makes it, for operands of two dtypes too: in the wider one, answered in x's.

    Beside integers that is the weight's. Autocast brings floating operands to one dtype itself.
    """
    if x.dtype == weight.dtype or (x.is_floating_point() and torch.is_autocast_enabled(x.device.type)):
        return product(x, weight)
    computing_dtype(x.dtype)  # refuses what is no real number
    wide = torch.promote_types(x.dtype, weight.dtype)
    return given_back(product(x.to(wide), weight.to(wide)), x.dtype)


def rest(like: Tensor) -> Tensor:
    """Zeros of like's shape and order in memory, in its computing dtype: a state at rest."""
    return zeros_like(like, computing_dtype(like.dtype))
