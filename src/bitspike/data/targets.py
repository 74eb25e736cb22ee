"""What a person's y means: classes or values, one for each example or for each step of a sequence.

The text of a class is its name: 007 is not 7, 1e2 is not 100, 1.1 is not 1.10. Unless it is said,

    text                                  is classes;
    whole numbers, or different texts of one number, or a column called label or class
                                          are classes if few are distinct (at most 100, at most N/2);
    other numbers                         are values.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from bitspike.data.cells import LARGEST, NO_NUMBER, as_number, check_commas
from bitspike.errors import refuse

Target = Literal["class", "value"]
Array = np.ndarray[Any, Any]

# Whole numbers count as classes up to this many, if each comes twice on average.
MOST_CLASSES = 100
# Spellings of a missing value, in lower case.
MISSING = frozenset({"na", "n/a", "nan", "null", "none", "nil", "?", "-", "."})
# In the place of a class where a sequence has ended.
NO_STEP = -1


@dataclass(frozen=True)
class Given:
    """y as it stands in a file: texts or numbers (N,) or (N, D); with `mask` (N, T) a label for each step.

    cells: the texts are cells of a CSV, among which numbers may be; decimal_comma: also such as 1,5; named: their
    column is called label or class.
    """

    values: Array
    field: str
    place: Callable[[int], str]
    cells: bool = False
    named: bool = False
    mask: Array | None = None
    decimal_comma: bool = False

    @property
    def per_step(self) -> bool:
        """One label for each step of a sequence."""
        return self.mask is not None

    @property
    def called(self) -> str:
        """The field without the folder its file is in."""
        file, column, name = self.field.partition(" column ")
        return f"{Path(file).name}{column}{name}"

    def number(self, cell: str) -> float | None:
        """The number that a cell is, or None."""
        return as_number(cell, self.decimal_comma)

    def flat(self) -> Array:
        """The labels (M,) of all examples or, per step, of all steps that exist."""
        return self.values if self.mask is None else self.values[self.mask]


@dataclass(frozen=True)
class Targets:
    """y int64 (N,) (per step (N, T), -1 behind the end) with the classes' names, or float64 (N, D) with none."""

    y: Tensor
    classes: tuple[str, ...]
    notes: tuple[str, ...] = ()


def sorted_names(names: Iterable[str]) -> list[str]:
    """Distinct names in order; numerical order if all are whole numbers."""
    distinct = sorted(set(names))
    try:
        return sorted(distinct, key=int)
    except ValueError:
        return distinct


def of_cells(cells: Sequence[str] | Array, field: str, place: Callable[[int], str], **more: Any) -> Given:
    """Targets of a CSV column; an empty cell is refused."""
    values = np.asarray(cells, dtype=object)
    return _said(Given(values, field, place, cells=True, **more), "an empty cell", "a number or a class name")


def _said(given: Given, came: str, wanted: str) -> Given:
    """Texts none of which is empty."""
    empty = np.array([not text.strip() for text in given.flat().ravel().tolist()])
    if empty.any():
        refuse(given.place(int(np.argmax(empty))), came, wanted)
    return given


def of_array(values: Array, field: str, mask: Array | None = None) -> Given:
    """Targets of an array (N,) or (N, D), or with a mask (N, T) of steps."""
    if values.dtype.kind not in "biufUS" or values.ndim > 2:
        refuse(field, f"{values.dtype} of shape {values.shape}", "numbers or strings, (N,) or (N, D)")
    if values.dtype.kind == "S":
        try:
            values = np.char.decode(values, "utf-8")
        except UnicodeDecodeError:
            refuse(field, "bytes that are no UTF-8 text", "names of classes")
    if mask is None and values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.dtype.kind == "b":
        values = values.astype(np.int64)
    given = Given(values, field, lambda i: f"{field}[{i}]", mask=mask)
    return _said(given, "an empty text", "a class name") if values.dtype.kind == "U" else given


def names_of(given: Given) -> list[str]:
    """The name of each label in `given.flat()`: the text itself, or a whole number's digits."""
    flat = given.flat()
    wanted = "one name or whole number per example, as target = 'class' says"
    if flat.ndim != 1:
        refuse(given.field, f"shape {given.values.shape}", wanted)
    if flat.dtype.kind == "f" and not (flat == np.round(flat)).all():
        refuse(given.field, "fractional numbers", wanted)
    return [value if isinstance(value, str) else str(int(value)) for value in flat.tolist()]


def numbers_of(given: Given) -> Array:
    """The values float64 (N, D); text that is no number is refused."""
    if given.per_step:
        refuse(given.field, "a label for each step", "one value per example, as target = 'value' says")
    flat = given.values
    if flat.dtype.kind in "biuf":
        return flat.astype(np.float64).reshape(len(flat), -1)
    out, cells = np.empty((len(flat), 1)), flat.ravel().tolist()
    for i, cell in enumerate(cells):
        if flat.ndim != 1 or (found := given.number(cell)) is None:
            refuse(given.field, f"text such as {cell!r}", "numbers, as target = 'value' says")
        if not abs(found) <= LARGEST:
            refuse(given.place(i), repr(cell), "a finite number or a class name")
        out[i] = found
    check_commas(cells, given.place)
    return out


