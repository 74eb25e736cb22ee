"""What a person's y means: classes or values."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from bitspike.errors import refuse

Target = Literal["class", "value"]

# Whole numbers count as classes up to this many, if each comes twice on average.
MOST_CLASSES = 100


@dataclass(frozen=True)
class Targets:
    """y int64 (N,) with the classes' names, or float64 (N, D) with none."""

    y: Tensor
    classes: tuple[str, ...]


def sorted_names(names: Iterable[str]) -> list[str]:
    """Distinct names in order; numerical order if all are whole numbers."""
    distinct = sorted(set(names))
    try:
        return sorted(distinct, key=int)
    except ValueError:
        return distinct


def from_text(cells: list[str], target: Target | None, field: str, place: Callable[[int], str]) -> Targets:
    """Targets of a CSV column: numbers if every cell is one, else strings; place(i) says where cell i stands."""
    if "" in cells:
        refuse(place(cells.index("")), "an empty cell", "a number or a class name")
    try:
        values = np.array([float(cell) for cell in cells])
    except ValueError:
        return from_array(np.array(cells), target, field)
    if not np.isfinite(values).all():
        first = int(np.argmin(np.isfinite(values)))
        refuse(place(first), repr(cells[first]), "a finite number or a class name")
    return from_array(values, target, field)


def from_array(values: np.ndarray[Any, Any], target: Target | None, field: str) -> Targets:
    """Targets of an array (N,) or (N, D).

    Unless `target` says which: strings are classes, whole numbers are when they have few distinct values
    (at most 100, and at most N/2), all else are values.
    """
    if values.dtype.kind not in "biufUS" or values.ndim > 2:
        refuse(field, f"{values.dtype} of shape {values.shape}", "numbers or strings, (N,) or (N, D)")
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    text = values.dtype.kind in "US"
    if values.dtype.kind == "b":
        values = values.astype(np.int64)
    whole = not text and bool((values == np.round(values)).all())
    if target is None:
        few = whole and len(np.unique(values)) <= min(MOST_CLASSES, len(values) // 2)
        target = "class" if values.ndim == 1 and (text or few) else "value"
    if target == "value":
        if text:
            refuse(field, f"text such as {str(values.flat[0])!r}", "numbers, as target = 'value' says")
        numbers = torch.from_numpy(values.astype(np.float64))
        return Targets(numbers.reshape(len(values), -1), ())
    if values.ndim != 1 or not (text or whole):
        came = f"shape {values.shape}" if values.ndim != 1 else "fractional numbers"
        refuse(field, came, "one name or whole number per example, as target = 'class' says")
    labels = [str(value) if text else str(int(value)) for value in values.tolist()]
    names = sorted_names(labels)
    if len(names) < 2:
        refuse(field, f"only the class {names[0]!r}", "at least 2 classes")
    number = {name: i for i, name in enumerate(names)}
    return Targets(torch.tensor([number[label] for label in labels]), tuple(names))
