"""Spikes in one bit each: eight values of a float tensor that is 0 or 1 everywhere, packed into one byte.

Value i of the flattened tensor is bit i % 8 of byte i // 8.
"""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

from bitspike.kernels import threads


class Packed(NamedTuple):
    """Bits (uint8, flat) of a tensor of `shape`, which had `dtype`."""

    bits: Tensor
    shape: torch.Size
    dtype: torch.dtype


def pack(x: Tensor) -> Packed | None:
    """The bits of x (any shape), or None if x holds anything but 0 and 1."""
    if x.device.type != "cpu" or x.dtype not in (torch.float32, torch.float64):
        return _pack_anywhere(x)
    flat = x.detach().contiguous().view(-1).numpy()
    # Two passes that both run in vectors: values to bytes of 0 and 1, and bytes to bits.
    flags = torch.empty(x.numel(), dtype=torch.uint8).numpy()
    wrong = torch.zeros(1, dtype=torch.int64).numpy()
    kernel = _kernels()[0]
    threads.run(lambda lo, hi: kernel(lo, hi, flat, flags, wrong), x.numel(), x.numel())
    if wrong[0]:
        return None
    import numpy as np

    return Packed(torch.from_numpy(np.packbits(flags, bitorder="little")), x.shape, x.dtype)


def unpack(packed: Packed) -> Tensor:
    """The tensor that was packed."""
    bits, shape, dtype = packed
    if bits.device.type != "cpu" or dtype not in (torch.float32, torch.float64):
        shifts = torch.arange(8, device=bits.device, dtype=torch.uint8)
        values = (bits.unsqueeze(-1) >> shifts) & 1
        return values.flatten()[: shape.numel()].view(shape).to(dtype)
    x = torch.empty(shape, dtype=dtype)
    flat = x.view(-1).numpy()
    kernel = _kernels()[1]
    threads.run(lambda lo, hi: kernel(lo, hi, bits.numpy(), flat), len(bits), x.numel())
    return x


def _pack_anywhere(x: Tensor) -> Packed | None:
    flat = x.detach().flatten()
    if not bool(((flat == 0) | (flat == 1)).all()):
        return None
    padded = torch.zeros((len(flat) + 7) // 8 * 8, dtype=torch.uint8, device=x.device)
    padded[: len(flat)] = flat.to(torch.uint8)
    shifts = torch.arange(8, device=x.device, dtype=torch.uint8)
    return Packed((padded.view(-1, 8) << shifts).sum(1, dtype=torch.uint8), x.shape, x.dtype)


@cache
def _kernels() -> tuple[Any, Any]:
    import numba
    import numpy as np

    def flag(lo: Any, hi: Any, x: Any, flags: Any, wrong: Any) -> None:
        bad = np.int32(0)
        for i in range(np.uintp(lo), np.uintp(hi)):
            one = x[i] == 1
            flags[i] = np.uint8(one)
            bad |= np.int32((x[i] != 0) & (not one))
        if bad:
            wrong[0] = 1

    def unpack_bytes(lo: Any, hi: Any, bits: Any, x: Any) -> None:
        whole = min(hi, len(x) // 8)
        for i in range(lo, whole):
            byte = bits[i]
            for b in range(8):
                x[8 * i + b] = (byte >> b) & 1
        for i in range(max(lo, whole), hi):
            for b in range(len(x) - 8 * i):
                x[8 * i + b] = (bits[i] >> b) & 1

    options: dict[str, Any] = {"nogil": True, "cache": True, "error_model": "numpy"}
    return numba.njit(**options)(flag), numba.njit(**options)(unpack_bytes)
