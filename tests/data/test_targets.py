"""What is a class and what a value, and that the text of a class is its name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bitspike.data import DataSet, load, prepare
from bitspike.errors import BitspikeError


def labelled(folder: Path, labels: list[str], name: str = "label", count: int = 40, **options: Any) -> DataSet:
    rows = "".join(f"{i},{i * i % 7},{labels[i % len(labels)]}\n" for i in range(count))
    (folder / "d.csv").write_text(f"a,b,{name}\n{rows}")
    return load("folder", path=folder / "d.csv", **options)


def everything(data: DataSet) -> torch.Tensor:
    parts = (data.train, data.validation, data.test)
    return torch.cat([part.y for part in parts])[torch.cat([part.index for part in parts]).argsort()]


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        (["007", "7", "08", "8"], ("007", "7", "08", "8")),
        (["1_0", "10", "1_1", "2"], ("2", "10", "1_0", "1_1")),
        (["1e2", "100", "3", "4"], ("100", "1e2", "3", "4")),
        (["1.1", "1.10", "1.2", "1.20"], ("1.1", "1.10", "1.2", "1.20")),
        (["+1", "1", "-0", "0"], ("+1", "-0", "0", "1")),
        (["1.0", "1", "2", "2.0"], ("1", "1.0", "2", "2.0")),
        (['"007"', '" 7"', '"7"', '"a,b"'], (" 7", "007", "7", "a,b")),
        (["９", "9", "x", "y"], ("9", "x", "y", "９")),
    ],
)
@pytest.mark.parametrize("target", [None, "class"])
def test_the_text_of_a_class_is_its_name(
    tmp_path: Path, labels: list[str], classes: tuple[str, ...], target: str | None
) -> None:
    data = labelled(tmp_path, labels, target=target)
    assert sorted(data.classes) == sorted(classes)
    names = [label.strip('"') for label in labels]
    assert [data.classes[c] for c in everything(data).tolist()] == [names[i % 4] for i in range(40)]


@pytest.mark.parametrize("name", ["y", "label"])
def test_the_rule_that_chose_is_said(tmp_path: Path, name: str) -> None:
    few = labelled(tmp_path, ["0.5", "1.5"], name)
    assert few.kind == ("classification" if name == "label" else "regression")
    said = "classes, as the column is called so" if name == "label" else "values, as fractional numbers"
    assert any(note.startswith(f"d.csv column {name}: {said}") and "2 distinct of 40" in note for note in few.notes)
    whole = labelled(tmp_path, ["3", "4", "9"], name)
    assert whole.classes == ("3", "4", "9")
    assert any("whole numbers with few distinct values (3 distinct of 40)" in note for note in whole.notes)
    many = labelled(tmp_path, [str(3 * i) for i in range(40)], name)
    assert many.kind == "regression"
    assert any("values, as whole numbers with many distinct values" in note for note in many.notes)
    assert not any(f"column {name}" in note for note in labelled(tmp_path, ["3", "4"], name, target="value").notes)


def test_values_stay_numbers(tmp_path: Path) -> None:
    labels = [f"{i / 8:.3f}" for i in range(40)]
    data = labelled(tmp_path, labels, "y", normalise="none")
    assert data.target is not None
    assert (data.target["low"], data.target["high"]) != ([0.0], [1.0])
    with pytest.raises(BitspikeError, match=r"text such as '1_0', wanted numbers, as target = 'value' says"):
        labelled(tmp_path, ["1_0", "2"], "y", target="value")


def npz(folder: Path, **arrays: Any) -> Path:
    np.savez(folder / "a.npz", **arrays)
    return folder / "a.npz"


@pytest.mark.parametrize(
    ("y", "classes"),
    [
        (np.array(["007", "7"] * 10), ("007", "7")),
        (np.array([b"u", b"v"] * 10), ("u", "v")),
        (np.array([True, False] * 10), ("0", "1")),
        (np.array([[2], [5]] * 10), ("2", "5")),
        (np.array([2.0, -5.0] * 10), ("-5", "2")),
        (np.array([2**60, 2**60 + 1] * 10), (str(2**60), str(2**60 + 1))),
    ],
)
def test_labels_of_an_npz(tmp_path: Path, y: Any, classes: tuple[str, ...]) -> None:
    data = load("folder", path=npz(tmp_path, x=np.arange(40.0).reshape(20, 2), y=y))
    assert data.classes == classes
    assert everything(data).bincount().tolist() == [10, 10]


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (np.zeros((20, 3), dtype=int), r"a.npz y: got int64 of shape \(20, 3\), wanted one label per example \(N,\)"),
        (np.array([["a", "b"]] * 20), r"a.npz y: got <U1 of shape \(20, 2\), wanted one label per example"),
        (np.zeros(20, dtype=complex), r"a.npz y: got complex128 of shape \(20,\), wanted numbers or strings"),
        (np.array(["a", ""] * 10), r"a.npz y\[1\]: got an empty text, wanted a class name"),
        (np.array([{"a": 1}] * 20), r"a.npz: got an object array or no .npz file"),
    ],
)
def test_labels_that_say_nothing_are_refused(tmp_path: Path, y: Any, message: str) -> None:
    with pytest.raises(BitspikeError, match=message):
        load("folder", path=npz(tmp_path, x=np.arange(40.0).reshape(20, 2), y=y))


def test_several_values_for_each_example(tmp_path: Path) -> None:
    x, y = np.arange(40.0).reshape(20, 2), np.arange(60.0).reshape(20, 3)
    data = load("folder", path=npz(tmp_path, x=x, y=y + 0.5))
    assert (data.kind, tuple(data.train.y.shape[1:])) == ("regression", (3,))
    data = load("folder", path=npz(tmp_path, x=x, y=np.eye(3, dtype=int)[np.arange(20) % 3]), target="value")
    assert data.kind == "regression"


def test_arrays_by_other_names_are_said(tmp_path: Path) -> None:
    x, y = np.arange(40.0).reshape(20, 2), np.array(["u", "v"] * 10)
    data = load("folder", path=npz(tmp_path, samples=x, labels=y, who=y))
    assert data.notes[:2] == ("a.npz: x is 'samples', y is 'labels'", "a.npz: not read: who")
    with pytest.raises(BitspikeError, match=r"got arrays samples, data, y, wanted one named x \(or only one of samp"):
        load("folder", path=npz(tmp_path, samples=x, data=x, y=y))


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (
            ["1", "NA"],
            r"row 3, column 'y': got 'NA', wanted a number, as elsewhere in the column \(target = 'class' tak",
        ),
        (["?", "1.5"], r"row 2, column 'y': got '\?', wanted a number"),
        ([*map(str, range(39)), "unknown"], r"row 41, column 'y': got 'unknown', wanted a number, as elsewhere"),
        (["2.5"], r"column y: got only the value 2.5, wanted at least 2 distinct values"),
    ],
)
def test_a_missing_value_is_no_class(tmp_path: Path, labels: list[str], message: str) -> None:
    with pytest.raises(BitspikeError, match=message):
        labelled(tmp_path, labels, "y")


def test_a_missing_name_is_said(tmp_path: Path) -> None:
    notes = labelled(tmp_path, ["nan", "b"]).notes
    assert "d.csv column label: a class is called 'nan'; if its label is missing, leave such examples out" in notes


def test_a_column_that_counts_the_rows_is_no_value(tmp_path: Path) -> None:
    rows = "".join(f"{i},{i * i % 7},{'uv'[i % 2]}\n" for i in range(20))
    (tmp_path / "a.csv").write_text(f",a,label\n{rows}")
    data = load("folder", path=tmp_path / "a.csv", normalise="none")
    assert data.shape == (1,)
    assert data.notes[0] == "a.csv: column 1 has no name and counts the rows: it is left out"
    (tmp_path / "new.csv").write_text(",a\n0,5\n1,6\n")
    assert prepare(tmp_path / "new.csv", data.form)[0].tolist() == [[5.0], [6.0]]
    (tmp_path / "a.csv").write_text(f"id,a,label\n{rows}")
    named = load("folder", path=tmp_path / "a.csv")
    assert named.shape == (2,)
    assert named.notes[0] == "a.csv: column 'id' counts the rows and is taken as a value"


def test_numbers_in_the_place_of_names_are_said(tmp_path: Path) -> None:
    rows = "".join(f"{i * i % 7},{i % 3},{i % 2}\n" for i in range(20))
    (tmp_path / "a.csv").write_text(f"0,1,2\n{rows}")
    data = load("folder", path=tmp_path / "a.csv")
    assert len(everything(data)) == 20
    assert data.notes[0] == "a.csv: the first line, 0, 1, 2, ..., is taken for names of columns"


def test_one_hot_values_are_said(tmp_path: Path) -> None:
    data = load("folder", path=npz(tmp_path, x=np.arange(40.0).reshape(20, 2), y=np.eye(2)[np.arange(20) % 2]))
    assert any("each holds a single 1: class numbers (N,) would make it classification" in n for n in data.notes)


def test_text_that_is_none_is_refused(tmp_path: Path) -> None:
    y = np.array(["u", "v"] * 10)
    y.view(np.uint32)[3] = 0x110000
    with pytest.raises(BitspikeError, match=r"a.npz y: got text with characters that do not exist, wanted text$"):
        load("folder", path=npz(tmp_path, x=np.arange(40.0).reshape(20, 2), y=y))
