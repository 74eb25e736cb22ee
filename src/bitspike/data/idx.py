"""The idx format of MNIST: big-endian 0, 0, type (8 = unsigned byte), D, then D sizes of 4 bytes, then values.

Source: Y. LeCun, C. Cortes, C. J. C. Burges, "The MNIST database of handwritten digits".
"""

from __future__ import annotations

import gzip
import zlib
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bitspike.errors import refuse

UNSIGNED_BYTE = 8
PIECE = 1 << 20


def read_idx(path: Path, dimensions: int) -> Tensor:
    """The uint8 array of `dimensions` axes in an idx file, plain or gzip-compressed (name ending in .gz).

    No more is read (and unpacked) than the sizes in its head call for.
    """
    head = 4 + 4 * dimensions
    magic = bytes([0, 0, UNSIGNED_BYTE, dimensions])
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as stream:
            start = stream.read(head)
            if start[:4] != magic:
                _at_most(stream, 16 * PIECE)  # a damaged gzip file says so a little later
                refuse(str(path), f"magic number 0x{start[:4].hex()}", f"0x{magic.hex()} ({dimensions}-d bytes)")
            if len(start) < head:
                refuse(str(path), f"{len(start)} bytes", f"at least {head} (truncated or of another kind)")
            sizes = [int(size) for size in np.frombuffer(start[4:], dtype=">u4")]
            data = _at_most(stream, prod(sizes) + 1)
    except (EOFError, gzip.BadGzipFile, zlib.error):
        refuse(str(path), "a damaged or truncated gzip file", "a whole one (fetch it again)")
    except OSError as error:
        refuse(str(path), error.strerror or "an unreadable file", "a readable idx file")
    if len(data) != prod(sizes):
        more = "more than " if len(data) > prod(sizes) else ""
        came = f"{more}{head + min(len(data), prod(sizes))} bytes"
        refuse(str(path), came, f"{head + prod(sizes)} for sizes {sizes} (truncated or of another kind)")
    return torch.from_numpy(np.frombuffer(data, dtype=np.uint8).reshape(sizes))


def _at_most(stream: Any, count: int) -> bytearray:
    """Up to `count` bytes, piece by piece: a false size then asks for no memory."""
    data = bytearray()
    while len(data) < count and (piece := stream.read(min(PIECE, count - len(data)))):
        data += piece
    return data


def write_idx(path: Path, values: Tensor) -> None:
    """Write a uint8 tensor as an idx file, gzip-compressed if the name ends in .gz."""
    head = bytes([0, 0, UNSIGNED_BYTE, values.ndim]) + np.array(values.shape, dtype=">u4").tobytes()
    data = head + values.numpy().astype(np.uint8).tobytes()
    path.write_bytes(gzip.compress(data, mtime=0) if path.suffix == ".gz" else data)
