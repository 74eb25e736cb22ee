"""New input for a trained network, read and normalised the way its data set was (`DataSet.form`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bitspike.data import audio, classfolders, owntable, tables, targets
from bitspike.data.arrays import read_npz
from bitspike.data.base import Events, Split, ends_of, filled, longer
from bitspike.data.eventfiles import recordings
from bitspike.data.formats import suffixes
from bitspike.data.formats.base import View
from bitspike.data.images import SUFFIXES, Setting, read_images
from bitspike.data.normalise import apply
from bitspike.errors import refuse
from bitspike.notices import notice

STANDARD_INPUT = "-"


@dataclass(frozen=True)
class _New:
    """Raw x (N, *shape) or (N, T, *shape), what each example is called, its lengths if they differ, and its target."""

    x: Any
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
    return _normalised(new, form, torch.nan), new.names


def prepare_labelled(source: Path | str, form: dict[str, Any], classes: tuple[str, ...]) -> tuple[Split, list[str]]:
    """Examples with their targets as a data set's `Split`, and their names.

    A file as in `prepare` with its target, or class folders; a class that training did not know is refused by name.
    """
    new = _read(source, form, classes)
    if new.y is None:
        refuse(str(source), "no target", "a labelled file (a column of the target, y, or class folders)")
    if classes:
        y = targets.classified(new.y, classes)
        if (y.ndim == 2) != bool(form.get("per_step")):
            refuse(new.y.field, f"labels of shape {tuple(y.shape)}", "labels as in training, per example or per step")
        if y.ndim == 2 and y.shape[1] < form["steps"]:
            y = longer(y, form["steps"], targets.NO_STEP)
    else:
        values, target = torch.from_numpy(targets.numbers_of(new.y)), form["target"]
        y = values.float() if target is None else apply(values, target)
    return Split(_normalised(new, form, 0), y, torch.arange(len(new.names)), new.lengths), new.names


def ends(x: Tensor) -> Tensor:
    """The lengths (N,) of sequences x (N, T, ...) that are NaN behind their ends; all-NaN ones have none (0)."""
    filled = ~x.flatten(2).isnan().all(2)
    return (torch.arange(1, x.shape[1] + 1, device=x.device) * filled).amax(1)


def _normalised(new: _New, form: dict[str, Any], behind: float) -> Tensor | Events:
    """x as a data set has it, with `behind` where sequences have ended."""
    if new.ready or isinstance(new.x, Events):
        raw: Tensor | Events = new.x
        return raw
    return filled(apply(new.x, form["normalisation"]), new.lengths, behind)


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
    each, words = _taken(form)
    taken = each if form["input"] == "events" else each | owntable.SUFFIXES
    if path.is_dir():
        if classes:
            return _from_class_folders(path, form, classes)
        inside = sorted(child for child in path.iterdir() if child.name[0] != ".")
        paths = [child for child in inside if child.suffix.lower() in taken]
        if not paths:
            refuse(str(path), "a folder without such files", f"files {words}")
        if others := [child for child in inside if child.suffix.lower() not in taken]:
            notice(classfolders.left_out(path, others, "the folder"))
    if wrong := [child for child in paths if child.suffix.lower() not in taken]:
        refuse(str(wrong[0]), f"a {wrong[0].suffix or 'nameless'} file", words)
    if all(child.suffix.lower() in each for child in paths):
        return _from_files(paths, form)
    parts = []
    for child in paths:
        suffix = child.suffix.lower()
        table = _from_npz if suffix == ".npz" else _from_csv
        parts.append(_from_files([child], form) if suffix in each else table(child, form, labelled))
    if len(parts) == 1:
        return parts[0]
    ready = any(part.ready for part in parts)
    if ready:  # images among them are normalised already: so are all
        parts = [part if part.ready else replace(part, x=apply(part.x, form["normalisation"])) for part in parts]
    known = any(part.lengths is not None for part in parts)
    lengths = torch.cat([ends_of(part.x, part.lengths) for part in parts]) if known else None
    return _New(torch.cat([part.x for part in parts]), [n for part in parts for n in part.names], lengths, ready=ready)


def _taken(form: dict[str, Any]) -> tuple[frozenset[str], str]:
    """Suffixes of the files of which each is one example, and in words what this network reads."""
    kind = form["input"]
    if form.get("audio"):
        return audio.SUFFIXES, f"{audio.IN_WORDS}, .npz or .csv of mel bands"
    each = suffixes() if kind == "events" else SUFFIXES if kind == "image" else frozenset()
    words = {"events": ", ".join(sorted(each)), "image": "an image, .npz or .csv"}.get(kind, ".npz or .csv")
    return each, f"{words} (this network reads {kind} input)"


def _example_shape(form: dict[str, Any]) -> tuple[int, ...]:
    """(*shape) or (T, *shape)."""
    steps = () if form["steps"] is None else (form["steps"],)
    return (*steps, *form["shape"])


def _from_files(paths: list[Path], form: dict[str, Any]) -> _New:
    """Files of which each is one example."""
    names = [str(path) for path in paths]
    if form["input"] == "events":
        _, height, width = form["shape"]
        seen = form.get("sensor", {})
        view = View(seen["upward"], seen["brighter"]) if seen else None
        found = recordings(paths, (height, width), same=not seen.get("asked", False), view=view)
        _say(paths, found.notes)
        return _New(found.events, names)
    if form.get("audio"):
        made = audio.read_sounds(paths, form["audio"])
        x, lengths = _fitted(made.x, made.lengths, form, names[int(made.lengths.argmax())])
        return _New(x, names, lengths)
    return _New(_images(paths, form), names, ready=True)


def _say(paths: list[Path], notes: Sequence[str]) -> None:
    """Tell the person who waits what was mended, skipped or left out."""
    for note in notes:
        notice(f"{paths[0] if len(paths) == 1 else paths[0].parent}: {note}")


def _from_class_folders(root: Path, form: dict[str, Any], classes: tuple[str, ...]) -> _New:
    files = classfolders.listed(root, classes)
    for note in files.notes:
        notice(note)
    each, words = _taken(form)
    if wrong := [path for path in files.paths if path.suffix.lower() not in each]:
        refuse(str(wrong[0]), f"a {wrong[0].suffix} file", words)
    new = _from_files(files.paths, form)
    labels = np.array([classes[number] for number in files.y.tolist()])
    return replace(new, y=targets.of_array(labels, str(root)))


def _images(paths: list[Path], form: dict[str, Any]) -> Tensor:
    """Image files, in [0, 1] or, where the form has a number per channel, as those say of the files' own values."""
    channels, height, width = form["shape"]
    normalisation = form["normalisation"]
    x = read_images(paths, (channels, height, width), Setting.stored(normalisation))
    return apply(x * normalisation.get("white", 255.0), normalisation) if "axis" in normalisation else x


