"""Large arrays that are used again: a new one costs a page fault for every 4 KB, more than the work on it.

A tensor from `empty` looks like any other. When its last reference goes, its memory goes back to a pool of arrays of
the same size instead of to the system, up to POOLED bytes in all. What it held is not erased.
"""

from __future__ import annotations

import math
import threading
import weakref
from collections import defaultdict
from typing import Any

import torch
from torch import Tensor

SMALLEST = 1 << 20  # bytes; below, the C library's own pools do
POOLED = 1 << 30  # bytes
GRAIN = 1 << 15  # values: what torch never shares out among threads

_lock = threading.RLock()
_free: dict[int, list[Any]] = defaultdict(list)
_pooled = 0


def empty(shape: torch.Size | tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """An uninitialised CPU tensor."""
    size = math.prod(shape) * dtype.itemsize
    if size < SMALLEST:
        return torch.empty(shape, dtype=dtype)
    import numpy as np

    memory = _take(size)
    if memory is None:
        memory = np.empty(size, dtype=np.uint8)
    # The tensor keeps this view alive, not the memory itself: when the view dies, the memory is free.
    view = memory[:]
    weakref.finalize(view, _give_back, memory).atexit = False
    return torch.from_numpy(view).view(dtype).view(shape)


def zeros(shape: torch.Size | tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """A CPU tensor of zeros, made on this thread alone: torch would share out work that takes microseconds."""
    made = empty(shape, dtype)
    made.numpy().fill(0)
    return made


def zeros_like(like: Tensor, dtype: torch.dtype) -> Tensor:
    """As torch.zeros_like, on this thread alone, unless it is being compiled."""
    made = torch.empty_like(like, dtype=dtype)
    if made.device.type != "cpu" or not made.is_contiguous() or torch.compiler.is_compiling():
        return made.zero_()
    for part in made.view(-1).split(GRAIN):
        part.zero_()
    return made


def unchanging(x: Tensor) -> bool:
    """Whether x is one step, expanded over time (stride 0)."""
    return x.ndim > 1 and x.shape[0] > 1 and x.stride(0) == 0


def rows_of(x: Tensor) -> tuple[Tensor, int]:
    """x for a loop over time, contiguous, and 1; of an x that does not change over time one step, and 0."""
    still = unchanging(x)
    return (x[:1] if still else x).detach().contiguous(), int(not still)


def copy(a: Tensor) -> Tensor:
    """A contiguous copy of a CPU tensor, without its gradient, made on this thread alone."""
    made = empty(a.shape, a.dtype)
    made.numpy()[...] = a.detach().numpy()
    return made


def release() -> None:
    """Give all free memory back to the system."""
    global _pooled
    with _lock:
        _free.clear()
        _pooled = 0


def pooled() -> int:
    """Bytes that wait to be used again."""
    return _pooled


def _take(size: int) -> Any:
    global _pooled
    with _lock:
        if not _free[size]:
            return None
        _pooled -= size
        return _free[size].pop()


def _give_back(memory: Any) -> None:
    global _pooled
    size = memory.nbytes
    with _lock:
        # The oldest sizes go first: a network that is no longer trained must not keep its memory.
        while _pooled + size > POOLED and any(_free.values()):
            oldest = next(s for s, kept in _free.items() if kept)
            _free[oldest].pop()
            _pooled -= oldest
        if _pooled + size <= POOLED:
            _free[size].append(memory)
            _pooled += size
