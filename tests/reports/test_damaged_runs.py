"""Damaged files of a run are named with the entry, in one line, before anything is drawn."""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bitspike.errors import BitspikeError
from bitspike.reports import report
from bitspike.reports.page import sections_of
from bitspike.reports.rundata import read_run

MakeRun = Callable[..., Path]
Arrays = dict[str, Any]


def refused(run: Path) -> str:
    with pytest.raises(BitspikeError) as caught:
        sections_of(read_run(run))
    assert "\n" not in str(caught.value)
    return str(caught.value).replace(f"{run}/", "")


def nan_at(array: Any) -> Any:
    array = array.astype(float)
    array.flat[5] = np.nan
    return array


@pytest.mark.parametrize(
    ("file", "name", "change", "message"),
    [
        ("predictions", "probabilities", nan_at, "[0, 1, 2]: got nan, wanted numbers from 0 to 1"),
        ("predictions", "probabilities", lambda a: a + 1, "[0, 0, 0]: got 1."),
        ("predictions", "probabilities", lambda a: a[0, 0], ": got shape (3,), wanted 3 or 4 dimensions"),
        ("predictions", "probabilities", lambda a: a.astype("U8"), ": got values of type <U8, wanted numbers"),
        ("predictions", "index", lambda a: a.astype(complex), ": got values of type complex128, wanted numbers"),
        ("predictions", "raster_1", lambda a: a[..., :1], "raster: got layers of unequal numbers of samples"),
        ("predictions", "raster_events", lambda a: a[:0], ": got shape (0, 9, 2)"),
        ("predictions", "raster_images", lambda a: a * 1e80, ": got"),
        ("predictions", "grid_probability", lambda a: a[:-1], ": got 24 rows for 25 points"),
        ("history", "epochs", lambda a: a[::-1], ": got numbers that do not rise"),
        ("history", "edges", lambda a: a + 2, "[0]: got 2, wanted numbers from 0 to 1"),
        ("history", "counts/layers.1.weight", lambda a: -a, "[0, 0]: got -1, wanted numbers, counts"),
        ("history", "counts/layers.1.weight", lambda a: a[:2], ": got shape (2, 10), wanted (3, 10)"),
    ],
)
def test_arrays_are_named(make_run: MakeRun, file: str, name: str, change: Callable[[Any], Any], message: str) -> None:
    run = make_run()
    for other in {"predictions", "history"} - {file}:
        (run / f"{other}.npz").unlink()
    (run / "metrics.jsonl").unlink()
    (run / "result.json").write_text("{}")
    with np.load(run / f"{file}.npz") as stored:
        arrays: Arrays = dict(stored)
    arrays[name] = change(arrays[name])
    np.savez(run / f"{file}.npz", **arrays)
    said = refused(run)
    assert said.startswith(f"{file}.npz ")
    assert message in said
    assert message.startswith("raster:") or name in said


@pytest.mark.parametrize(
    ("file", "keys", "value", "message"),
    [
        ("result.json", ("test", "accuracy"), "high", "test.accuracy: got 'high', wanted a number"),
        ("result.json", ("test", "nll"), [1], "test.nll: got a list, wanted a number"),
        ("result.json", ("test", "nll"), 10**70, "test.nll: got a number beyond 1e60"),
        ("result.json", ("over_time",), {}, "over_time: got a table, wanted a list"),
        ("result.json", ("over_time", 2), 3, "over_time[2]: got 3, wanted a table"),
        ("result.json", ("over_time", 2, "step"), "x", "over_time[2].step: got 'x', wanted a number"),
        ("result.json", ("confusion", 0, 0), -1, "confusion: got an entry that is no count"),
        ("result.json", ("confusion", 0, 0), "a", "confusion: got rows of unequal length"),
        ("result.json", ("confusion",), [[1, 2], [3]], "confusion: got rows of unequal length"),
        ("result.json", ("reliability", "edges"), [0.0] * 16, "reliability: got edges that do not rise"),
        ("result.json", ("reliability", "count"), [1], "reliability: got lists of other lengths"),
        ("result.json", ("reliability_scaled", "accuracy"), [7] * 15, "reliability_scaled: got a share outside"),
        ("result.json", ("energy",), "much", "energy: got 'much', wanted a table"),
        ("result.json", ("energy", "network", "ac"), "x", "energy.network.ac: got 'x', wanted a number"),
        ("result.json", ("warnings",), [5], "warnings[0]: got 5, wanted text"),
        ("result.json", ("shipped",), "map", "shipped: got 'map', wanted a table"),
        ("result.json", ("note",), "\ud800", "note: got half a letter"),
        ("environment.json", ("data",), 5, "data: got 5, wanted a table"),
        ("environment.json", ("data", "classes"), "abc", "data.classes: got 'abc', wanted a list of names"),
        ("environment.json", ("data", "examples", "test"), "x", "data.examples test: got 'x', wanted a count"),
    ],
)
def test_entries_of_json_are_named(
    make_run: MakeRun, file: str, keys: tuple[Any, ...], value: Any, message: str
) -> None:
    run = make_run()
    for name in ("predictions.npz", "history.npz", "metrics.jsonl"):
        (run / name).unlink()
    content = json.loads((run / file).read_text())
    place = content
    for key in keys[:-1]:
        place = place[key]
    place[keys[-1]] = value
    (run / file).write_text(json.dumps(content))
    assert refused(run).startswith(f"{file} {message}")


@pytest.mark.parametrize("name", ["result.json", "environment.json", "metrics.jsonl", "sweep.json", "spiking.json"])
@pytest.mark.parametrize(
    "content", ['{"a": ' + "[" * 5000, '{"a": ' + "[" * 60 + "]" * 60 + "}", '{"a": ' + "9" * 5000]
)
def test_endless_json_is_named(make_run: MakeRun, name: str, content: str) -> None:
    run = make_run()
    (run / name).write_text(content)
    said = refused(run)
    assert said.startswith(name)
    assert len(said) < 300


@pytest.mark.parametrize("text", ["model = 5\n", "a = " + "[" * 3000, "a = " + "9" * 5000 + "\n"])
def test_recipes_are_named(make_run: MakeRun, text: str) -> None:
    run = make_run()
    (run / "recipe.toml").write_text(text)
    assert refused(run).startswith("recipe.toml")


def test_an_array_larger_than_its_file_takes_no_memory(make_run: MakeRun) -> None:
    run = make_run()
    header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (1000000, 1000000), }"
    header += b" " * (117 - len(header)) + b"\n"
    content = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + b"\0" * 64
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("probabilities.npy", content)
    (run / "predictions.npz").write_bytes(packed.getvalue())
    assert re.match(r"predictions\.npz: got a broken archive \(ValueError\)", refused(run))


def test_what_is_missing_or_null_still_makes_a_page(make_run: MakeRun) -> None:
    run = make_run()
    for name in ("predictions.npz", "history.npz", "metrics.jsonl"):
        (run / name).unlink()
    nothing = {"test": {"accuracy": None, "nll": float("nan"), "scaled": None}, "shipped": None, "warnings": None}
    (run / "result.json").write_text(json.dumps(nothing | {"baselines": {"logistic": None, "left_out": "too large"}}))
    assert "–" in report(run).read_text(encoding="utf-8")