def meaning(given: Given, target: Target | None) -> Targets:
    """Classes or values, as `target` says or by the rule of this module, which the notes then name."""
    notes: list[str] = []
    if target is None:
        target, why = _chosen(given)
        if target == "class":
            each = "a class for each step" if given.per_step else "classes"
            notes.append(f"{given.called}: {each}, {why}")
        else:
            notes.append(f"{given.called}: values, {why}")
    if target == "value":
        numbers = numbers_of(given)
        if (numbers == numbers[:1]).all():
            refuse(given.field, f"only the value {numbers.flat[0]:g}", "at least 2 distinct values")
        return Targets(torch.from_numpy(numbers), (), tuple(notes))
    labels = names_of(given)
    names = sorted_names(labels)
    if len(names) < 2:
        refuse(given.field, f"only the class {names[0]!r}", "at least 2 classes")
    notes += _alike(given, names)
    return Targets(classified(given, tuple(names)), tuple(names), tuple(notes))


def classified(given: Given, classes: tuple[str, ...]) -> Tensor:
    """y int64 (N,) or (N, T) of labels among `classes`; another one is refused by its place and name."""
    number = {name: i for i, name in enumerate(classes)}
    labels = names_of(given)
    if wrong := [i for i, label in enumerate(labels) if label not in number]:
        near = f" such as {', '.join(map(repr, classes[:8]))}" if len(classes) > 8 else f" {', '.join(classes)}"
        refuse(given.place(wrong[0]), f"{labels[wrong[0]]!r}, which is no class of training", f"one of{near}")
    y = torch.tensor([number[label] for label in labels], dtype=torch.int64)
    if given.mask is None:
        return y
    out = torch.full(given.mask.shape, NO_STEP, dtype=torch.int64)
    out[torch.from_numpy(given.mask)] = y
    return out


def _chosen(given: Given) -> tuple[Target, str]:
    """Classes or values, and why."""
    flat = given.flat()
    most = min(MOST_CLASSES, flat.shape[0] // 2)
    if flat.dtype.kind in "UO":
        cells = flat.ravel().tolist()
        if not given.cells or any(given.number(cell) is None for cell in cells):
            if given.cells:
                _check_mixed(given, cells, most)
            return "class", "as it is text"
        distinct = len(set(cells))
        for i, cell in enumerate(cells):
            if cell.strip().lower().lstrip("+-") in NO_NUMBER:
                refuse(given.place(i), repr(cell), "a finite number or a class name")
        numbers = np.array([given.number(cell) for cell in cells], dtype=np.float64)
        twice = len(set(numbers.tolist())) < distinct
    elif given.values.ndim == 2 and not given.per_step:
        width = flat.shape[1]
        if flat.dtype.kind in "iu" and len(np.unique(flat)) <= most:
            wanted = "one label per example, one per step (N, T) with time, or target = 'value' for numbers"
            refuse(given.field, f"whole numbers of shape {flat.shape}", wanted)
        one_hot = bool(((flat == 0) | (flat == 1)).all() and (flat.sum(1) == 1).all())
        more = "; each holds a single 1: class numbers (N,) would make it classification" if one_hot else ""
        return "value", f"{width} for each example{more}"
    else:
        numbers, twice, distinct = flat, False, len(np.unique(flat))
    whole = bool((numbers == np.round(numbers)).all())
    said = f"{distinct} distinct of {len(flat)}"
    if distinct <= most:
        if whole:
            return "class", f"as whole numbers with few distinct values ({said}); target = 'value' makes them values"
        if given.named or twice:
            why = "the column is called so" if given.named else "different texts are one number"
            return "class", f"as {why} and few are distinct ({said}); target = 'value' makes them values"
    if given.per_step:
        wanted = "target = 'class' for a class for each step, or 'value' for numbers of each example"
        refuse(given.field, f"a whole number for each step, {distinct} of them distinct", wanted)
    what = "whole numbers with many distinct values" if whole else "fractional numbers"
    return "value", f"as {what} ({said}); target = 'class' makes each a class"


def _check_mixed(given: Given, cells: list[str], most: int) -> None:
    """Refuse numbers among which a value is missing, or many numbers beside other text."""
    number = [given.number(cell) is not None and cell.strip().lower().lstrip("+-") not in NO_NUMBER for cell in cells]
    if not any(number):
        return
    others = [i for i, is_one in enumerate(number) if not is_one]
    missing = all(cells[i].strip().lower() in MISSING for i in others)
    if missing or len(set(cells)) > most:
        wanted = "a number, as elsewhere in the column (target = 'class' takes every text for a class)"
        refuse(given.place(others[0]), repr(cells[others[0]]), wanted)


def _alike(given: Given, names: list[str]) -> list[str]:
    """A note on names that are one number, which stay apart, or on one that says that there is none."""
    for name in names:
        if name.strip().lower() in MISSING:
            return [f"{given.called}: a class is called {name!r}; if its label is missing, leave such examples out"]
    seen: dict[float, str] = {}
    for name in names:
        if given.cells and (number := given.number(name)) is not None:
            other = seen.setdefault(number, name)
            if other != name:
                return [f"{given.called}: {other!r} and {name!r} are two classes: the text is the name"]
    return []
