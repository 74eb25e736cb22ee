"""A person's own data: class folders of images or event files, one .npz, or one CSV."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import torch
from pydantic import Field
from torch import Tensor

from bitspike.data import classfolders, splits, tables, targets
from bitspike.data.base import DataSet, Events, InputKind, Split, select
from bitspike.data.events import recordings
from bitspike.data.image_sets import read_set
from bitspike.data.normalise import NONE, Kind, apply, fitted
from bitspike.data.sources import search_folders, sha256_of_file, sha256_of_files
from bitspike.errors import refuse

Share = Annotated[float, Field(gt=0)]
White = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Positive = Annotated[int, Field(gt=0)]

TEST = 0.2


def own_folder(
    *,
    path: Annotated[
        Path,
        "Class folders of images or event files (with or without train and test above them), an .npz with x and y, or "
        "a CSV: wide (a row is an example; the target is the column y, label, class or target, else the last) or long "
        "(columns example and t; a row is one time step of one example).",
    ],
    folder: Path | None = None,
    seed: int = 0,
    validation: Share = 0.125,
    test: Share | None = None,
    size: Annotated[
        tuple[Positive, Positive] | None,
        "[height, width] of images (default the commonest) or of the event sensor (default the largest addresses + 1).",
    ] = None,
    channels: Annotated[Literal[1, 3] | None, "Images: 1 grey, 3 RGB (default 3 if any image has colour)."] = None,
    white: Annotated[
        White | None,
        "Images of more than 8 bits: the pixel that becomes 1 (default 65535 for 16 bits, else 1, 255 or 65535, the "
        "least that no pixel exceeds).",
    ] = None,
    time: Annotated[bool, "An .npz or wide CSV: x has a time axis, (N, T, ...)."] = False,
    steps: Annotated[Positive | None, "Time steps T of a wide CSV; its columns are those of step 1, 2, ..."] = None,
    target: Annotated[
        targets.Target | None,
        "What y is: class names or values. Left out: text is classes, so are whole numbers with few distinct values.",
    ] = None,
    normalise: Annotated[
        Kind | None,
        "x of a table, by its training part: minmax to [0, 1] and clipped (default), standard (mean 0, variance 1) or "
        "none.",
    ] = None,
) -> DataSet:
    """The data at `path`; by default .7 training, .1 validation (.125 of what test leaves), .2 test.

    size: (height, width) of images (default the commonest) or of the event sensor (default the largest
    addresses + 1); channels: 1 grey or 3 RGB (default 3 if any image has colour); white: the pixel
    that becomes 1, of images of more than 8 bits; time: x has a time axis,
    (N, T, ...), steps: T of a wide CSV; target: "class" or "value" (default by what y holds); normalise: x by
    "minmax" (default; to [0, 1], clipped), "standard" or "none", fitted on the training split. It concerns x
    alone: values y are always scaled by min-max to the training range, as the network's head is a sigmoid.
    """
    place = _place(path, folder)
    unused: dict[str, Any]
    if place.is_dir():
        unused = {"time": time or None, "steps": steps, "target": target, "normalise": normalise}
    else:
        unused = {"size": size, "channels": channels, "white": white}
    for option, value in unused.items():
        if value is not None:
            other = "an .npz or CSV" if place.is_dir() else "class folders"
            refuse(f"folder option {option}", value, f"it left out ({other} would have it, not {place.name})")
    if place.is_dir():
        return _from_files(place, seed, validation, test, size, channels, white)
    return _from_table(place, seed, validation, TEST if test is None else test, time, steps, target, normalise)


def _place(path: Path, folder: Path | None) -> Path:
    path = path.expanduser()
    for place in (path, *(base / path for base in search_folders(folder))):
        if place.exists():
            return place
    refuse("folder option path", f"{path}, which is not there", "a folder of class folders, an .npz or a .csv file")


def _from_files(
    root: Path,
    seed: int,
    validation: float,
    test: float | None,
    size: tuple[int, int] | None,
    channels: int | None,
    white: float | None,
) -> DataSet:
    files = classfolders.listed(root)
    notes: tuple[str, ...] = ()
    normalisation: dict[str, Any]
    shape: tuple[int, int, int]
    x: Tensor | Events
    kind: InputKind
    if files.events:
        if channels is not None:
            refuse("folder option channels", channels, "it left out (event files have 2 polarities)")
        if white is not None:
            refuse("folder option white", white, "it left out (event files have no pixels)")
        x, notes = recordings(files.paths, size)
        kind, normalisation, shape = "events", dict(NONE), x.shape
        if size is None:
            notes = (f"the sensor's size, {shape[1]} x {shape[2]}, is taken from the largest addresses", *notes)
    else:
        pictures = read_set(files.paths, size, channels, white)
        x, kind, normalisation, notes = pictures.x, "image", pictures.setting.normalisation(), pictures.notes
        shape = (pictures.x.shape[1], pictures.x.shape[2], pictures.x.shape[3])
    index, known = torch.arange(len(files.y)), len(files.y) - files.tested
    if files.tested:
        if test is not None:
            refuse("folder option test", test, f"it left out ({root.name} has a test folder)")
        parts = splits.split(files.y[:known], seed, validation, None, str(root))
        tested = index[known:]
    else:
        parts = splits.split(files.y, seed, validation, TEST if test is None else test, str(root))
        tested = parts.test
    return DataSet(
        name="folder",
        kind="classification",
        train=select(x, files.y, index, parts.train),
        validation=select(x, files.y, index, parts.validation),
        test=select(x, files.y, index, tested),
        classes=files.classes,
        shape=shape,
        steps=None,
        digests={f"{root.name}/ ({len(files.paths):,} files)": sha256_of_files(root, files.paths)},
        input=kind,
        normalisation=normalisation,
        notes=notes,
    )


def _from_table(
    path: Path,
    seed: int,
    validation: float,
    test: float,
    time: bool,
    steps: int | None,
    target: targets.Target | None,
    normalise: Kind | None,
) -> DataSet:
    suffix = path.suffix.lower()
    columns, column = None, None
    if suffix == ".npz":
        if steps is not None:
            refuse("folder option steps", steps, "it left out (an .npz has its T in the shape of x)")
        arrays = tables.read_npz(path, ("x", "y"))
        raw, meant = tables.as_numbers(arrays["x"]), targets.from_array(arrays["y"], target, f"{path} y")
    elif suffix in (".csv", ".tsv"):
        raw, meant, time, columns, column = _from_csv(path, time, steps, target)
    else:
        refuse("folder option path", path, "a folder of class folders, an .npz or a .csv file")
    if time and raw.ndim < 2:
        refuse(f"{path} x", f"shape {tuple(raw.shape)}", "(N, T, ...), as time = true says")
    if raw.ndim == (2 if time else 1):
        raw = raw.unsqueeze(-1)
    shape = tuple(raw.shape[2:] if time else raw.shape[1:])
    labels = meant.y if meant.classes else torch.zeros(len(raw), dtype=torch.int64)
    parts = splits.split(labels, seed, validation, test, str(path))
    # Pixels of an array share one range; a border pixel of constant value has none of its own.
    normalisation = fitted(raw[parts.train], normalise or "minmax", per_feature=len(shape) == 1, clip=True)
    scaling = None if meant.classes else fitted(meant.y[parts.train], "minmax", per_feature=True, clip=False)
    x, y = apply(raw, normalisation), meant.y if scaling is None else apply(meant.y, scaling)
    made = [_part(x, y, rows) for rows in (parts.train, parts.validation, parts.test)]
    return DataSet(
        name="folder",
        kind="classification" if meant.classes else "regression",
        train=made[0],
        validation=made[1],
        test=made[2],
        classes=meant.classes,
        shape=shape,
        steps=raw.shape[1] if time else None,
        digests={path.name: sha256_of_file(path)},
        input="series" if time else "vector",
        normalisation=normalisation,
        target=scaling,
        columns=columns,
        target_column=column,
    )


def _part(x: Tensor, y: Tensor, rows: Tensor) -> Split:
    return Split(x[rows], y[rows], rows)


class _Csv(NamedTuple):
    """x (N, F) or (N, T, F), its targets, whether it has time, and the columns as `DataSet` has them."""

    x: Tensor
    meant: targets.Targets
    time: bool
    columns: tuple[str, ...] | None
    target_column: dict[str, Any]


def _from_csv(path: Path, time: bool, steps: int | None, target: targets.Target | None) -> _Csv:
    rows = tables.read_rows(path)
    named = rows.find(tables.TARGET_NAMES)
    if len(named) > 1:
        refuse(str(path), f"{len(named)} target columns", "one column named y, label, class or target")
    column = named[0] if named else rows.width - 1
    long = tables.is_long(rows)
    columns = tables.long_columns(rows, column) if long else [i for i in range(rows.width) if i != column]
    names, name = None, None
    if rows.header:
        names, name = tuple(rows.header[i] for i in columns), rows.header[column]
        if name in names:
            name = None
        if len(set(names)) < len(names):
            names = None
    stored = {"name": name, "position": None if long else column}
    field = f"{path} column {rows.header[column] if rows.header else column + 1}"
    if long:
        x, labels, examples = tables.long_series(rows, columns, column)
        if steps is not None and steps != x.shape[1]:
            refuse("folder option steps", steps, f"{x.shape[1]}, the time steps of each example in {path}")
        meant = targets.from_text(labels or [], target, field, lambda i: f"{field}, example {examples[i]}")
        return _Csv(x, meant, True, names, stored)
    if not columns:
        refuse(str(path), "a single column", "columns of x and one of y")
    x = rows.numbers(columns)
    if time or steps:
        if len(columns) % (steps or 1):
            refuse("folder option steps", steps, f"a divisor of the {len(columns)} columns of x in {path}")
        x = x.reshape(len(x), steps or len(columns), -1)
    cells = [cells[column] for cells in rows.cells]
    meant = targets.from_text(cells, target, field, lambda i: rows.place(i, column))
    return _Csv(x, meant, bool(time or steps), names, stored)
