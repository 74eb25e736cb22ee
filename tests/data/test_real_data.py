from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from bitspike.coding.events import both_signs
from bitspike.data import Events, load

FOLDERS = [Path(entry) for entry in os.environ.get("BITSPIKE_DATA", "").split(":") if entry]


def absent(name: str) -> bool:
    return not any((folder / name).is_dir() for folder in FOLDERS)


@pytest.mark.skipif(absent("mnist"), reason="BITSPIKE_DATA names no folder with mnist")
def test_real_mnist_has_the_published_files_and_counts() -> None:
    data = load("mnist", validation=5000)
    assert [len(part) for part in (data.train, data.validation, data.test)] == [55_000, 5_000, 10_000]
    assert data.subset is None
    assert data.notes == ()
    assert data.test.y[:10].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]
    assert isinstance(data.train.x, torch.Tensor)
    assert isinstance(data.validation.x, torch.Tensor)
    # The published mean of all 60,000 training images is 0.1307.
    mean = (data.train.x.sum() + data.validation.x.sum()) / (60_000 * 784)
    assert abs(float(mean) - 0.1307) < 1e-4
    assert torch.equal(load("mnist").validation.index, data.validation.index)


@pytest.mark.skipif(absent("nmnist-small"), reason="BITSPIKE_DATA names no folder with nmnist-small")
def test_real_nmnist_recordings_last_a_third_of_a_second() -> None:
    data = load("nmnist")
    assert (len(data.train) + len(data.validation), len(data.test)) == (1000, 100)
    assert data.subset == "subset 1,000/100"
    for part in (data.train, data.validation, data.test):
        assert isinstance(part.x, Events)
        last = part.x.t[part.x.offsets[1:] - 1]
        assert ((last > 200_000) & (last < 400_000)).all()
        assert set(part.y.tolist()) == set(range(10))
    # Of the bins of 25 ms with an event, about one in twelve holds both signs.
    assert 0.07 < both_signs(data.test.x, 14, 25_000.0) < 0.1
