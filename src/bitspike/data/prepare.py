"""New input for a trained network, read and normalised the way its data set was (`DataSet.form`)."""

from __future__ import annotations

from math import prod
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bitspike.data import tables
from bitspike.data.base import Events
from bitspike.data.classfolders import EVENT_SUFFIX
from bitspike.data.events import read_recordings
from bitspike.data.images import SUFFIXES, Setting, read_images
from bitspike.data.normalise import apply
from bitspike.errors import refuse

STANDARD_INPUT = "-"


def prepare(source: Path | str, form: dict[str, Any]) -> tuple[Tensor | Events, list[str]]:
    """Examples x as in `Split.x` and their names, from a file, a folder of files, or '-' (CSV on standard input).

    Images take image files; events take .bin files; all but events take an .npz with x, or CSV rows of
    values in the units of the training file. If that and the new CSV have a header, columns are found by name;
    else by position. The target (a column of the name it had in training, or y, label, class or target; without
    names one column too many, at its place in training or the last) is left out. Every other column is refused.
    """
    if str(source) == STANDARD_INPUT:
        if form["input"] == "events":
            refuse("standard input", "CSV rows", "a .bin event file: this network reads events")
        return _from_csv(None, form)
    path = Path(source).expanduser()
    if not path.exists():
        refuse(str(path), "no such file or folder", "input to predict")
    paths = [path]
    if path.is_dir():
        paths = sorted(child for child in path.iterdir() if child.suffix.lower() in _suffixes(form))
        if not paths:
            refuse(str(path), "a folder without such files", f"files {_in_words(form)}")
    wrong = [child for child in paths if child.suffix.lower() not in _suffixes(form)]
    if wrong:
        refuse(str(wrong[0]), f"a {wrong[0].suffix or 'nameless'} file", f"{_in_words(form)}")
    names = [str(child) for child in paths]
    if form["input"] == "events":
        _, height, width = form["shape"]
        return read_recordings(paths, (height, width)), names
    if all(child.suffix.lower() in SUFFIXES for child in paths):
        return _images(paths, form), names
    parts = [_from_file(child, form) for child in paths]
    return torch.cat([x for x, _ in parts]), [name for _, labels in parts for name in labels]


def _suffixes(form: dict[str, Any]) -> frozenset[str]:
    if form["input"] == "events":
        return frozenset({EVENT_SUFFIX})
    arrays = frozenset({".npz", ".csv", ".tsv"})
    return arrays | SUFFIXES if form["input"] == "image" else arrays


def _in_words(form: dict[str, Any]) -> str:
    wanted = {"events": ".bin of 5-byte events", "image": "an image, .npz or .csv"}.get(form["input"], ".npz or .csv")
    return f"{wanted} (this network reads {form['input']} input)"


def _from_file(path: Path, form: dict[str, Any]) -> tuple[Tensor, list[str]]:
    if path.suffix.lower() == ".npz":
        return _from_npz(path, form)
    if path.suffix.lower() in SUFFIXES:
        return _images([path], form), [str(path)]
    return _from_csv(path, form)


def _example_shape(form: dict[str, Any]) -> tuple[int, ...]:
    """(*shape) or (T, *shape)."""
    steps = () if form["steps"] is None else (form["steps"],)
    return (*steps, *form["shape"])


def _images(paths: list[Path], form: dict[str, Any]) -> Tensor:
    """Image files, in [0, 1] or, where the form has a number per channel, as those say of the files' own values."""
    channels, height, width = form["shape"]
    normalisation = form["normalisation"]
    x = read_images(paths, (channels, height, width), Setting.stored(normalisation))
    return apply(x * normalisation.get("white", 255.0), normalisation) if "axis" in normalisation else x


def _from_npz(path: Path, form: dict[str, Any]) -> tuple[Tensor, list[str]]:
    x = tables.as_numbers(tables.read_npz(path, ("x",))["x"])
    wanted = _example_shape(form)
    # One example without N, and axes of length 1 left out ((N, 28, 28) for (N, 1, 28, 28)), are the same values.
    squeezed = tuple(n for n in wanted if n != 1)
    if tuple(n for n in x.shape if n != 1) == squeezed:
        x = x.reshape(1, *wanted)
    elif tuple(n for n in x.shape[1:] if n != 1) == squeezed:
        x = x.reshape(len(x), *wanted)
    else:
        refuse(f"{path} x", f"shape {tuple(x.shape)}", f"(N, {', '.join(map(str, wanted))})")
    return apply(x, form["normalisation"]), [f"{path}[{i}]" for i in range(len(x))]


def _from_csv(path: Path | None, form: dict[str, Any]) -> tuple[Tensor, list[str]]:
    # Runs of before columns were stored have neither entry.
    trained, target = form.get("columns"), form.get("target_column") or {"name": None, "position": None}
    rows = tables.read_rows(path, trained)
    wanted = _example_shape(form)
    aside = tables.TARGET_NAMES | {target["name"].lower()} if target["name"] else tables.TARGET_NAMES
    named = rows.find(aside)
    if form["steps"] is not None and tables.is_long(rows):
        if trained is not None and len(trained) == prod(wanted[1:]):
            columns = tables.pick(rows, trained, aside | tables.SERIES_NAMES)
        else:
            columns = [i for i in tables.long_columns(rows, None) if i not in named]
        x, _, labels = tables.long_series(rows, columns, None)
        if tuple(x.shape[1:]) != wanted:
            came = f"{x.shape[1]} time steps of {x.shape[2]} values"
            refuse(rows.source, came, f"{wanted[0]} of {prod(wanted[1:])}")
        names = [f"{rows.source} example {label}" for label in labels]
    else:
        if rows.header and trained is not None and len(trained) == prod(wanted):
            columns = tables.pick(rows, trained, aside)
        else:
            columns = [i for i in range(rows.width) if i not in named]
            if len(columns) == prod(wanted) + 1 and not named:
                columns.pop(-1 if target["position"] is None else target["position"])
        if len(columns) != prod(wanted):
            refuse(rows.source, f"{len(columns)} columns of values", f"{prod(wanted)}, as in training")
        x = rows.numbers(columns).reshape(-1, *wanted)
        names = [f"{rows.source} row {line}" for line in rows.lines]
    return apply(x, form["normalisation"]), names
