"""Rows of a stack, and batches of several rows as one."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

Rows = slice | Tensor
"""Some rows of a stack: neighbours, or their numbers."""


def part(stack: Tensor, rows: Rows) -> Tensor:
    """Those rows: a view of neighbours, else a copy, which `put_back` puts where it came from."""
    return stack[rows] if isinstance(rows, slice) else stack.index_select(0, rows)


def put_back(stack: Tensor, rows: Rows, some: Tensor) -> None:
    """What has become of `part(stack, rows)`."""
    if not isinstance(rows, slice):
        stack.index_copy_(0, rows, some)


def each(values: Sequence[float], like: Tensor) -> float | Tensor:
    """A number for each row of `like`: one where all are equal, else (R, 1, ...)."""
    if len(set(values)) == 1:
        return values[0]
    return torch.tensor(values, dtype=torch.float64).to(like).view(-1, *(1,) * (like.ndim - 1))


def rows_of(numbers: Sequence[int], device: torch.device) -> Rows:
    """Rows of these numbers, ascending: a slice where they are neighbours."""
    first, last = numbers[0], numbers[-1]
    if last - first + 1 == len(numbers):
        return slice(first, last + 1)
    return torch.tensor(numbers, device=device)


def together(events: Sequence[Tensor], targets: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor | None]:
    """Batches as events (R, T, B, *features) and targets (R, B, ...); bool (R, B): examples that are there, where some
    are not. A current that does not change stays a view."""
    steps, sizes = len(events[0]), [batch.shape[1] for batch in events]
    still = steps > 1 and all(batch.stride(0) == 0 for batch in events)
    shown = [batch[:1] if still else batch for batch in events]
    counted = None
    if len(set(sizes)) > 1:
        most = max(sizes)
        counted = torch.arange(most, device=targets[0].device) < torch.tensor(sizes, device=targets[0].device)[:, None]
        shown = [_filled(batch, most, 1) for batch in shown]
        targets = [_filled(batch, most, 0) for batch in targets]
    x = torch.stack(list(shown))
    return x.expand(-1, steps, *x.shape[2:]) if still else x, torch.stack(list(targets)), counted


def _filled(batch: Tensor, size: int, dim: int) -> Tensor:
    """With zeros behind its examples."""
    missing = size - batch.shape[dim]
    shape = [*batch.shape[:dim], missing, *batch.shape[dim + 1 :]]
    return torch.cat([batch, batch.new_zeros(shape)], dim) if missing else batch
