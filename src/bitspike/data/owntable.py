"""One CSV or .npz of a person, as it stands."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bitspike.data import tables, targets
from bitspike.data.arrays import Arrays, read_npz
from bitspike.data.base import InputKind, longer
from bitspike.data.cells import check_first_row
from bitspike.data.found import Found
from bitspike.data.sources import sha256_of_file
from bitspike.errors import refuse

SUFFIXES = frozenset({".npz", ".csv", ".tsv"})


@dataclass(frozen=True)
class Reading:
    """How a table is to be read: options of `folder` of the same names."""

    time: bool = False
    steps: int | None = None
    group: str | int | None = None
    target_column: str | int | None = None
    per_step: bool = False
    padding: str | None = None
    target: targets.Target | None = None


def read_table(path: Path, how: Reading) -> Found:
    """The table at `path`; what it cannot have is refused by its option's name."""
    suffix = path.suffix.lower()
    if suffix == ".npz":
        if how.target_column is not None:
            refuse("folder option target_column", how.target_column, "it left out (an .npz names its arrays)")
        found = _from_npz(path, how)
    elif suffix in SUFFIXES:
        if how.padding is not None:
            refuse("folder option padding", how.padding, "it left out (an .npz would have it)")
        found = _from_csv(path, how)
    else:
        refuse("folder option path", path, "a folder of class folders, an .npz or a .csv file")
    x = found.x
    assert isinstance(x, Tensor)
    if (found.time and how.steps is not None and suffix == ".npz") or found.lengths is not None:
        steps = how.steps or x.shape[1]
        if found.lengths is None:
            refuse("folder option steps", how.steps, "it left out (an .npz has its T in the shape of x)")
        if steps < x.shape[1]:
            longest = f"at least {int(found.lengths.max())}, the steps of the longest sequence of {path}"
            if steps < int(found.lengths.max()):
                refuse("folder option steps", steps, longest)
            x = x[:, :steps]
        found = replace(found, x=longer(x, steps))
        if found.lengths is not None and bool((found.lengths == steps).all()):
            return replace(found, lengths=None)
    return found


def _from_npz(path: Path, how: Reading) -> Found:
    if isinstance(how.group, int):
        refuse("folder option group", how.group, f"the name of an array of {path}")
    arrays = read_npz(path, target=True, extra=() if how.group is None else (how.group,), padding=how.padding)
    if how.padding is not None and arrays.counted is not None:
        refuse("folder option padding", how.padding, f"it left out ({path} has {arrays.counted})")
    time = how.time or arrays.lengths is not None
    x = arrays.x
    if time and x.ndim < 2:
        refuse(f"{path} {arrays.x_name}", f"shape {tuple(x.shape)}", "(N, T, ...), as time = true says")
    if x.ndim == (2 if time else 1):
        x = x.unsqueeze(-1)
    groups = None
    if how.group is not None:
        some = arrays.others[how.group]
        if some.ndim == 2 and some.shape[1] == 1:
            some = some[:, 0]
        if some.ndim != 1 or some.dtype.kind not in "biufUS":
            refuse(f"{path} {how.group}", f"{some.dtype} of shape {some.shape}", "a name or number per example (N,)")
        groups = [str(value) for value in some.tolist()]
    y, digests = npz_targets(path, arrays, x, time, how), {path.name: sha256_of_file(path)}
    form: InputKind = "series" if time else "vector"
    return Found(str(path), x, y, form, digests, time, arrays.lengths, groups, how.padding, notes=arrays.notes)


def npz_targets(path: Path, arrays: Arrays, x: Tensor, time: bool, how: Reading) -> targets.Given:
    """y of an .npz: one for each example, or (N, T) or, beside one sequence after the other, (sum of lengths,)."""
    name = arrays.y_name
    assert name is not None
    y, field = arrays.others[name], f"{path} {name}"
    if y.ndim == 2 and y.shape[1] == 1 and (not time or x.shape[1] != 1):
        y = y[:, 0]
    steps = torch.arange(x.shape[1]) if time else torch.arange(0)
    lengths = arrays.lengths
    mask = np.ones((len(x), len(steps)), dtype=bool) if lengths is None else (steps < lengths.unsqueeze(1)).numpy()
    if arrays.ragged and len(y) != len(x):
        if y.ndim != 1:
            refuse(field, f"shape {y.shape}", "one label for each step of each sequence")
        out = np.zeros(mask.shape, dtype=y.dtype)
        out[mask] = y
        return targets.of_array(out, field, mask)
    labels = y.dtype.kind in "biuUS" or (
        how.target != "value" and y.dtype.kind == "f" and y.ndim == 2 and bool((y == np.round(y)).all())
    )
    each = y.ndim == 2 and time and y.shape == mask.shape and labels and how.target != "value"
    if y.ndim == 2 and not each and how.target != "value" and (y.dtype.kind in "biuUS" or how.per_step):
        if time:
            wanted = f"(N,), (N, {len(steps)}) for a label at each step, or target = 'value' for numbers"
            refuse(field, f"{y.dtype} of shape {y.shape}", wanted)
        wanted = "one label per example (N,); one for each step wants time = true, numbers want target = 'value'"
        refuse(field, f"{y.dtype} of shape {y.shape}", wanted)
    if how.per_step and not each:
        refuse("folder option per_step", "true", f"false, or labels (N, T) in {path}")
    return targets.of_array(y, field, mask if each else None)


