"""Whether examples differ at all: a set, or a class, of equal examples is mostly one that was read wrongly."""

from __future__ import annotations

import torch
from torch import Tensor

from bitspike.data.base import DataSet

ROWS = 1024


def all_equal(x: Tensor) -> bool:
    """Whether the examples x (N, ...) are equal, at least two of them."""
    if len(x) < 2 or not torch.equal(x[0], x[1]):
        return False
    return all(bool((rows == x[0]).all()) for rows in x.split(ROWS))


def equal_examples(dataset: DataSet) -> tuple[str, ...]:
    """A line if all training examples are equal; else one for each class of which they are."""
    x, y = dataset.train.x, dataset.train.y
    if not isinstance(x, Tensor):
        return ()
    if all_equal(x):
        return (f"all {len(x):,} training examples are equal: nothing can be learnt from them",)
    if dataset.per_step:
        return ()
    lines = []
    for number, name in enumerate(dataset.classes):
        where = (y == number).nonzero()[:, 0]
        # Two first, so that the examples of a class are copied only if these are equal.
        if all_equal(x[where[:2]]) and all_equal(x[where]):
            lines.append(f"all {len(where):,} training examples of class {name!r} are equal")
    return tuple(lines)
