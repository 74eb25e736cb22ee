"""SVHN's MATLAB files: layout, labels, splits, what is refused."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.io import savemat

from bitspike.data import load
from bitspike.errors import BitspikeError


def part(count: int, first: int = 0) -> dict[str, Any]:
    """Image i: red first + i, green 100, blue 200, its top right pixel black; digit i modulo 10, 0 written as 10."""
    X = np.empty((32, 32, 3, count), np.uint8)
    X[..., 0, :] = first + np.arange(count)
    X[..., 1, :], X[..., 2, :] = 100, 200
    X[0, 31] = 0
    digits = np.arange(count) % 10
    return {"X": X, "y": np.where(digits == 0, 10, digits).astype(np.uint8).reshape(-1, 1)}


def write(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    savemat(folder / "train_32x32.mat", part(100))
    savemat(folder / "test_32x32.mat", part(50, 150), do_compression=True)
    return folder


@pytest.mark.parametrize("inner", ["svhn", "."])
def test_images_and_labels_are_where_they_belong(tmp_path: Path, inner: str) -> None:
    write(tmp_path / inner)
    data = load("svhn", folder=tmp_path, validation=20)
    assert [len(s) for s in (data.train, data.validation, data.test)] == [80, 20, 50]
    assert (data.shape, data.subset, data.classes[0]) == ((3, 32, 32), "subset 100/50", "0")
    for split, first in ((data.train, 0), (data.validation, 0), (data.test, 50)):
        assert isinstance(split.x, torch.Tensor)
        assert torch.equal((split.x[:, 0, 5, 7] * 255).round().long(), split.index + first)
        assert torch.allclose(split.x[:, 1, 31, 0], torch.tensor(100 / 255))
        assert split.x[:, :, 0, 31].abs().max() == 0
        assert torch.equal(split.y, split.index % 10)
    assert set(data.digests) == {"train_32x32.mat", "test_32x32.mat"}


def test_the_extra_part_joins_the_training_part(tmp_path: Path) -> None:
    write(tmp_path)
    savemat(tmp_path / "extra_32x32.mat", part(100))
    data = load("svhn", folder=tmp_path, extra=True, validation=20)
    assert (len(data.train), len(data.test), len(data.digests)) == (180, 50, 3)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"X": part(20)["X"]}, "got a file without y, wanted X"),
        ({"X": np.zeros((3, 32, 32, 5), np.uint8), "y": np.ones((5, 1))}, "X: got uint8 of shape (3, 32, 32, 5)"),
        ({"X": part(20)["X"], "y": np.ones((5, 1))}, "y: got 5 labels, wanted 20, one for each image"),
        ({"X": part(20)["X"], "y": np.zeros((20, 1))}, "y: got label 0.0 at position 0, wanted 1 to 10"),
    ],
)
def test_a_file_of_other_content_is_named(tmp_path: Path, content: dict[str, Any], message: str) -> None:
    write(tmp_path)
    savemat(tmp_path / "test_32x32.mat", content)
    with pytest.raises(BitspikeError, match=re.escape(f"{tmp_path}/test_32x32.mat") + ".*" + re.escape(message)):
        load("svhn", folder=tmp_path)


def test_a_damaged_or_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(BitspikeError, match=f"svhn: train_32x32.mat not found .* put it into {tmp_path}/svhn$"):
        load("svhn", folder=tmp_path)
    write(tmp_path)
    (tmp_path / "train_32x32.mat").write_bytes(b"no such thing")
    with pytest.raises(BitspikeError, match="a damaged or other file"):
        load("svhn", folder=tmp_path)