def _from_csv(path: Path, how: Reading) -> Found:
    rows = tables.read_rows(path)
    column, by = _target_column(path, rows, how)
    group = None if how.group is None else rows.column(how.group, "group")
    if group == column:
        refuse("folder option group", how.group, "another column than the target's")
    long = tables.is_long(rows)
    aside = {column} if group is None else {column, group}
    columns = tables.long_columns(rows, aside) if long else [i for i in range(rows.width) if i not in aside]
    columns, counting, notes = _without_index(path, rows, columns)
    names, name, notes = None, None, [*rows.notes, *notes]
    if rows.header:
        names, name = tuple(rows.header[i] for i in columns), rows.header[column]
        if name in names:
            name = None
        if len(set(names)) < len(names):
            twice = next(entry for entry in names if names.count(entry) > 1)
            notes.append(f"{path.name}: two columns are called {twice!r}: new files are read by position")
            names = None
    if by is not None:
        notes.append(by)
    field = f"{path} column {rows.header[column] if rows.header else column + 1}"
    named = rows.header is not None and rows.header[column].lower() in ("label", "class")
    lengths, time = None, bool(long or how.time or how.steps)
    if long:
        series = tables.long_series(rows, columns)
        x, steps = series.x, series.x.shape[1]
        if not bool((series.lengths == steps).all()):
            lengths = series.lengths
        elif how.steps not in (None, steps):
            refuse("folder option steps", how.steps, f"{steps}, the time steps of each example in {path}")
        y = long_targets(rows, series, column, field, how.per_step, named)
        groups = None if group is None else series.constant(rows, group, "")
        notes += series.notes
    else:
        if how.per_step:
            refuse("folder option per_step", "true", f"false: {path} has no columns example and t")
        if not columns:
            refuse(str(path), "a single column", "columns of x and one of y, divided by , ; tab or |")
        x = rows.numbers(columns)
        if time:
            if len(columns) % (how.steps or 1):
                refuse("folder option steps", how.steps, f"a divisor of the {len(columns)} columns of x in {path}")
            x = x.reshape(len(x), how.steps or len(columns), -1)
        cells = [cells[column] for cells in rows.cells]
        y = targets.of_cells(
            cells, field, lambda i: rows.place(i, column), named=named, decimal_comma=rows.decimal_comma
        )
        if how.target != "value":
            check_first_row(rows, column)
        groups = None if group is None else [cells[group] for cells in rows.cells]
    beside = [*([] if group is None else [group]), *counting]
    # A file without names of columns has no group either: the place is that among x and y alone.
    place = None if long else column - sum(i < column for i in beside)
    more: dict[str, Any] = {"columns": names, "target_column": {"name": name, "position": place}}
    more |= {"aside": tuple(rows.header[i] for i in beside) if rows.header else (), "notes": tuple(notes)}
    form: InputKind = "series" if time else "vector"
    return Found(str(path), x, y, form, {path.name: sha256_of_file(path)}, time, lengths, groups, **more)


def _without_index(path: Path, rows: tables.Rows, columns: list[int]) -> tuple[list[int], list[int], list[str]]:
    """The columns that are values, those that are not (a nameless one that counts the rows), and what to say."""
    notes, counting = [], []
    for i in columns if rows.header else ():
        first = rows.cells[0][i]
        if first not in ("0", "1"):
            continue
        if all(cells[i] == str(n) for n, cells in enumerate(rows.cells, int(first))):
            name = rows.header[i] if rows.header else ""
            if name.lower() in ("", "unnamed: 0") and len(columns) > 1:
                counting.append(i)
                notes.append(f"{path.name}: column {i + 1} has no name and counts the rows: it is left out")
            else:
                notes.append(f"{path.name}: column {name!r} counts the rows and is taken as a value")
    return [i for i in columns if i not in counting], counting, notes


def _target_column(path: Path, rows: tables.Rows, how: Reading) -> tuple[int, str | None]:
    """The target's column, and a note where nothing but its place says so."""
    if how.target_column is not None:
        return rows.column(how.target_column, "target_column"), None
    named = rows.find(tables.TARGET_NAMES)
    if len(named) > 1:
        refuse(str(path), f"{len(named)} target columns", "one column named y, label, class or target")
    if named:
        return named[0], None
    last = rows.width - 1
    if how.group is not None and rows.column(how.group, "group") == last:
        last -= 1
    called = repr(rows.header[last]) if rows.header else last + 1
    return last, f"{path.name}: the target is the last column, {called}; target_column = ... chooses another"


def long_targets(
    rows: tables.Rows, series: tables.Series, column: int, field: str, per_step: bool, named: bool = False
) -> targets.Given:
    """The target of each example of a long CSV, or of each of its steps."""
    more = {"named": named, "decimal_comma": rows.decimal_comma}
    if per_step:
        mask = (torch.arange(series.x.shape[1]) < series.lengths.unsqueeze(1)).numpy()
        cells = np.full(mask.shape, "", dtype=object)
        flat = [i for which in series.rows for i in which]
        cells[mask] = [rows.cells[i][column] for i in flat]
        return targets.of_cells(cells, field, lambda i: rows.place(flat[i], column), mask=mask, **more)
    labels = series.constant(rows, column, " (or per_step = true for a label at each step)")
    names = series.names
    return targets.of_cells(labels, field, lambda i: f"{field}, example {names[i]}", **more)
