"""Numbers too small to be normal ones (below 1.2e-38 in single precision) as 0.

Traces that decay, chances near 0 and gradients that vanish over time come to such numbers, and their squares do sooner.
Intel's processors take some 150 cycles for each operation on one; as 0 they cost what others cost, and change no sum
that holds a number of use. The mode is a thread's: helpers of `threads` take over their caller's, OpenMP's do not.
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
def flushed(on: bool = True) -> Iterator[None]:
    """Inside, this thread takes subnormal numbers as 0 (on: False: as they are), where its processor can."""
    before = is_flushed()
    torch.set_flush_denormal(on)
    try:
        yield
    finally:
        torch.set_flush_denormal(before)
