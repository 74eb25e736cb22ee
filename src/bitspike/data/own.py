"""A data set of one's own, checked at the door by what `DataSet` and `Split` say of themselves."""

from __future__ import annotations

import torch
from torch import Tensor

from bitspike.checks import all_finite
from bitspike.data.base import DataSet, Events, Split
from bitspike.errors import refuse


def check_own(dataset: DataSet, name: str) -> None:
    """Refuse a data set whose parts are not what they are said to be, by part and field."""
    parts = {"train": dataset.train, "validation": dataset.validation, "test": dataset.test}
    for part, split in parts.items():
        _check_part(dataset, split, f"data set '{name}' {part}")
    numbers = {part: split.index for part, split in parts.items()}
    for one, other in (("train", "validation"), ("train", "test"), ("validation", "test")):
        if shared := int(torch.isin(numbers[one], numbers[other]).sum()):
            wanted = "numbers (index) of which no two parts share any"
            refuse(f"data set '{name}'", f"{shared:,} examples that are in {one} and in {other}", wanted)


def _check_part(dataset: DataSet, split: Split, field: str) -> None:
    index = split.index
    if (
        not isinstance(index, Tensor)
        or index.dtype != torch.int64
        or index.ndim != 1
        or len(index.unique()) != len(index)
    ):
        refuse(f"{field}.index", _told(index), "a number of its own for each example, int64 (N,)")
    if len(split) == 0:
        refuse(field, "no example", "one at least")
    for name, some in (("x", split.x), ("y", split.y)):
        if len(some) != len(split):
            refuse(f"{field}.{name}", f"{len(some):,} examples", f"the {len(split):,} of its index")
    _check_values(dataset, split, field)
    _check_targets(dataset, split.y, field)


def _check_values(dataset: DataSet, split: Split, field: str) -> None:
    x = split.x
    if (dataset.input == "events") != isinstance(x, Events):
        refuse(
            f"{field}.x", type(x).__name__, f"{'Events' if dataset.input == 'events' else 'a tensor'}, as `input` says"
        )
    if isinstance(x, Events):
        if tuple(x.shape) != tuple(dataset.shape):
            refuse(f"{field}.x", f"a sensor {tuple(x.shape)}", f"{tuple(dataset.shape)}, as `shape` says")
        return
    wanted = (*(() if dataset.steps is None else (dataset.steps,)), *dataset.shape)
    if tuple(x.shape[1:]) != wanted:
        refuse(f"{field}.x", f"examples {tuple(x.shape[1:])}", f"{wanted}, as `steps` and `shape` say")
    if x.is_complex() or not all_finite(x.float()):
        refuse(f"{field}.x", f"{x.dtype} with numbers that are not finite", "real numbers, none NaN or infinite")


def _check_targets(dataset: DataSet, y: Tensor, field: str) -> None:
    if dataset.kind == "regression":
        if not y.is_floating_point() or y.ndim not in (2, 3) or not all_finite(y):
            refuse(f"{field}.y", _told(y), "finite real values (N, D)")
        return
    if y.dtype != torch.int64 or y.ndim not in (1, 2):
        refuse(f"{field}.y", _told(y), "numbers of classes, int64 (N,)")
    least, most = (0, 0) if y.numel() == 0 else (int(y.min()), int(y.max()))
    if least < (0 if y.ndim == 1 else -1) or most >= len(dataset.classes):
        refuse(f"{field}.y", f"classes {least} to {most}", f"0 to {len(dataset.classes) - 1}, as `classes` says")


def _told(value: object) -> str:
    return f"{value.dtype} {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
