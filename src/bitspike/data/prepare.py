"""New input for a trained network, read and normalised the way its data set was (`DataSet.form`)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bitspike.data import audio, classfolders, tables, targets
from bitspike.data.arrays import read_npz
from bitspike.data.base import Events, Split
from bitspike.data.eventfiles import recordings
from bitspike.data.formats import suffixes
from bitspike.data.found import longer
from bitspike.data.images import SUFFIXES, Setting, read_images
from bitspike.data.normalise import apply
from bitspike.data.owntable import Reading, long_targets, npz_targets
from bitspike.errors import refuse

STANDARD_INPUT = "-"


@dataclass(frozen=True)
class _New:
    """Raw x (N, *shape) or (N, T, *shape), what each example is called, its lengths if they differ, and its target."""

    x: Tensor | Events
    names: list[str]
    lengths: Tensor | None = None
    y: targets.Given | None = None
    ready: bool = False


def prepare(source: Path | str, form: dict[str, Any]) -> tuple[Tensor | Events, list[str]]:
    """Examples x as in `Split.x` and their names, from a file, a folder of files, or '-' (CSV on standard input).

    Images take image files; events take event files; sound takes sound files; all but events take an .npz with x, or
    CSV rows of values in the units of the training file. If that and the new CSV have a header, columns are found by
    name; else by position. The target (a column of the name it had in training, or y, label, class or target; without
    names one column too many, at its place in training or the last) is left out, and so is a group; every other column
    is refused. Sequences of different lengths are NaN behind their ends.
    """
    new = _read(source, form, None)
    x = _normalised(new, form)
    if isinstance(x, Tensor) and new.lengths is not None:
        x = torch.where(_inside(x, new.lengths), x, torch.full_like(x, torch.nan))
    return x, new.names


def prepare_labelled(source: Path | str, form: dict[str, Any], classes: tuple[str, ...]) -> tuple[Split, list[str]]:
    """Examples with their targets as a data set's `Split`, and their names.

    A file as in `prepare` with its target, or class folders; a class that training did not know is refused by name.
    """
    new = _read(source, form, classes)
    if new.y is None:
        refuse(str(source), "no target", "a labelled file (a column of the target, y, or class folders)")
    x, count = _normalised(new, form), len(new.names)
    if isinstance(x, Tensor) and new.lengths is not None:
        x = torch.where(_inside(x, new.lengths), x, torch.zeros_like(x))
    if classes:
        y = targets.classified(new.y, classes)
        if (y.ndim == 2) != bool(form.get("per_step")):
            refuse(new.y.field, f"labels of shape {tuple(y.shape)}", "labels as in training, per example or per step")
        if y.ndim == 2 and y.shape[1] < form["steps"]:
            y = torch.cat([y, y.new_full((count, form["steps"] - y.shape[1]), targets.NO_STEP)], 1)
    else:
        values, target = torch.from_numpy(targets.numbers_of(new.y)), form["target"]
        y = values.float() if target is None else apply(values, target)
    return Split(x, y, torch.arange(count), new.lengths), new.names


def ends(x: Tensor) -> Tensor:
    """The lengths (N,) of sequences x (N, T, ...) that are NaN behind their ends; all-NaN ones have none (0)."""
    filled = ~x.flatten(2).isnan().all(2)
    return (torch.arange(1, x.shape[1] + 1, device=x.device) * filled).amax(1)


def _inside(x: Tensor, lengths: Tensor) -> Tensor:
    inside = torch.arange(x.shape[1]) < lengths.unsqueeze(1)
    return inside.view(*inside.shape, *(1,) * (x.ndim - 2))


def _normalised(new: _New, form: dict[str, Any]) -> Tensor | Events:
    return new.x if new.ready or isinstance(new.x, Events) else apply(new.x, form["normalisation"])


def _read(source: Path | str, form: dict[str, Any], classes: tuple[str, ...] | None) -> _New:
    """classes: those of training (none for values) if the targets are wanted too."""
    labelled = classes is not None
    if str(source) == STANDARD_INPUT:
        if form["input"] == "events":
            refuse("standard input", "CSV rows", "an event file: this network reads events")
        return _from_csv(None, form, labelled)
    path = Path(source).expanduser()
    if not path.exists():
        refuse(str(path), "no such file or folder", f"input to {'measure on' if labelled else 'predict'}")
    paths = [path]
    if path.is_dir():
        if classes:
            return _from_class_folders(path, form, classes)
        paths = sorted(child for child in path.iterdir() if child.suffix.lower() in _suffixes(form))
        if not paths:
            refuse(str(path), "a folder without such files", f"files {_in_words(form)}")
    wrong = [child for child in paths if child.suffix.lower() not in _suffixes(form)]
    if wrong:
        refuse(str(wrong[0]), f"a {wrong[0].suffix or 'nameless'} file", f"{_in_words(form)}")
    if all(child.suffix.lower() in _files_of(form) for child in paths):
        return _from_files(paths, form)
    parts = [_from_file(child, form, labelled) for child in paths]
    if len(parts) == 1:
        return parts[0]
    return _New(torch.cat([_tensor(part) for part in parts]), [n for part in parts for n in part.names], _ends(parts))


def _tensor(new: _New) -> Tensor:
    assert isinstance(new.x, Tensor)
    return new.x


def _ends(parts: list[_New]) -> Tensor | None:
    if all(part.lengths is None for part in parts):
        return None
    every = [torch.full((len(p.names),), _tensor(p).shape[1]) if p.lengths is None else p.lengths for p in parts]
    return torch.cat(every)


def _files_of(form: dict[str, Any]) -> frozenset[str]:
    """Suffixes of the files of which each is one example."""
    if form["input"] == "events":
        return suffixes()
    if form.get("audio"):
        return audio.SUFFIXES
    return SUFFIXES if form["input"] == "image" else frozenset()


def _suffixes(form: dict[str, Any]) -> frozenset[str]:
    arrays = frozenset() if form["input"] == "events" else frozenset({".npz", ".csv", ".tsv"})
    return arrays | _files_of(form)


def _in_words(form: dict[str, Any]) -> str:
    wanted = {"events": ", ".join(sorted(suffixes())), "image": "an image, .npz or .csv"}.get(
        form["input"], ".npz or .csv"
    )
    if form.get("audio"):
        return f"{audio.IN_WORDS}, .npz or .csv of mel bands"
    return f"{wanted} (this network reads {form['input']} input)"


def _from_file(path: Path, form: dict[str, Any], labelled: bool) -> _New:
    if path.suffix.lower() == ".npz":
        return _from_npz(path, form, labelled)
    if path.suffix.lower() in _files_of(form):
        return _from_files([path], form)
    return _from_csv(path, form, labelled)


def _example_shape(form: dict[str, Any]) -> tuple[int, ...]:
    """(*shape) or (T, *shape)."""
    steps = () if form["steps"] is None else (form["steps"],)
    return (*steps, *form["shape"])


def _from_files(paths: list[Path], form: dict[str, Any]) -> _New:
    """Files of which each is one example."""
    names = [str(path) for path in paths]
    if form["input"] == "events":
        _, height, width = form["shape"]
        return _New(recordings(paths, (height, width))[0], names)
    if form.get("audio"):
        made = audio.read_sounds(paths, form["audio"])
        x, lengths = _fitted(made.x, made.lengths, form, names[int(made.lengths.argmax())])
        return _New(x, names, lengths)
    return _New(_images(paths, form), names, ready=True)


def _from_class_folders(root: Path, form: dict[str, Any], classes: tuple[str, ...]) -> _New:
    files = classfolders.listed(root, classes)
    wrong = [path for path in files.paths if path.suffix.lower() not in _files_of(form)]
    if wrong:
        refuse(str(wrong[0]), f"a {wrong[0].suffix} file", _in_words(form))
    new = _from_files(files.paths, form)
    labels = np.array([classes[number] for number in files.y.tolist()])
    return replace(new, y=targets.of_array(labels, str(root)))


def _images(paths: list[Path], form: dict[str, Any]) -> Tensor:
    """Image files, in [0, 1] or, where the form has a number per channel, as those say of the files' own values."""
    channels, height, width = form["shape"]
    normalisation = form["normalisation"]
    x = read_images(paths, (channels, height, width), Setting.stored(normalisation))
    return apply(x * normalisation.get("white", 255.0), normalisation) if "axis" in normalisation else x


