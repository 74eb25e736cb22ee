"""Values from one CSV or .npz file; whatever is not a finite number is refused with its place.

A CSV is separated by commas, semicolons or tabs, with or without a header line. Wide form: a row is an
example. Long form (columns named `example` and `t`): a row is one time step of one example.
"""

from __future__ import annotations

import csv
import sys
import zipfile
import zlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bitspike.errors import refuse

TARGET_NAMES = frozenset({"y", "label", "class", "target"})
SERIES_NAMES = frozenset({"example", "t"})
SEPARATORS = ",;\t"


@dataclass(frozen=True)
class Rows:
    """The cells of a CSV as text: names of the columns, rows, and the line each stands in (from 1)."""

    source: str
    header: list[str] | None
    cells: list[list[str]]
    lines: list[int]

    @property
    def width(self) -> int:
        """The number of columns."""
        return len(self.cells[0])

    def place(self, row: int, column: int) -> str:
        """FILE row LINE, column NAME (or its number, from 1)."""
        name = repr(self.header[column]) if self.header else column + 1
        return f"{self.source} row {self.lines[row]}, column {name}"

    def find(self, names: frozenset[str]) -> list[int]:
        """The columns whose header is one of `names`, in any case."""
        return [i for i, name in enumerate(self.header or []) if name.lower() in names]

    def numbers(self, columns: list[int]) -> Tensor:
        """The columns as float64 (N, len(columns))."""
        out = np.empty((len(self.cells), len(columns)))
        for i, cells in enumerate(self.cells):
            try:
                out[i] = [float(cells[column]) for column in columns]
            except ValueError:
                wrong = next(column for column in columns if not _is_number(cells[column]))
                refuse(self.place(i, wrong), repr(cells[wrong]), "a number")
        if not np.isfinite(out).all():
            i, j = np.argwhere(~np.isfinite(out))[0].tolist()
            refuse(self.place(i, columns[j]), repr(self.cells[i][columns[j]]), "a finite number")
        return torch.from_numpy(out)


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _has_header(cells: list[list[str]]) -> bool:
    """A first line without numbers, or with a known name that does not come again below it."""
    if not any(_is_number(cell) for cell in cells[0]):
        return True
    known = TARGET_NAMES | SERIES_NAMES
    named = [i for i, cell in enumerate(cells[0]) if cell.lower() in known]
    return len(cells) > 1 and any(all(row[i] != cells[0][i] for row in cells[1:]) for i in named)


def read_rows(path: Path | None, names: Sequence[str] | None = None) -> Rows:
    """The rows of a CSV file, or of standard input when path is None; empty lines are skipped.

    A first line that holds all of `names` is a header, even if these are numbers.
    """
    source = "standard input" if path is None else str(path)
    try:
        text = sys.stdin.read() if path is None else path.read_text(encoding="utf-8-sig")
    except OSError as error:
        refuse(source, error.strerror or "an unreadable file", "a readable CSV file")
    except UnicodeDecodeError:
        refuse(source, "bytes that are no UTF-8 text", "a CSV file")
    lines = text.splitlines()
    first = next((line for line in lines if line.strip()), "")
    reader = csv.reader(lines, delimiter=max(SEPARATORS, key=first.count), skipinitialspace=True)
    cells, numbers = [], []
    try:
        for row in reader:
            if any(cell.strip() for cell in row):
                cells.append([cell.strip() for cell in row])
                numbers.append(reader.line_num)
    except csv.Error as error:
        refuse(f"{source} row {reader.line_num}", str(error), "a CSV row")
    if not cells:
        refuse(source, "no rows", "a CSV with at least one row")
    for row, number in zip(cells, numbers, strict=True):
        if len(row) != len(cells[0]):
            refuse(f"{source} row {number}", f"{len(row)} columns", f"{len(cells[0])}, as in the first row")
    header = cells[0] if _has_header(cells) or (names and set(names) <= set(cells[0])) else None
    start = 1 if header else 0
    if len(cells) == start:
        refuse(source, "a header without rows", "at least one row of values")
    return Rows(source, header, cells[start:], numbers[start:])


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


def long_columns(rows: Rows, target: int | None) -> list[int]:
    """The columns of values of a long form: all but `example`, `t` and the target."""
    return [i for i in range(rows.width) if i not in (*rows.find(SERIES_NAMES), target)]


def long_series(rows: Rows, columns: list[int], target: int | None) -> tuple[Tensor, list[str] | None, list[str]]:
    """x (N, T, F) of `columns` sorted by t, the targets (constant within an example) and the examples' names."""
    (named,), (timed,) = (rows.find(frozenset({name})) for name in ("example", "t"))
    if not columns:
        refuse(rows.source, "no column of values beside example and t", "at least one")
    values, times = rows.numbers(columns), rows.numbers([timed])[:, 0]
    members: dict[str, list[int]] = {}
    for i, cells in enumerate(rows.cells):
        members.setdefault(cells[named], []).append(i)
    steps = len(next(iter(members.values())))
    for name, which in members.items():
        if len(which) != steps:
            refuse(f"{rows.source} example {name}", f"{len(which)} time steps", f"{steps}, as the first example")
        if target is not None:
            for i in which:
                if rows.cells[i][target] != rows.cells[which[0]][target]:
                    wanted = f"{rows.cells[which[0]][target]!r} as in the rows above of example {name}"
                    refuse(rows.place(i, target), repr(rows.cells[i][target]), wanted)
    ordered = [sorted(which, key=lambda i: float(times[i])) for which in members.values()]
    labels = None if target is None else [rows.cells[which[0]][target] for which in ordered]
    return values[torch.tensor(ordered)], labels, list(members)


def read_npz(path: Path, wanted: tuple[str, ...]) -> dict[str, np.ndarray[Any, Any]]:
    """The arrays `wanted` of an .npz file; x as numbers, all finite. Pickled objects are never loaded."""
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
            names = list(archive.files)
            for name in wanted:
                if name not in names:
                    refuse(str(path), f"arrays {', '.join(names) or 'none'}", f"one named {name}")
            arrays = {name: archive[name] for name in wanted}
    except FileNotFoundError:
        refuse(str(path), "no such file", "an .npz file")
    except ValueError:
        refuse(str(path), "an object array or no .npz file", "arrays of numbers or strings (nothing pickled)")
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, TypeError):
        refuse(str(path), "a damaged or truncated file", "a whole .npz file")
    x = arrays["x"]
    if x.dtype.kind not in "biuf" or x.ndim == 0 or x.size == 0:
        refuse(f"{path} x", f"{x.dtype} of shape {x.shape}", "numbers of shape (N, ...)")
    for name, values in arrays.items():
        if len(values.shape) == 0 or len(values) != len(x):
            refuse(f"{path} {name}", f"shape {values.shape}", f"{len(x)} rows, as many as x")
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            place = tuple(np.argwhere(~np.isfinite(values))[0].tolist())
            refuse(f"{path} {name}{list(place)}", values[place], "a finite number")
    return arrays


def as_numbers(values: np.ndarray[Any, Any]) -> Tensor:
    """A tensor of a numeric array: float32 stays, the rest becomes float64."""
    return torch.from_numpy(np.ascontiguousarray(values, dtype=None if values.dtype == np.float32 else np.float64))
