"""Numbers too small to be normal ones (below 1.2e-38 in single precision) count as 0 while a loop runs.

Traces that decay and chances near 0 come to such numbers, and their squares do sooner. Intel's processors take some
150 cycles for each operation on one; as 0 they cost what others cost, and change no sum that holds a number of use.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

_LEAST = 5e-324  # not a constant of `is_flushed`, which Python would compute ahead


def is_flushed() -> bool:
    """Whether this thread takes subnormal numbers as 0."""
    return _LEAST * 1.0 == 0.0


@contextmanager
def flushed() -> Iterator[None]:
    """Inside, the thread that entered takes subnormal numbers as 0, where its processor can; then as it did before."""
    before = is_flushed()
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(before)