def _fitted(x: Tensor, lengths: Tensor | None, form: dict[str, Any], field: str) -> tuple[Tensor, Tensor | None]:
    """Sequences x (N, T', *shape) with the T of training, and their lengths where training had different ones."""
    steps = form["steps"]
    known = torch.full((len(x),), x.shape[1]) if lengths is None else lengths
    if form.get("lengths"):
        if int(known.max()) > steps:
            came = f"a sequence of {int(known.max())} steps"
            refuse(field, came, f"at most {steps}, the longest of training (data.options.steps pads to more)")
        return longer(x[:, :steps], steps), known
    if bool((known != steps).any()):
        refuse(field, f"a sequence of {int(known[known != steps][0])} steps", f"{steps} steps, as in training")
    return x[:, :steps], None


def _from_npz(path: Path, form: dict[str, Any], labelled: bool) -> _New:
    arrays = read_npz(path, target=labelled, padding=form.get("padding"))
    x, lengths, wanted = arrays.x, arrays.lengths, _example_shape(form)
    shape, field = tuple(form["shape"]), f"{path} {arrays.x_name}"
    # One example without N, and axes of length 1 left out ((N, 28, 28) for (N, 1, 28, 28)), are the same values.
    squeezed = tuple(n for n in wanted if n != 1)
    one = tuple(n for n in shape if n != 1)
    if form["steps"] is not None and (lengths is not None or form.get("lengths")):
        if lengths is None and tuple(n for n in x.shape[1:] if n != 1) == one and x.ndim <= 1 + len(shape):
            x = x.unsqueeze(0)
        if x.ndim < 2 or tuple(n for n in x.shape[2:] if n != 1) != one:
            refuse(field, f"shape {tuple(x.shape)}", f"(N, T, {', '.join(map(str, shape))})")
        x, lengths = _fitted(x.reshape(*x.shape[:2], *shape), lengths, form, field)
    elif not labelled and tuple(n for n in x.shape if n != 1) == squeezed:
        x = x.reshape(1, *wanted)
    elif tuple(n for n in x.shape[1:] if n != 1) == squeezed:
        x = x.reshape(len(x), *wanted)
    else:
        refuse(field, f"shape {tuple(x.shape)}", f"(N, {', '.join(map(str, wanted))})")
    kind: targets.Target = "class" if form["target"] is None else "value"
    how = Reading(time=form["steps"] is not None, target=kind)
    y = npz_targets(path, replace(arrays, lengths=lengths), x, how.time, how) if labelled else None
    return _New(x, [f"{path}[{i}]" for i in range(len(x))], lengths, y)


