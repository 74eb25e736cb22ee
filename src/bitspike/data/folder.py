"""A person's own data: class folders of images, event files or sound, one .npz, or one CSV."""

from __future__ import annotations

import stat
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from bitspike.data import grouped, splits, targets
from bitspike.data.base import DataSet, Events, select
from bitspike.data.found import Found, joined
from bitspike.data.normalise import Kind, apply, fitted
from bitspike.data.ownfiles import read_files
from bitspike.data.owntable import Reading, read_table
from bitspike.data.sources import search_folders
from bitspike.errors import refuse
from bitspike.paths import home, kind_of, regular

Share = Annotated[float, Field(gt=0)]
White = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Positive = Annotated[int, Field(gt=0)]

TEST = 0.2
# Values beyond which nobody looks for equal examples.
COMPARED = 50_000_000


def own_folder(
    *,
    path: Annotated[
        Path,
        "Class folders of images, event files or sound (with or without train and test above them), an .npz with x and "
        "y, or a CSV: wide (a row is an example; the target is the column y, label, class or target, else the last) or "
        "long (columns example and t; a row is one time step of one example; examples may differ in length).",
    ],
    folder: Path | None = None,
    seed: int = 0,
    fold: tuple[int, int] | None = None,
    test_path: Annotated[
        Path | None, "A file or folder of the same kind whose examples are the test part (with folds: one more part)."
    ] = None,
    validation: Share = 0.125,
    test: Share | None = None,
    group: Annotated[
        str | Positive | None,
        "Column of a CSV (its name, or its number from 1) or array of an .npz that says who an example is of: no group "
        "is in two parts.",
    ] = None,
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
    steps: Annotated[
        Positive | None,
        "Time steps T of a wide CSV, whose columns are those of step 1, 2, ...; or the T to which sequences of "
        "different lengths are padded (default the longest).",
    ] = None,
    padding: Annotated[
        Literal["nan", "zero"] | None,
        "An .npz without lengths: steps at the end that hold nothing but NaN, or zeros, are behind a sequence's end.",
    ] = None,
    target: Annotated[
        targets.Target | None,
        "What y is: class names or values. Left out: text is classes, and so are whole numbers, different texts of one "
        "number, and a column called label or class, where few are distinct (at most 100, at most half the examples).",
    ] = None,
    target_column: Annotated[
        str | Positive | None, "The target's column of a CSV, by its name or its number (from 1)."
    ] = None,
    per_step: Annotated[
        bool, "A long CSV: the target is a class for each step (an .npz says so by y of shape (N, T))."
    ] = False,
    normalise: Annotated[
        Kind | None,
        "x of a table or of sound, by its training part: minmax to [0, 1] and clipped (default), standard (mean 0, "
        "variance 1) or none.",
    ] = None,
    rate: Annotated[
        Positive | None, "Sound: samples per second that all files are brought to (default the commonest)."
    ] = None,
    frame: Annotated[Share | None, "Sound: milliseconds of a frame (default 25)."] = None,
    hop: Annotated[
        Share | None, "Sound: milliseconds from frame to frame, which are the time steps (default 10)."
    ] = None,
    bands: Annotated[Positive | None, "Sound: mel bands of a frame (default 20)."] = None,
) -> DataSet:
    """The data at `path`; by default .7 training, .1 validation (.125 of what test leaves), .2 test.

    Options are described in the signature (`data.describe_options("folder")`). fold: (k, of n), the k-th of n disjoint
    test parts. Values y are always scaled by min-max to the training range, as the network's head is a sigmoid.
    """
    place = _place(path, folder, "path")
    other = None if test_path is None else _place(test_path, folder, "test_path")
    if other is not None:
        if test is not None:
            refuse("folder option test", test, "it left out (test_path has the test part)")
        if other.is_dir() != place.is_dir() or other.resolve() == place.resolve():
            refuse("folder option test_path", other, f"another path of the kind of {place}")
    for_tables: dict[str, Any] = {
        "group": group, "time": time or None, "padding": padding, "target": target,
        "target_column": target_column, "per_step": per_step or None,
    }  # fmt: skip
    pictures = {"size": size, "channels": channels, "white": white}
    sound: dict[str, Any] = {"rate": rate, "frame": frame, "hop": hop, "bands": bands}
    for option, value in (for_tables if place.is_dir() else pictures | sound).items():
        if value is not None:
            kind = "an .npz or CSV" if place.is_dir() else "class folders"
            refuse(f"folder option {option}", value, f"it left out ({kind} would have it, not {place.name})")
    if place.is_dir():
        found = read_files(place, other, pictures, {"steps": steps, **sound})
        if normalise is not None and found.normalisation is not None:
            refuse(
                "folder option normalise", normalise, f"it left out (an .npz or CSV would have it, not {place.name})"
            )
        if found.tested and test is not None:
            refuse("folder option test", test, f"it left out ({place.name} has a test folder)")
        meant = targets.meaning(found.y, "class")
    else:
        how = Reading(time, steps, group, target_column, per_step, padding, target)
        found = read_table(place, how)
        meant = targets.meaning(found.y, target)
        if other is not None:
            found, meant = _with_test(found, meant, read_table(other, how))
    parts = _parts(found, meant, seed, validation, TEST if test is None else test, fold)
    return data_set(found, meant, parts, normalise or "minmax")


