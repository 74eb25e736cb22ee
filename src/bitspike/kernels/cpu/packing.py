"""Spikes in one bit each: eight values of a float tensor that is 0 or 1 everywhere, packed into one byte.

Value i of the flattened tensor is bit i % 8 of byte i // 8.
"""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

from bitspike.kernels.cpu import threads
from bitspike.kernels.cpu.compiled import compiled

BLOCK = 4096  # values that stay in the first-level cache between values and bits


class Packed(NamedTuple):
    """Bits (uint8, flat) of a tensor of `shape`, which had `dtype`."""

    bits: Tensor
    shape: torch.Size
    dtype: torch.dtype


def pack(x: Tensor) -> Packed | None:
    """The bits of x (any shape), or None if x holds anything but 0 and 1."""
    whole = x.numel() // 8
    if x.device.type != "cpu" or x.dtype not in (torch.float32, torch.float64) or not whole:
        return _pack_anywhere(x)
    flat = x.detach().contiguous().view(-1)
    end = _pack_anywhere(flat[8 * whole :])
    if end is None:
        return None
    bits = torch.empty(whole + len(end.bits), dtype=torch.uint8)
    bits[whole:] = end.bits
    wrong = torch.zeros(1, dtype=torch.int64)
    arrays, kernel = (flat.numpy(), bits.numpy(), wrong.numpy()), _kernels()[0]
    threads.run(lambda lo, hi: kernel(lo, hi, *arrays), whole, x.numel())
    return None if wrong else Packed(bits, x.shape, x.dtype)


def unpack(packed: Packed, rows: slice | None = None, dtype: torch.dtype | None = None) -> Tensor:
    """The tensor that was packed, or these of its rows (first dimension), in its own dtype or in another."""
    bits, shape, own = packed
    first, last, _ = (rows or slice(None)).indices(shape[0] if shape else 1)
    row = shape[1:].numel()
    shape = torch.Size((last - first, *shape[1:])) if shape else shape
    start, count = first * row, shape.numel()
    part = bits[start // 8 : (start + count + 7) // 8]
    if bits.device.type == "cpu":
        values = torch.empty(8 * len(part), dtype=torch.int8)
        _, kernel, table = _kernels()
        arrays = (part.numpy(), values.view(torch.int64).numpy(), table)
        threads.run(lambda lo, hi: kernel(lo, hi, *arrays), len(part), len(values))
    else:
        shifts = torch.arange(8, device=bits.device, dtype=torch.uint8)
        values = ((part.unsqueeze(-1) >> shifts) & 1).flatten().view(torch.int8)
    return values[start % 8 :][:count].view(shape).to(dtype or own)


def _pack_anywhere(x: Tensor) -> Packed | None:
    flat = x.detach().flatten()
    if not bool(((flat == 0) | (flat == 1)).all()):
        return None
    padded = torch.zeros((len(flat) + 7) // 8 * 8, dtype=torch.uint8, device=x.device)
    padded[: len(flat)] = flat.to(torch.uint8)
    shifts = torch.arange(8, device=x.device, dtype=torch.uint8)
    return Packed((padded.view(-1, 8) << shifts).sum(1, dtype=torch.uint8), x.shape, x.dtype)


@cache
def _kernels() -> tuple[Any, Any, Any]:
    import numpy as np

    def pack_bytes(lo: Any, hi: Any, x: Any, bits: Any, wrong: Any) -> None:
        flags = np.empty(BLOCK, np.uint8)
        words = flags.view(np.uint64)
        bad = np.int32(0)
        for first in range(lo, hi, BLOCK // 8):
            last = min(first + BLOCK // 8, hi)
            part = x[8 * first : 8 * last]
            # Two loops that both run in vectors: values to bytes of 0 and 1, and eight bytes to one of bits.
            for i in range(np.uintp(len(part))):
                one = part[i] == 1
                flags[i] = np.uint8(one)
                bad |= np.int32((part[i] != 0) & (not one))
            for i in range(np.uintp(last - first)):
                # The product's top byte: byte i of the word, moved by 56 - 7 i places, is its bit i.
                bits[first + i] = (words[i] * np.uint64(0x0102040810204080)) >> np.uint64(56)
        if bad:
            wrong[0] = 1

    def unpack_bytes(lo: Any, hi: Any, bits: Any, words: Any, table: Any) -> None:
        for i in range(np.uintp(lo), np.uintp(hi)):
            words[i] = table[bits[i]]

    # Eight values, as one word, of every byte.
    table = np.unpackbits(np.arange(256, dtype=np.uint8), bitorder="little").view(np.int64)
    return compiled(pack_bytes), compiled(unpack_bytes), table
