from __future__ import annotations

import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from bitspike.data import DataSet, Events, load, prepare, write_events
from bitspike.errors import BitspikeError


def vectors(folder: Path) -> tuple[DataSet, Path]:
    raw = np.random.default_rng(1).normal(size=(40, 3))
    rows = [",".join(map(str, row)) + f",{'uv'[i % 2]}" for i, row in enumerate(raw)]
    path = folder / "train.csv"
    path.write_text("a,b,c,label\n" + "\n".join(rows) + "\n")
    return load("folder", path=path), path


def test_the_training_file_gives_the_values_trained_on(tmp_path: Path) -> None:
    data, path = vectors(tmp_path)
    x, names = prepare(path, json.loads(json.dumps(data.form)))
    assert isinstance(x, torch.Tensor)
    for part in (data.train, data.validation, data.test):
        assert torch.equal(x[part.index], part.x)
    assert names[:2] == [f"{path} row 2", f"{path} row 3"]


def test_standard_input_is_csv_with_or_without_a_target(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, _ = vectors(tmp_path)
    given = []
    for text in ("0.5,1,-9\n1,1,1\n", "0.5,1,-9,u\n1,1,1,v\n", "a;b;c\n0.5;1;-9\n1;1;1\n"):
        monkeypatch.setattr("sys.stdin", io.StringIO(text))
        given.append(prepare("-", data.form))
    for x, names in given:
        assert isinstance(x, torch.Tensor)
        assert isinstance(given[0][0], torch.Tensor)
        assert torch.equal(x, given[0][0])
        assert len(names) == 2
    assert given[0][1] == ["standard input row 1", "standard input row 2"]
    # -9 lies below the training range: clipped, so that encoders of [0, 1] still read it.
    assert isinstance(given[0][0], torch.Tensor)
    assert float(given[0][0][0, 2]) == 0


def test_an_npz_of_one_or_many_series(tmp_path: Path) -> None:
    raw = np.random.default_rng(0).normal(size=(12, 7, 2))
    np.savez(tmp_path / "a.npz", x=raw, y=np.arange(12) % 2)
    data = load("folder", path=tmp_path / "a.npz", time=True)
    np.savez(tmp_path / "one.npz", x=raw[int(data.test.index[0])])
    x, names = prepare(tmp_path / "one.npz", data.form)
    assert isinstance(x, torch.Tensor)
    assert isinstance(data.test.x, torch.Tensor)
    assert torch.equal(x, data.test.x[:1])
    assert names == [f"{tmp_path}/one.npz[0]"]
    np.savez(tmp_path / "short.npz", x=raw[:, :5])
    with pytest.raises(BitspikeError, match=r"short.npz x: got shape \(12, 5, 2\), wanted \(N, 7, 2\)$"):
        prepare(tmp_path / "short.npz", data.form)


def test_a_long_csv_of_series_takes_the_examples_names(tmp_path: Path) -> None:
    rows = [f"{name},{t},{i + 10 * t},{'ab'[i % 2]}" for t in (1, 0) for i, name in enumerate("pqrstu")]
    path = tmp_path / "a.csv"
    path.write_text("example,t,v,y\n" + "\n".join(rows) + "\n")
    data = load("folder", path=path)
    x, names = prepare(path, data.form)
    assert isinstance(x, torch.Tensor)
    assert torch.equal(x[data.train.index], data.train.x)
    assert names[5] == f"{path} example u"


def test_digits_read_an_image_file_and_their_own_values(tmp_path: Path) -> None:
    form = load("digits").form
    Image.new("RGB", (80, 80), (51, 51, 51)).save(tmp_path / "a.png")
    x, names = prepare(tmp_path / "a.png", form)
    assert isinstance(x, torch.Tensor)
    torch.testing.assert_close(x, torch.full((1, 1, 8, 8), 0.2))
    assert names == [f"{tmp_path}/a.png"]
    np.savez(tmp_path / "a.npz", x=np.full((2, 8, 8), 8))
    x, _ = prepare(tmp_path / "a.npz", form)
    assert isinstance(x, torch.Tensor)
    torch.testing.assert_close(x, torch.full((2, 1, 8, 8), 0.5))
    both, names = prepare(tmp_path, form)
    assert len(both) == len(names) == 3


def test_event_files_and_a_folder_of_them(tmp_path: Path) -> None:
    for name in ("left", "right"):
        (tmp_path / name).mkdir()
        for i in range(4):
            t = torch.arange(i + 1)
            write_events(tmp_path / name / f"{i}.bin", t, t, t, t % 2)
    form = load("folder", path=tmp_path, size=(5, 6)).form
    events, names = prepare(tmp_path / "right", form)
    assert isinstance(events, Events)
    assert events.offsets.diff().tolist() == [1, 2, 3, 4]
    assert events.shape == (2, 5, 6)
    assert names[3] == f"{tmp_path}/right/3.bin"
    with pytest.raises(BitspikeError, match=r"^standard input: got CSV rows, wanted an event file"):
        prepare("-", form)


def test_unfit_input_is_refused(tmp_path: Path) -> None:
    data, path = vectors(tmp_path)
    with pytest.raises(BitspikeError, match=r"/none.csv: got no such file or folder, wanted input to predict$"):
        prepare(tmp_path / "none.csv", data.form)
    (tmp_path / "a.png").write_bytes(b"")
    with pytest.raises(BitspikeError, match=r"/a.png: got a .png file, wanted .npz or .csv \(this network reads vec"):
        prepare(tmp_path / "a.png", data.form)
    (tmp_path / "b.csv").write_text("1,2\n")
    with pytest.raises(BitspikeError, match=r"/b.csv: got 2 columns of values, wanted 3, as in training$"):
        prepare(tmp_path / "b.csv", data.form)
    (tmp_path / "empty").mkdir()
    with pytest.raises(BitspikeError, match=r"/empty: got a folder without such files, wanted files .npz or .csv"):
        prepare(tmp_path / "empty", data.form)
    (tmp_path / "b.csv").write_text("1,2,x,u\n1,2,3,v\n")
    with pytest.raises(BitspikeError, match=r"/b.csv row 1, column 3: got 'x', wanted a number$"):
        prepare(tmp_path / "b.csv", data.form)
    assert path.exists()


def trained(folder: Path, header: str, order: str, **options: Any) -> dict[str, Any]:
    """The stored form of a CSV of columns a, b, c and the target y, written in `order`."""
    rows = [{"a": str(i), "b": str(10 * i), "c": str(100 * i), "y": "uv"[i % 2]} for i in range(9)]
    text = "".join(",".join(row[key] for key in order) + "\n" for row in rows)
    (folder / "train.csv").write_text(header + text)
    form = load("folder", path=folder / "train.csv", normalise="none", **options).form
    return dict(json.loads(json.dumps(form)))


def read(folder: Path, text: str, form: dict[str, Any]) -> list[Any]:
    (folder / "new.csv").write_text(text)
    x, _ = prepare(folder / "new.csv", form)
    assert isinstance(x, torch.Tensor)
    return list(x.tolist())


@pytest.mark.parametrize("target", ["y", "species"])
def test_columns_are_found_by_name_in_the_trained_order(tmp_path: Path, target: str) -> None:
    named = target == "y"
    header, order = ("a,y,b,c\n", "aybc") if named else ("a,b,c,species\n", "abcy")
    form = trained(tmp_path, header, order)
    assert form["columns"] == ["a", "b", "c"]
    assert form["target_column"] == {"name": target, "position": 1 if named else 3}
    for text in (
        "a,b,c\n1,2,3\n",
        "c,a,b\n3,1,2\n",
        f"{target},c,b,a\n7,3,2,1\n",
        f"b;a;{target.upper()};c\n2;1;u;3\n",
    ):
        assert read(tmp_path, text, form) == [[1, 2, 3]]
    new = re.escape(str(tmp_path / "new.csv"))
    with pytest.raises(BitspikeError, match=rf"^{new}: got no column 'b', wanted each column of training once, by na"):
        read(tmp_path, "a,c\n1,2\n", form)
    with pytest.raises(BitspikeError, match=rf"^{new}: got 2 columns 'b', wanted each column of training once"):
        read(tmp_path, "a,b,b,c\n1,2,3,4\n", form)
    with pytest.raises(
        BitspikeError, match=rf"^{new}: got an unknown column 'id', wanted only the columns of training"
    ):
        read(tmp_path, "id,a,b,c\n1,2,3,4\n", form)


def test_without_a_header_the_target_is_left_out_at_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    form = trained(tmp_path, "y,a,b,c\n", "yabc")
    assert read(tmp_path, "9,1,2,3\n", form) == read(tmp_path, "1,2,3\n", form) == [[1, 2, 3]]
    monkeypatch.setattr("sys.stdin", io.StringIO("u,1,2,3\n"))
    x, _ = prepare("-", form)
    assert isinstance(x, torch.Tensor)
    assert x.tolist() == [[1, 2, 3]]
    monkeypatch.setattr("sys.stdin", io.StringIO("b,a\n1,2\n"))
    with pytest.raises(BitspikeError, match=r"^standard input: got no column 'c', wanted"):
        prepare("-", form)
    monkeypatch.undo()
    plain = trained(tmp_path, "", "abcy")
    assert (plain["columns"], plain["target_column"]) == (None, {"name": None, "position": 3})
    assert read(tmp_path, "1,2,3,u\n", plain) == read(tmp_path, "p,q,y,r\n1,2,u,3\n", plain) == [[1, 2, 3]]
    # The form of a run from before columns were stored.
    old = {key: value for key, value in form.items() if key not in ("columns", "target_column")}
    assert read(tmp_path, "1,2,3,9\n", old) == [[1, 2, 3]]


def test_a_header_of_numbers_is_known_by_its_names(tmp_path: Path) -> None:
    form = trained(tmp_path, "0,1,2,y\n", "abcy")
    assert read(tmp_path, "2,0,1\n3,1,2\n", form) == [[1, 2, 3]]


def test_a_name_that_comes_twice_leaves_the_columns_to_their_places(tmp_path: Path) -> None:
    form = trained(tmp_path, "a,a,c,species\n", "abcy")
    assert form["columns"] is None
    assert read(tmp_path, "species,a,a,c\n9,1,2,3\n", form) == [[1, 2, 3]]


def test_columns_of_a_wide_series_are_found_by_name(tmp_path: Path) -> None:
    form = trained(tmp_path, "y,a,b,c\n", "yabc", steps=3)
    assert read(tmp_path, "c,b,a,y\n3,2,1,u\n", form) == [[[1], [2], [3]]]
    assert read(tmp_path, "u,1,2,3\n", form) == [[[1], [2], [3]]]
    assert read(tmp_path, "example,t,v\np,1,2\np,0,1\np,2,3\n", form) == [[[1], [2], [3]]]
    with pytest.raises(BitspikeError, match=r"got an unknown column 'd', wanted"):
        read(tmp_path, "a,b,c,d\n1,2,3,4\n", form)


def test_columns_of_a_long_series_are_found_by_name(tmp_path: Path) -> None:
    rows = [f"{name},{t},{i},{10 * t},{'ab'[i % 2]}" for t in (0, 1) for i, name in enumerate("pqrstu")]
    (tmp_path / "a.csv").write_text("example,t,v,w,species\n" + "\n".join(rows) + "\n")
    form = load("folder", path=tmp_path / "a.csv", normalise="none").form
    assert form["columns"] == ["v", "w"]
    assert form["target_column"] == {"name": "species", "position": None}
    wanted = [[[1, 2], [3, 4]]]
    assert read(tmp_path, "w,t,example,v\n2,0,p,1\n4,1,p,3\n", form) == wanted
    assert read(tmp_path, "species,w,t,example,v\nu,2,0,p,1\nu,4,1,p,3\n", form) == wanted
    assert read(tmp_path, "1,2,3,4\n", form) == wanted
    with pytest.raises(BitspikeError, match=r"got no column 'w', wanted each column of training once"):
        read(tmp_path, "example,t,v\np,0,1\np,1,2\n", form)


def test_the_form_of_what_is_no_csv_has_no_columns(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.arange(24.0).reshape(8, 3), y=np.arange(8) % 2)
    form = load("folder", path=tmp_path / "a.npz", normalise="none").form
    assert form["columns"] is form["target_column"] is None
    assert read(tmp_path, "1,2,3,9\n", form) == [[1, 2, 3]]
