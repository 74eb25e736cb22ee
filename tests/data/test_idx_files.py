from __future__ import annotations

import gzip
import hashlib
import re
from pathlib import Path

import pytest
import torch

from bitspike.data import load
from bitspike.data.idx import read_idx, write_idx
from bitspike.errors import BitspikeError


def written(folder: Path, count: int = 200, suffix: str = ".gz", labels: torch.Tensor | None = None) -> Path:
    """A small set in the files of MNIST; image i has all pixels at i % 256."""
    home = folder / "mnist"
    home.mkdir()
    for part in ("train", "t10k"):
        x = (torch.arange(count) % 256).byte().reshape(-1, 1, 1).expand(count, 28, 28)
        y = (torch.arange(count) % 10).byte() if labels is None else labels
        write_idx(home / f"{part}-images-idx3-ubyte{suffix}", x)
        write_idx(home / f"{part}-labels-idx1-ubyte{suffix}", y)
    return folder


@pytest.mark.parametrize("name", ["a.gz", "a"])
def test_what_is_written_is_read(tmp_path: Path, name: str) -> None:
    values = torch.arange(24).byte().reshape(2, 3, 4)
    write_idx(tmp_path / name, values)
    assert torch.equal(read_idx(tmp_path / name, 3), values)


def test_the_bytes_are_those_of_the_format(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(bytes([0, 0, 8, 2, 0, 0, 0, 1, 0, 0, 0, 2, 7, 255]))
    assert read_idx(tmp_path / "a", 2).tolist() == [[7, 255]]


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("a.gz", gzip.compress(b"\0" * 500, mtime=0)[:-9], "got a damaged or truncated gzip file, wanted a whole one"),
        ("a.gz", b"\0\0\x08\x01", "got a damaged or truncated gzip file, wanted a whole one"),
        ("a", b"\0\0\x0d\x01\0\0\0\x01\0", "got magic number 0x00000d01, wanted 0x00000801 (1-d bytes)"),
        ("a", b"", "got magic number 0x, wanted 0x00000801 (1-d bytes)"),
        ("a", b"\0\0\x08\x01\0\0", "got 6 bytes, wanted at least 8"),
        ("a", b"\0\0\x08\x01\0\0\0\x05abc", "got 11 bytes, wanted 13 for sizes [5]"),
    ],
)
def test_a_damaged_file_is_named(tmp_path: Path, name: str, data: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(BitspikeError, match=re.escape(f"{tmp_path / name}: {message}")):
        read_idx(tmp_path / name, 1)


@pytest.mark.parametrize("suffix", [".gz", ""])
def test_a_local_folder_is_read_split_and_its_digests_recorded(tmp_path: Path, suffix: str) -> None:
    data = load("mnist", folder=written(tmp_path, suffix=suffix), validation=20, test_size=100)
    assert [len(part) for part in (data.train, data.validation, data.test)] == [180, 20, 100]
    assert data.subset == "subset 200/100"
    assert torch.bincount(data.validation.y).tolist() == [2] * 10
    for part, start in ((data.train, 0), (data.test, 200)):
        assert isinstance(part.x, torch.Tensor)
        assert part.x.shape[1:] == (1, 28, 28)
        torch.testing.assert_close(part.x[:, 0, 5, 5], (part.index - start) / 255)
        assert torch.equal(part.y, (part.index - start) % 10)
    file = f"t10k-labels-idx1-ubyte{suffix}"
    assert data.digests[file] == hashlib.sha256((tmp_path / "mnist" / file).read_bytes()).hexdigest()
    assert len(data.notes) == (4 if suffix else 0)


def test_a_smaller_training_set_keeps_the_numbers_of_its_examples(tmp_path: Path) -> None:
    data = load("mnist", folder=written(tmp_path), train_size=60)
    assert len(data.train) + len(data.validation) == 60
    assert data.subset == "subset 60/200"
    assert torch.equal(data.train.y, data.train.index % 10)


def test_bitspike_data_lists_several_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    second = tmp_path / "b" / "FashionMNIST"
    second.mkdir(parents=True)
    written(second)
    (second / "mnist").rename(second / "raw")
    monkeypatch.setenv("BITSPIKE_DATA", f"{tmp_path / 'missing'}:{tmp_path / 'b'}")
    assert load("fashion-mnist").classes[9] == "Ankle boot"


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    written(tmp_path)
    (tmp_path / "mnist" / "t10k-labels-idx1-ubyte.gz").unlink()
    message = f"mnist: got no t10k-labels-idx1-ubyte.gz in {tmp_path}/mnist, wanted the four idx files, .gz or not"
    with pytest.raises(BitspikeError, match=f"^{re.escape(message)}$"):
        load("mnist", folder=tmp_path)


def test_labels_must_fit_the_images(tmp_path: Path) -> None:
    y = torch.arange(200) % 10
    y[7] = 10
    written(tmp_path, labels=y.byte())
    with pytest.raises(BitspikeError, match=r"train-labels-idx1-ubyte.gz: got label 10 at position 7, wanted 0 to 9$"):
        load("mnist", folder=tmp_path)
    write_idx(tmp_path / "mnist" / "train-labels-idx1-ubyte.gz", torch.zeros(3).byte())
    with pytest.raises(BitspikeError, match="got 3 labels, wanted 200, one for each image of train-images-idx3"):
        load("mnist", folder=tmp_path)
