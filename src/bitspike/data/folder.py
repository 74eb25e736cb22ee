"""A person's own data: class folders of images, event files or sound, one .npz, or one CSV."""

from __future__ import annotations

import stat
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bitspike.data import grouped, splits, targets
from bitspike.data.alone import by_table
from bitspike.data.base import DataSet, Events, Split, filled, longer
from bitspike.data.found import Found, joined
from bitspike.data.normalise import Kind, apply, fitted
from bitspike.data.ownfiles import read_files
from bitspike.data.owntable import Reading, read_table
from bitspike.data.sources import search_folders
from bitspike.errors import refuse
from bitspike.paths import home, kind_of, regular

TEST = 0.2
# Values beyond which nobody looks for equal examples.
COMPARED = 50_000_000


@by_table("folder")
def own_folder(
    *, folder: Path | None, seed: int, fold: tuple[int, int] | None, path: Path, test_path: Path | None,
    validation: float, test: float | None, normalise: Kind | None, **asked: Any,
) -> DataSet:  # fmt: skip
    """The data at `path`; by default .7 training, .1 validation (.125 of what test leaves), .2 test.

    asked: the options of `options.data.Folder` that are for tables, for pictures and for sound. fold: (k, of n), the
    k-th of n disjoint test parts. Values y are always scaled by min-max to the training range, as the network's head
    is a sigmoid.
    """
    place = _place(path, folder, "path")
    other = None if test_path is None else _place(test_path, folder, "test_path")
    if other is not None:
        if test is not None:
            refuse("folder option test", test, "it left out (test_path has the test part)")
        if other.is_dir() != place.is_dir() or other.resolve() == place.resolve():
            refuse("folder option test_path", other, f"another path of the kind of {place}")
    pictures = {name: asked[name] for name in ("size", "channels", "white")}
    sound = {name: asked[name] for name in ("rate", "frame", "hop", "bands")}
    how = Reading(**{name: asked[name] for name in asked if name not in pictures and name not in sound})
    for_tables = {name: value or None for name, value in asdict(how).items() if name != "steps"}
    for option, value in (for_tables if place.is_dir() else pictures | sound).items():
        if value is not None:
            kind = "an .npz or CSV" if place.is_dir() else "class folders"
            refuse(f"folder option {option}", value, f"it left out ({kind} would have it, not {place.name})")
    if place.is_dir():
        found = read_files(place, other, pictures, {"steps": how.steps, **sound})
        if normalise is not None and found.normalisation is not None:
            refuse(
                "folder option normalise", normalise, f"it left out (an .npz or CSV would have it, not {place.name})"
            )
        if found.tested and test is not None:
            refuse("folder option test", test, f"it left out ({place.name} has a test folder)")
        meant = targets.meaning(found.y, "class")
    else:
        found = read_table(place, how)
        meant = targets.meaning(found.y, how.target)
        if other is not None:
            found, meant = _with_test(found, meant, read_table(other, how))
    groups = None if found.groups is None else grouped.numbered(found.groups)
    share = TEST if test is None else test
    parts = grouped.divided(strata(meant), groups, found.tested, fold, seed, validation, share, found.source)
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
            y, known = (longer(some, x.shape[1], targets.NO_STEP) for some in (y, meant.y))
            meant = replace(meant, y=known)
    else:
        y = torch.from_numpy(targets.numbers_of(other.y))
        if y.shape[1] != meant.y.shape[1]:
            refuse(other.y.field, f"{y.shape[1]} values", f"{meant.y.shape[1]}, as in {found.source}")
    name = next(iter(other.digests))
    digests = {**found.digests, (f"{name} (test)" if name in found.digests else name): other.digests[name]}
    groups = None if found.groups is None or other.groups is None else [*found.groups, *other.groups]
    notes = (*found.notes, *(note for note in other.notes if note not in found.notes))
    found = replace(found, x=x, lengths=lengths, groups=groups, tested=len(other.x), digests=digests, notes=notes)
    return found, replace(meant, y=torch.cat([meant.y, y]))


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
        values = x[parts.train]
        if found.lengths is not None:
            values = values[torch.arange(x.shape[1]) < found.lengths[parts.train].unsqueeze(1)]
        # Pixels of an array share one range; a border pixel of constant value has none of its own.
        normalisation = fitted(values, kind, per_feature=len(shape) == 1, clip=True)
        x = filled(apply(x, normalisation), found.lengths)
    scaling = None if meant.classes else fitted(meant.y[parts.train], "minmax", per_feature=True, clip=False)
    y = meant.y if scaling is None else apply(meant.y, scaling)
    steps = x.shape[1] if found.time and isinstance(x, Tensor) else None
    if found.lengths is not None:
        short, long = int(found.lengths.min()), int(found.lengths.max())
        notes.append(f"sequences of {short} to {long} steps; what lies behind an end is not learned from or measured")
    notes += _equal(found.x, parts)
    made = parts.of(Split(x, y, torch.arange(len(y)), found.lengths))
    kind_of_y: Any = "classification" if meant.classes else "regression"
    names = ("columns", "target_column", "aside", "padding", "audio", "sensor")
    more = {name: getattr(found, name) for name in names}
    more |= {"target": scaling, "notes": tuple(notes), "lengths": found.lengths is not None}
    return DataSet(
        "folder", kind_of_y, *made, meant.classes, shape, steps, found.digests, found.input, normalisation, **more
    )


def _equal(x: Tensor | Events, parts: splits.Parts) -> list[str]:
    """A note on test examples of a table whose values are those of a training example."""
    if isinstance(x, Events) or x.ndim > 3 or x.numel() > COMPARED:
        return []
    rows = x.reshape(len(x), -1).contiguous().numpy()
    seen = {rows[i].tobytes() for i in parts.train.tolist()}
    again = sum(rows[i].tobytes() in seen for i in parts.test.tolist())
    return [f"{again:,} of {len(parts.test):,} test examples have the values of a training example"] if again else []
