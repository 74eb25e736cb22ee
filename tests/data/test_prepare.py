from __future__ import annotations

import io
import json
from pathlib import Path

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
    with pytest.raises(BitspikeError, match=r"^standard input: got CSV rows, wanted a .bin event file"):
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