def _from_csv(path: Path | None, form: dict[str, Any], labelled: bool) -> _New:
    # Runs of before columns were stored have neither entry.
    trained, target = form.get("columns"), form.get("target_column") or {"name": None, "position": None}
    rows = tables.read_rows(path, trained)
    wanted = _example_shape(form)
    known = {target["name"].lower()} if target["name"] else set()
    others = frozenset(name.lower() for name in form.get("aside", ()))
    aside = tables.TARGET_NAMES | known | others
    named, extra = rows.find(aside), None
    if form["steps"] is not None and tables.is_long(rows):
        if trained is not None and len(trained) == prod(wanted[1:]):
            columns = tables.pick(rows, trained, aside | tables.SERIES_NAMES)
        else:
            columns = tables.long_columns(rows, named)
        series = tables.long_series(rows, columns)
        x = series.x
        if x.shape[2] != prod(wanted[1:]):
            refuse(rows.source, f"{x.shape[2]} values at each time step", f"{prod(wanted[1:])}, as in training")
        x, lengths = _fitted(x.reshape(*x.shape[:2], *wanted[1:]), series.lengths, form, rows.source)
        names = [f"{rows.source} example {label}" for label in series.names]
        y = _long_target(rows, series, _target(rows, known, None), form) if labelled else None
        return _New(x, names, lengths, y)
    if rows.header and trained is not None and len(trained) == prod(wanted):
        columns = tables.pick(rows, trained, aside)
    else:
        columns = [i for i in range(rows.width) if i not in named]
        header = rows.header or []
        if len(columns) == prod(wanted) + 1 and all(header[i].lower() in others for i in named):
            extra = columns.pop(-1 if target["position"] is None else target["position"])
    if len(columns) != prod(wanted):
        refuse(rows.source, f"{len(columns)} columns of values", f"{prod(wanted)}, as in training")
    x = rows.numbers(columns).reshape(-1, *wanted)
    y = None
    if labelled and (column := _target(rows, known, extra)) is not None:
        field = f"{rows.source} column {rows.header[column] if rows.header else column + 1}"
        y = targets.of_cells([c[column] for c in rows.cells], field, lambda i: rows.place(i, column))
    lengths = torch.full((len(x),), wanted[0]) if form.get("lengths") else None
    return _New(x, [f"{rows.source} row {line}" for line in rows.lines], lengths, y)


def _target(rows: tables.Rows, known: set[str], extra: int | None) -> int | None:
    """The target's column: the one of its name in training, or of a usual name, or the one too many."""
    for names in (frozenset(known), tables.TARGET_NAMES):
        found = rows.find(names)
        if len(found) == 1:
            return found[0]
    return extra


def _long_target(
    rows: tables.Rows, series: tables.Series, column: int | None, form: dict[str, Any]
) -> targets.Given | None:
    if column is None:
        return None
    return long_targets(rows, series, column, f"{rows.source} column {column + 1}", bool(form.get("per_step")))
