"""Tables of a CSV: wide, a row is an example; long (columns `example` and `t`), a row is one step of one example."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from bitspike.data.cells import NAMES, SERIES_NAMES, TARGET_NAMES, Rows, read_rows
from bitspike.errors import refuse

__all__ = ["NAMES", "SERIES_NAMES", "TARGET_NAMES", "Rows", "Series", "is_long", "long_columns", "long_series", "pick"]
__all__ += ["padded", "read_rows"]


def is_long(rows: Rows) -> bool:
    """Whether the header names both `example` and `t`, once each."""
    return all(len(rows.find(frozenset({name}))) == 1 for name in SERIES_NAMES)


def pick(rows: Rows, names: Sequence[str], aside: Collection[str]) -> list[int]:
    """The columns called `names`, in that order; beside them only names `aside` (lower case, met in any) may stand."""
    header = rows.header or []
    for name in names:
        if header.count(name) != 1:
            came = f"{header.count(name)} columns {name!r}" if name in header else f"no column {name!r}"
            refuse(rows.source, came, "each column of training once, by name")
    unknown = [name for name in header if name not in names and name.lower() not in aside]
    if unknown:
        refuse(rows.source, f"an unknown column {unknown[0]!r}", "only the columns of training, by name")
    return [header.index(name) for name in names]


def long_columns(rows: Rows, aside: Collection[int]) -> list[int]:
    """The columns of values of a long form: all but `example`, `t` and those `aside` (target, group)."""
    return [i for i in range(rows.width) if i not in (*rows.find(SERIES_NAMES), *aside)]


def padded(values: Tensor, lengths: Tensor, steps: int) -> Tensor:
    """Rows (sum of lengths, *) of one sequence after the other as (N, steps, *), zeros behind the ends."""
    out = values.new_zeros(len(lengths), steps, *values.shape[1:])
    inside = torch.arange(steps) < lengths.unsqueeze(1)
    out[inside] = values
    return out


@dataclass(frozen=True)
class Series:
    """x (N, T, F), zeros behind the `lengths` (N,); rows: the number of each step's row, by example and in time."""

    x: Tensor
    lengths: Tensor
    rows: list[list[int]]
    names: list[str]
    notes: tuple[str, ...]

    def constant(self, table: Rows, column: int, per_step: str) -> list[str]:
        """The cell of each example in `column`, which must be the same at all its steps."""
        for name, which in zip(self.names, self.rows, strict=True):
            first = table.cells[which[0]][column]
            for i in sorted(which):
                if table.cells[i][column] != first:
                    wanted = f"{first!r} as in the rows above of example {name}{per_step}"
                    refuse(table.place(i, column), repr(table.cells[i][column]), wanted)
        return [table.cells[which[0]][column] for which in self.rows]


def long_series(rows: Rows, columns: list[int]) -> Series:
    """The sequences of a long form, each sorted by t; two rows of one example and time are refused."""
    (named,), (timed,) = (rows.find(frozenset({name})) for name in ("example", "t"))
    if not columns:
        refuse(rows.source, "no column of values beside example and t", "at least one")
    values, times = rows.numbers(columns), rows.numbers([timed])[:, 0].tolist()
    members: dict[str, list[int]] = {}
    for i, cells in enumerate(rows.cells):
        members.setdefault(cells[named], []).append(i)
    ordered = [sorted(which, key=lambda i: float(times[i])) for which in members.values()]
    gaps: set[float] = set()
    for name, which in zip(members, ordered, strict=True):
        for i, j in pairwise(which):
            if times[i] == times[j]:
                refuse(rows.place(max(i, j), timed), rows.cells[j][timed], f"each time once in example {name}")
            if len(gaps) < 100:
                gaps.add(round(times[j] - times[i], 9))
    notes = []
    if gaps and max(gaps) - min(gaps) > 0.01 * max(gaps):
        notes.append(f"{rows.source}: t is not evenly spaced; its order alone counts, one time step for each row")
    lengths = torch.tensor([len(which) for which in ordered])
    flat = values[torch.tensor([i for which in ordered for i in which])]
    return Series(padded(flat, lengths, int(lengths.max())), lengths, ordered, list(members), tuple(notes))
