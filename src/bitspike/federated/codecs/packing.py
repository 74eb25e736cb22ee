"""Whole numbers of a few bits, one behind the other in bytes: the most significant bit of a number first."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def pack(values: Tensor, width: int) -> Tensor:
    """Whole numbers (N,) from 0 to 2^width - 1 as uint8 (bytes_of(N, width),); bits behind the last are 0."""
    numbers = values.flatten().to(torch.int64).numpy()
    places = np.arange(width - 1, -1, -1)
    return torch.from_numpy(np.packbits(((numbers[:, None] >> places) & 1).astype(np.uint8)))


def unpack(packed: Tensor, count: int, width: int) -> Tensor:
    """The inverse: int64 (count,)."""
    bits = np.unpackbits(packed.numpy(), count=count * width).reshape(count, width).astype(np.int64)
    return torch.from_numpy(bits @ (1 << np.arange(width - 1, -1, -1)))


def bytes_of(count: int, width: int) -> int:
    """Bytes of `count` numbers."""
    return -(-count * width // 8)
