"""Batches filled up with rows of zeros, so that batches of several networks are one stack (`learners.stacked`).

Layers that treat examples alone need not know: what such a row gives enters no loss. Batch statistics leave it out.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor

_now: list[Tensor | None] = [None]


@contextmanager
def filled_up(there: Tensor | None) -> Iterator[None]:
    """Inside, `there` (B,) is 1 for each example of the batch that is one, and 0 for others (None: all are)."""
    _now.append(there)
    try:
        yield
    finally:
        _now.pop()


def examples_there() -> Tensor | None:
    """Which rows (B,) of the batch are examples; None where all are."""
    return _now[-1]
