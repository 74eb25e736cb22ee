"""What was found in a person's file or folder, before it is split and normalised."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from bitspike.data.base import Events, InputKind, ends_of, longer
from bitspike.data.targets import Given
from bitspike.errors import refuse


@dataclass(frozen=True)
class Found:
    """N examples as they stand: x (N, *shape) or (N, T, *shape) (raw) or `Events`, and y.

    time: x has a time axis; lengths: int64 (N,) of its sequences, None if all have T steps; groups: a name for each
    example; normalisation: of x, applied already (None: fitted on the training part); tested: the last examples are
    those of a test file; columns, target_column, aside, audio, sensor: as `DataSet` has them.
    """

    source: str
    x: Tensor | Events
    y: Given
    input: InputKind
    digests: dict[str, str]
    time: bool = False
    lengths: Tensor | None = None
    groups: list[str] | None = None
    padding: str | None = None
    normalisation: dict[str, Any] | None = None
    tested: int = 0
    columns: tuple[str, ...] | None = None
    target_column: dict[str, Any] | None = None
    aside: tuple[str, ...] = ()
    audio: dict[str, Any] | None = None
    sensor: dict[str, Any] | None = None
    notes: tuple[str, ...] = ()

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one example, without time."""
        return tuple(self.x.shape) if isinstance(self.x, Events) else tuple(self.x.shape[2 if self.time else 1 :])


def joined(one: Found, other: Found) -> tuple[Tensor, Tensor | None, Found]:
    """x, lengths and the second table with its columns in the order of the first; both must be of one kind."""
    x: Any = one.x
    y: Any = other.x
    if one.columns is not None and other.columns is not None and one.columns != other.columns:
        if set(one.columns) != set(other.columns) or len(one.columns) != x.shape[-1]:
            refuse(other.source, f"columns {', '.join(other.columns)}", f"those of {one.source}")
        y = y[..., [other.columns.index(name) for name in one.columns]]
    same = one.shape == other.shape and one.time == other.time
    if not same or (one.time and one.lengths is None and other.lengths is None and x.shape[1] != y.shape[1]):
        refuse(f"{other.source} x", f"shape {tuple(y.shape)}", f"the shape of {one.source}, {tuple(x.shape)}")
    if (one.groups is None) != (other.groups is None):
        refuse(other.source, "no groups", f"those of {one.source}")
    lengths = None
    if one.time:
        if one.lengths is not None or other.lengths is not None:
            lengths = torch.cat([ends_of(x, one.lengths), ends_of(y, other.lengths)])
        steps = max(x.shape[1], y.shape[1])
        x, y = longer(x, steps), longer(y, steps)
    dtype = torch.promote_types(x.dtype, y.dtype)
    return torch.cat([x.to(dtype), y.to(dtype)]), lengths, replace(other, x=y)
