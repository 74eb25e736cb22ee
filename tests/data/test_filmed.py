from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tests.data.test_idx_files import written

from bitspike.data import Events, load
from bitspike.errors import BitspikeError

SHORT = {"duration": 60.0, "period": 100.0}


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BITSPIKE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "filmed"


def recording(events: Any, row: int) -> list[list[int]]:
    one = events[row : row + 1]
    return [column.tolist() for column in (one.t, one.x, one.y, one.p)]


def test_the_embedded_digits_are_filmed_under_their_numbers(kept: Path) -> None:
    data, still = load("digits-dvs-sim", seed=3, **SHORT), load("digits", seed=3)
    assert (data.shape, data.steps, data.input) == ((2, 16, 16), None, "events")
    for part in ("train", "validation", "test"):
        filmed, images = getattr(data, part), getattr(still, part)
        assert isinstance(filmed.x, Events)
        assert len(filmed.x) == len(filmed) == len(images)
        assert torch.equal(filmed.y, images.y) or set(filmed.index.tolist()) != set(images.index.tolist())
        assert int(filmed.x.t.max()) < 60_000
    again = load("digits-dvs-sim", seed=4, **SHORT)
    assert again.digests == data.digests
    common = sorted(set(again.test.index.tolist()) & set(data.train.index.tolist()))[0]
    rows = [part.index.tolist().index(common) for part in (again.test, data.train)]
    assert recording(again.test.x, rows[0]) == recording(data.train.x, rows[1])
    assert len(list(kept.iterdir())) == 1


def test_mnist_is_filmed_part_by_part(kept: Path, tmp_path: Path) -> None:
    folder = written(tmp_path)
    data = load("mnist-dvs-sim", folder=folder, train_size=40, test_size=20, **SHORT, leak=100.0)
    assert (data.shape, data.subset) == ((2, 26, 26), "subset 40/20")
    assert [len(part) for part in (data.train, data.validation, data.test)] == [30, 10, 20]
    assert torch.equal(data.train.index % 10, data.train.y)
    assert int(data.train.index.max()) < 200 <= int(data.test.index.min())
    assert len(data.digests) == 6
    assert len(list(kept.iterdir())) == 2
    fewer = load("mnist-dvs-sim", folder=folder, train_size=20, test_size=20, **SHORT, leak=100.0)
    row = data.train.index.tolist().index(int(fewer.train.index[0]))
    assert recording(fewer.train.x, 0) == recording(data.train.x, row)


def test_what_is_kept_damaged_is_filmed_again(kept: Path, tmp_path: Path) -> None:
    asked: dict[str, Any] = {"folder": written(tmp_path), "train_size": 20, "test_size": 10, "leak": 100.0, **SHORT}
    first = load("mnist-dvs-sim", **asked)
    whole = {file: file.read_bytes() for file in kept.iterdir()}
    for file, content in whole.items():
        file.write_bytes(content[:-200] + bytes(200))
    assert load("mnist-dvs-sim", **asked).digests == first.digests
    assert {file: file.read_bytes() for file in kept.iterdir()} == whole
    assert load("mnist-dvs-sim", **asked, on=0.5).digests != first.digests
    assert len(list(kept.iterdir())) == 4


def test_what_a_filmed_set_refuses() -> None:
    with pytest.raises(BitspikeError, match=r"^digits-dvs-sim option path: got 'square', wanted 'circle', 'line' or"):
        load("digits-dvs-sim", path="square")
    with pytest.raises(BitspikeError, match=r"^digits-dvs-sim option on: got 0.0, wanted greater than or equal"):
        load("digits-dvs-sim", on=0.0)