def _place(path: Path, folder: Path | None, option: str) -> Path:
    path = home(path, f"folder option {option}")
    for place in (path, *(base / path for base in search_folders(folder))):
        kind = kind_of(place, f"folder option {option}")
        if kind is not None:
            if kind != stat.S_IFDIR:
                regular(place, f"folder option {option}", "a folder of class folders, an .npz or a .csv file")
            return place
    came = f"{path}, which is not there"
    refuse(f"folder option {option}", came, "a folder of class folders, an .npz or a .csv file")


def _with_test(found: Found, meant: targets.Targets, other: Found) -> tuple[Found, targets.Targets]:
    """The examples of a test file behind those of training, with the classes of training."""
    x, lengths, other = joined(found, other)
    assert isinstance(x, Tensor)
    if meant.classes:
        y = targets.classified(other.y, meant.classes)
        if y.ndim != meant.y.ndim:
            refuse(other.y.field, f"labels of shape {tuple(y.shape)}", f"labels as in {found.source}")
        if y.ndim == 2:
            y, known = (_longer(some, x.shape[1]) for some in (y, meant.y))
            meant = replace(meant, y=known)
    else:
        y = torch.from_numpy(targets.numbers_of(other.y))
        if y.shape[1] != meant.y.shape[1]:
            refuse(other.y.field, f"{y.shape[1]} values", f"{meant.y.shape[1]}, as in {found.source}")
    name = next(iter(other.digests))
    digests = {**found.digests, (f"{name} (test)" if name in found.digests else name): other.digests[name]}
    groups = None if found.groups is None or other.groups is None else [*found.groups, *other.groups]
    notes = (*found.notes, *(note for note in other.notes if note not in found.notes))
    found = replace(
        found, x=x, lengths=lengths, groups=groups, tested=len(other.x), digests=digests, notes=notes
    )  # fmt: skip
    return found, replace(meant, y=torch.cat([meant.y, y]))


def _longer(y: Tensor, steps: int) -> Tensor:
    return torch.cat([y, y.new_full((len(y), steps - y.shape[1]), targets.NO_STEP)], 1)


def _parts(
    found: Found, meant: targets.Targets, seed: int, validation: float, test: float, fold: tuple[int, int] | None
) -> splits.Parts:
    """Stratified by class, by group where there are groups."""
    groups = None if found.groups is None else grouped.numbered(found.groups)
    return grouped.divided(strata(meant), groups, found.tested, fold, seed, validation, test, found.source)


def strata(meant: targets.Targets) -> Tensor:
    """What a split is stratified by (N,): the class, per step the commonest of a sequence; nothing for values."""
    if not meant.classes:
        return torch.zeros(len(meant.y), dtype=torch.int64)
    if meant.y.ndim == 1:
        return meant.y
    return torch.stack([(meant.y == c).sum(1) for c in range(len(meant.classes))], 1).argmax(1)


def data_set(found: Found, meant: targets.Targets, parts: splits.Parts, kind: Kind) -> DataSet:
    """What was found, divided and normalised by its training part."""
    x, shape, notes = found.x, found.shape, [*found.notes, *meant.notes]
    normalisation = found.normalisation
    if normalisation is None:
        assert isinstance(x, Tensor)
        inside = None
        values = x[parts.train]
        if found.lengths is not None:
            inside = torch.arange(x.shape[1]) < found.lengths.unsqueeze(1)
            values = values[inside[parts.train]]
        # Pixels of an array share one range; a border pixel of constant value has none of its own.
        normalisation = fitted(values, kind, per_feature=len(shape) == 1, clip=True)
        x = apply(x, normalisation)
        if inside is not None:
            x = torch.where(inside.view(*inside.shape, *(1,) * len(shape)), x, torch.zeros_like(x))
    scaling = None if meant.classes else fitted(meant.y[parts.train], "minmax", per_feature=True, clip=False)
    y = meant.y if scaling is None else apply(meant.y, scaling)
    steps = x.shape[1] if found.time and isinstance(x, Tensor) else None
    if found.lengths is not None:
        short, long = int(found.lengths.min()), int(found.lengths.max())
        notes.append(f"sequences of {short} to {long} steps; what lies behind an end is not learned from or measured")
    notes += _equal(found.x, parts)
    index = torch.arange(len(y))
    made = [select(x, y, index, rows, found.lengths) for rows in (parts.train, parts.validation, parts.test)]
    return DataSet(
        name="folder",
        kind="classification" if meant.classes else "regression",
        train=made[0],
        validation=made[1],
        test=made[2],
        classes=meant.classes,
        shape=shape,
        steps=steps,
        digests=found.digests,
        input=found.input,
        normalisation=normalisation,
        target=scaling,
        notes=tuple(notes),
        columns=found.columns,
        target_column=found.target_column,
        aside=found.aside,
        lengths=found.lengths is not None,
        padding=found.padding,
        audio=found.audio,
    )


def _equal(x: Tensor | Events, parts: splits.Parts) -> list[str]:
    """A note on test examples of a table whose values are those of a training example."""
    if isinstance(x, Events) or x.ndim > 3 or x.numel() > COMPARED:
        return []
    rows = x.reshape(len(x), -1).contiguous().numpy()
    seen = {rows[i].tobytes() for i in parts.train.tolist()}
    again = sum(rows[i].tobytes() in seen for i in parts.test.tolist())
    return [f"{again:,} of {len(parts.test):,} test examples have the values of a training example"] if again else []
