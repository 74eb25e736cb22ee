"""The idx format of MNIST: big-endian 0, 0, type (8 = unsigned byte), D, then D sizes of 4 bytes, then values.

Source: Y. LeCun, C. Cortes, C. J. C. Burges, "The MNIST database of handwritten digits".
"""

from __future__ import annotations

import gzip
import zlib
from math import prod
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from bitspike.errors import refuse

UNSIGNED_BYTE = 8


def read_idx(path: Path, dimensions: int) -> Tensor:
    """The uint8 array of `dimensions` axes in an idx file, plain or gzip-compressed (name ending in .gz)."""
    try:
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (EOFError, gzip.BadGzipFile, zlib.error):
        refuse(str(path), "a damaged or truncated gzip file", "a whole one (fetch it again)")
    except OSError as error:
        refuse(str(path), error.strerror or "an unreadable file", "a readable idx file")
    head = 4 + 4 * dimensions
    magic = bytes([0, 0, UNSIGNED_BYTE, dimensions])
    if data[:4] != magic:
        refuse(str(path), f"magic number 0x{data[:4].hex()}", f"0x{magic.hex()} ({dimensions}-d bytes)")
    sizes = np.frombuffer(data[4:head], dtype=">u4").tolist() if len(data) >= head else []
    if len(sizes) != dimensions or len(data) != head + prod(sizes):
        wanted = f"{head + prod(sizes)} for sizes {sizes}" if sizes else f"at least {head}"
        refuse(str(path), f"{len(data)} bytes", f"{wanted} (truncated or of another kind)")
    return torch.from_numpy(np.frombuffer(data, dtype=np.uint8, offset=head).reshape(sizes).copy())


def write_idx(path: Path, values: Tensor) -> None:
    """Write a uint8 tensor as an idx file, gzip-compressed if the name ends in .gz."""
    head = bytes([0, 0, UNSIGNED_BYTE, values.ndim]) + np.array(values.shape, dtype=">u4").tobytes()
    data = head + values.numpy().astype(np.uint8).tobytes()
    path.write_bytes(gzip.compress(data, mtime=0) if path.suffix == ".gz" else data)
