"""The cells of a CSV as text: separators found by what divides every row alike, quotes, headers, numbers.

Cells are divided by commas, semicolons, tabs or bars. A cell in quotes is taken as it stands between them; spaces
around another one are no part of it. Numbers have a decimal point, or a decimal comma where commas do not divide.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from bitspike.errors import refuse
from bitspike.paths import read_standard_input

TARGET_NAMES = frozenset({"y", "label", "class", "target"})
SERIES_NAMES = frozenset({"example", "t"})
SEPARATORS = ",;\t|"
NAMES = {",": "a comma", ";": "a semicolon", "\t": "a tab", "|": "a bar"}
# Rows by which separators are told apart.
TRIED = 50

BREAK = re.compile(r"\r\n|\r|\n")
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
WITH_COMMA = re.compile(r"[+-]?(\d+,\d*|,\d+)([eE][+-]?\d+)?", re.ASCII)
# Not finite, but a number to everybody who writes one: named as such when it is refused.
NO_NUMBER = frozenset({"nan", "inf", "infinity"})
# The largest size of a value: squares of larger ones have no number (files write 1.8e308 for a missing one).
LARGEST = 1e150


def is_number(cell: str) -> bool:
    """Whether a cell is a number as programs write them: ASCII digits, a point, an exponent; no underscores."""
    bare = cell.strip()
    return NUMBER.fullmatch(bare) is not None or bare.lower().lstrip("+-") in NO_NUMBER


def as_number(cell: str, decimal_comma: bool) -> float | None:
    """The number that a cell is (`is_number`, or one with a decimal comma where there may be such), or None."""
    if is_number(cell):
        return float(cell)
    if decimal_comma and WITH_COMMA.fullmatch(cell.strip()):
        return float(cell.replace(",", "."))
    return None


def check_commas(cells: Sequence[str], place: Callable[[int], str]) -> None:
    """Refuse commas that may part thousands: 1,234 beside no other number with a comma, or beside points."""
    found = [i for i, cell in enumerate(cells) if "," in cell]
    if not found:
        return
    first = found[0]
    if all(re.fullmatch(r"[+-]?[1-9]\d{0,2},\d{3}", cells[i].strip()) for i in found):
        came = f"{cells[first]!r}, which may be a thousand or a fraction"
        refuse(place(first), came, "a number with a decimal point")
    if any("." in cell for cell in cells):
        refuse(place(first), f"{cells[first]!r} beside numbers with a decimal point", "one kind of number")


@dataclass(frozen=True)
class Rows:
    """The cells of a CSV as text: names of the columns, rows, the line each stands in (from 1), what was found."""

    source: str
    header: list[str] | None
    cells: list[list[str]]
    lines: list[int]
    separator: str = ","
    notes: tuple[str, ...] = ()

    @property
    def decimal_comma(self) -> bool:
        """Whether a number may have a decimal comma: where commas do not divide."""
        return self.separator != ","

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

    def column(self, wanted: str | int, option: str) -> int:
        """The column called `wanted`, or with that number (from 1)."""
        if isinstance(wanted, int):
            if not 1 <= wanted <= self.width:
                refuse(f"folder option {option}", wanted, f"a column from 1 to {self.width} of {self.source}")
            return wanted - 1
        header = self.header or []
        if header.count(wanted) != 1:
            came = f"{wanted!r}, of which {self.source} has {header.count(wanted) or 'none'}"
            names = ", ".join(map(repr, header[:20])) or "numbers from 1: there is no header"
            refuse(f"folder option {option}", came, f"one of its columns, {names}")
        return header.index(wanted)

    def numbers(self, columns: list[int]) -> Tensor:
        """The columns as float64 (N, len(columns))."""
        out = np.empty((len(self.cells), len(columns)))
        commas = False
        for i, cells in enumerate(self.cells):
            row = [cells[column] for column in columns]
            joined = "".join(row)
            try:
                if "_" in joined or not joined.isascii():
                    raise ValueError
                out[i] = [float(cell) for cell in row]
            except ValueError:
                commas = True
                out[i] = [self._number(i, column) for column in columns]
        if commas:
            width = len(columns)
            every = [cells[column] for cells in self.cells for column in columns]
            check_commas(every, lambda i: self.place(i // width, columns[i % width]))
        fit = np.abs(out) <= LARGEST
        if not fit.all():
            i, j = np.argwhere(~fit)[0].tolist()
            wanted = "a finite number" + (f" up to {LARGEST:g}" if np.isfinite(out[i, j]) else "")
            refuse(self.place(i, columns[j]), repr(self.cells[i][columns[j]]), wanted)
        return torch.from_numpy(out)

    def _number(self, row: int, column: int) -> float:
        cell = self.cells[row][column]
        if (found := as_number(cell, self.decimal_comma)) is None:
            refuse(self.place(row, column), repr(cell), "a number")
        return found


def _like_number(cell: str, separator: str) -> bool:
    """A number, also with a decimal comma or in a spelling that is refused later: no name of a column."""
    try:
        float(cell.replace(",", ".") if separator != "," else cell)
    except ValueError:
        return False
    return True


def has_header(cells: list[list[str]], separator: str) -> bool:
    """A first line without numbers, or with a known name that does not come again below it."""
    if not any(_like_number(cell, separator) for cell in cells[0]):
        return True
    known = TARGET_NAMES | SERIES_NAMES
    named = [i for i, cell in enumerate(cells[0]) if cell.lower() in known]
    return len(cells) > 1 and any(all(row[i] != cells[0][i] for row in cells[1:]) for i in named)


def check_first_row(rows: Rows, column: int) -> None:
    """Refuse a first line of numbers whose text in the column of the target comes nowhere below: names, or no class."""
    first = rows.cells[0][column].strip()
    if rows.header or len(rows.cells) < 2 or as_number(first, rows.decimal_comma) is not None:
        return
    if first and not any(cells[column].strip() == first for cells in rows.cells[1:]):
        came = f"numbers and {first!r}, which stands nowhere below it"
        refuse(f"{rows.source} row {rows.lines[0]}", came, "names of columns, none of them a number, or an example")


def read_text(path: Path | None) -> tuple[str, str]:
    """The text of a file, or of standard input when path is None, and what it is called."""
    source = "standard input" if path is None else str(path)
    try:
        text = read_standard_input() if path is None else path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        refuse(source, error.strerror or "an unreadable file", "a readable CSV file")
    except UnicodeDecodeError:
        refuse(source, "bytes that are no UTF-8 text", "a CSV file")
    return text.removeprefix("\ufeff"), source


def divided(text: str, separator: str, source: str, strict: bool = True) -> Iterator[tuple[int, list[str]]]:
    """(line, cells) of every row that is not empty; strict: a quote that opens a cell must close it."""
    if '"' not in text:
        for number, line in enumerate(BREAK.split(text), 1):
            if line.strip():
                yield number, [cell.strip() for cell in line.split(separator)]
        return
    space, bar = " *" if separator == "\t" else r"[ \t]*", re.escape(separator)
    end = rf"({bar}|\r\n|\r|\n|\Z)"
    quoted = re.compile(rf'{space}"([^"]*(?:""[^"]*)*)"{space}{end}')
    plain = re.compile(rf"([^{bar}\r\n]*){end}")
    at, line, row, first = 0, 1, list[str](), 1
    while at < len(text):
        found = quoted.match(text, at)
        if found is not None:
            row.append(found[1].replace('""', '"'))
        else:
            found = plain.match(text, at)
            if found is None or (strict and found[1].lstrip().startswith('"')):
                refuse(f"{source} row {line}", "a quote that is not closed before the next separator", "a CSV row")
            row.append(found[1].strip())
        at = found.end()
        line += len(BREAK.findall(found[0]))
        if found[2] != separator or at == len(text):
            if found[2] == separator:
                row.append("")
            if any(cell.strip() for cell in row):
                yield first, row
            row, first = [], line


def _clean_numbers(cell: str, separator: str) -> tuple[bool, bool]:
    """Whether a cell is a number, and whether it holds another separator that is no decimal comma."""
    number = as_number(cell, separator != ",") is not None
    return number, not number and any(other in cell for other in SEPARATORS if other != separator)


def separator_of(text: str, source: str) -> tuple[str, tuple[str, ...]]:
    """The separator that divides the first rows alike and leaves the most numbers, and what else divides them."""
    alike: list[tuple[float, str]] = []
    most: list[tuple[int, str]] = []
    for separator in SEPARATORS:
        rows = [cells for _, cells in islice(divided(text, separator, source, False), TRIED)]
        if not rows or len(rows[0]) < 2:
            continue
        most.append((len(rows[0]), separator))
        if len({len(cells) for cells in rows}) == 1:
            looks = [_clean_numbers(cell, separator) for cells in rows[1:] or rows for cell in cells]
            alike.append((sum(number - dirty for number, dirty in looks) / len(looks), separator))
    if not alike:
        return (max(most, key=lambda entry: entry[0])[1] if most else ","), ()
    best = max(score for score, _ in alike)
    winners = [separator for score, separator in alike if score == best]
    if len(winners) > 1:
        refuse(source, " and ".join(NAMES[w] for w in winners) + " that divide every row alike", "one separator")
    others = [NAMES[separator] for _, separator in alike if separator != winners[0]]
    note = f"{source}: cells end at {NAMES[winners[0]]}; {' and '.join(others)} belongs to the cells"
    return winners[0], (note,) if others else ()


def read_rows(path: Path | None, names: list[str] | tuple[str, ...] | None = None) -> Rows:
    """The rows of a CSV file, or of standard input when path is None; empty lines are skipped.

    A first line that holds all of `names` is a header, even if these are numbers.
    """
    text, source = read_text(path)
    separator, notes = separator_of(text, source)
    rows = list(divided(text, separator, source))
    if not rows:
        refuse(source, "no rows", "a CSV with at least one row")
    numbers, cells = [number for number, _ in rows], [row for _, row in rows]
    for row, number in zip(cells, numbers, strict=True):
        if len(row) != len(cells[0]):
            refuse(f"{source} row {number}", f"{len(row)} columns", f"{len(cells[0])}, as in the first row")
    header = cells[0] if has_header(cells, separator) or (names and set(names) <= set(cells[0])) else None
    if header is None and len(cells[0]) > 2 and cells[0] == [str(i) for i in range(len(cells[0]))]:
        # What tables write that have no names for their columns.
        header = cells[0]
        notes = (*notes, f"{Path(source).name}: the first line, 0, 1, 2, ..., is taken for names of columns")
    start = 1 if header else 0
    if len(cells) == start:
        refuse(source, "a header without rows", "at least one row of values")
    return Rows(source, header, cells[start:], numbers[start:], separator, notes)