def _check_pixels(x: Tensor, form: dict[str, Any], field: str) -> None:
    """Refuse values that are no pixels of a run on image files, above all those of pixels divided already."""
    normalisation = form["normalisation"]
    white = normalisation.get("white") or (normalisation.get("high") or [0.0])[0]
    if form["input"] != "image" or white not in (255.0, 65535.0) or normalisation.get("low", [0.0]) != [0.0]:
        return
    least, most = float(x.min()), float(x.max())
    if least < 0 or most > white or (most <= 1 and bool((x != x.round()).any())):
        refuse(field, f"values from {least:g} to {most:g}", f"pixels from 0 to {white:g}, as in training")


def _fitted(x: Tensor, lengths: Tensor | None, form: dict[str, Any], field: str) -> tuple[Tensor, Tensor | None]:
    """Sequences x (N, T', *shape) with the T of training, and their lengths where training had different ones."""
    steps = form["steps"]
    known = ends_of(x, lengths)
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
    _check_pixels(x, form, field)
    kind: targets.Target = "class" if form["target"] is None else "value"
    how = owntable.Reading(time=form["steps"] is not None, target=kind)
    y = owntable.npz_targets(path, replace(arrays, lengths=lengths), x, how.time, how) if labelled else None
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
        y = None
        if labelled and (column := _target(rows, known, None)) is not None:
            field, each = f"{rows.source} column {column + 1}", bool(form.get("per_step"))
            y = owntable.long_targets(rows, series, column, field, each)
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
    _check_pixels(x, form, rows.source)
    y = None
    if labelled and (column := _target(rows, known, extra)) is not None:
        field = f"{rows.source} column {rows.header[column] if rows.header else column + 1}"
        cells = [each[column] for each in rows.cells]
        y = targets.of_cells(cells, field, lambda i: rows.place(i, column), decimal_comma=rows.decimal_comma)
    lengths = torch.full((len(x),), wanted[0]) if form.get("lengths") else None
    return _New(x, [f"{rows.source} row {line}" for line in rows.lines], lengths, y)


def _target(rows: tables.Rows, known: set[str], extra: int | None) -> int | None:
    """The target's column: the one of its name in training, or of a usual name, or the one too many."""
    for names in (frozenset(known), tables.TARGET_NAMES):
        found = rows.find(names)
        if len(found) == 1:
            return found[0]
    return extra
