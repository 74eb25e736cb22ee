from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from bitspike.data import DataSet, Events, Split, load, names, options, restore, two_moons_grid
from bitspike.errors import BitspikeError


def events() -> Events:
    t = torch.arange(6)
    return Events(t, t.short(), t.short() + 1, (t % 2).byte(), torch.tensor([0, 2, 2, 6]), shape=(2, 10, 10))


def recordings(chosen: Events) -> list[list[int]]:
    return [part.tolist() for part in chosen.t.split(chosen.offsets.diff().tolist())]


@pytest.mark.parametrize(
    ("index", "times"),
    [
        (torch.tensor([2, 0, 2]), [[2, 3, 4, 5], [0, 1], [2, 3, 4, 5]]),
        (torch.tensor([False, True, True]), [[], [2, 3, 4, 5]]),
        (slice(0, 2), [[0, 1], []]),
        (torch.tensor([], dtype=torch.int64), []),
    ],
)
def test_recordings_are_selected_with_all_their_events(index: torch.Tensor | slice, times: list[list[int]]) -> None:
    chosen = events()[index]
    assert len(chosen) == len(times)
    assert recordings(chosen) == times
    assert torch.equal(chosen.y, chosen.t.short() + 1)
    assert torch.equal(chosen.p, (chosen.t % 2).byte())
    assert chosen.shape == (2, 10, 10)


@pytest.mark.parametrize("name", ["digits", "two-moons", "regression-1d"])
def test_embedded_sets_have_disjoint_numbered_splits_and_a_form_of_plain_json(name: str) -> None:
    data = load(name)
    index = torch.cat([part.index for part in (data.train, data.validation, data.test)])
    assert len(index.unique()) == len(index)
    for part in (data.train, data.validation, data.test):
        assert isinstance(part.x, torch.Tensor)
        assert part.x.dtype == torch.float32
        assert part.x.shape == (len(part), *data.shape)
        assert len(part.y) == len(part)
    assert json.loads(json.dumps(data.form)) == data.form
    assert all(len(digest) == 64 for digest in data.digests.values())


@pytest.mark.parametrize("name", ["digits", "two-moons", "regression-1d"])
def test_the_seed_alone_decides(name: str) -> None:
    first, again, other = load(name, seed=1), load(name, seed=1), load(name, seed=2)
    assert same(first, again)
    assert not same(first, other)


def same(a: DataSet, b: DataSet) -> bool:
    assert isinstance(a.train.x, torch.Tensor)
    assert isinstance(b.train.x, torch.Tensor)
    return torch.equal(a.train.x, b.train.x) and torch.equal(a.train.y, b.train.y)


def test_digits_are_split_by_class_and_scaled_to_one() -> None:
    data = load("digits")
    assert [len(part) for part in (data.train, data.validation, data.test)] == [1294, 144, 359]
    assert isinstance(data.train.x, torch.Tensor)
    assert (float(data.train.x.min()), float(data.train.x.max())) == (0.0, 1.0)
    share = torch.bincount(data.test.y) / torch.bincount(torch.cat([data.train.y, data.validation.y, data.test.y]))
    assert ((share - 0.2).abs() < 0.005).all()
    assert data.classes == tuple("0123456789")


def test_class_weights_are_inverse_to_the_frequency_with_mean_one() -> None:
    data = load("digits")
    weights = data.class_weights()
    counts = torch.bincount(data.train.y)
    assert math.isclose(float(weights.mean()), 1, rel_tol=1e-6)
    torch.testing.assert_close(weights * counts, (weights * counts)[:1].expand(10))
    with pytest.raises(BitspikeError, match=r"^data.class_weights: got true for regression-1d, a regression set, "):
        load("regression-1d").class_weights()
    gone = Split(data.train.x, data.train.y.clamp(min=1), data.train.index)
    with pytest.raises(BitspikeError, match=r"^data.class_weights: got true, and class '0' has no training example"):
        replace(data, train=gone).class_weights()


def test_two_moons_is_scaled_by_its_training_range() -> None:
    data = load("two-moons")
    assert [len(part) for part in (data.train, data.validation, data.test)] == [200, 500, 2000]
    assert isinstance(data.train.x, torch.Tensor)
    assert isinstance(data.test.x, torch.Tensor)
    assert data.train.x.amin(0).tolist() == [0, 0]
    assert data.train.x.amax(0).tolist() == [1, 1]
    assert float(data.test.x.max()) > 1
    # Noise-free, the upper half-circle reaches from x = -1 to 1 and the lower one from 0 to 2.
    clean = load("two-moons", noise=0, train_size=50)
    raw = restore(clean.train.x, clean.normalisation)
    upper = raw[clean.train.y == 0]
    torch.testing.assert_close(upper.norm(dim=1), torch.ones(25).double(), atol=1e-6, rtol=0)
    assert upper[:, 1].min() > -1e-6


def test_two_moons_grid_is_the_papers() -> None:
    grid = two_moons_grid()
    assert grid.shape == (10_000, 2)
    torch.testing.assert_close(grid[[0, 1, 100, 9999]], torch.tensor([[0, 0], [0, 0.01], [0.01, 0], [0.99, 0.99]]))


def test_regression_1d_is_the_papers_curve_scaled_by_its_test_range() -> None:
    data = load("regression-1d")
    assert [len(part) for part in (data.train, data.validation, data.test)] == [60, 60, 600]
    assert data.train.y.shape == (60, 1)
    assert (float(data.test.y.min()), float(data.test.y.max())) == (0.0, 1.0)
    assert isinstance(data.train.x, torch.Tensor)
    x = restore(data.train.x, data.normalisation)[:, 0]
    wanted = torch.tensor([-1.0, -0.05, 1.5, 2.45, 4.0, 4.95], dtype=torch.float64)
    torch.testing.assert_close(x[[0, 19, 20, 39, 40, 59]], wanted, atol=1e-6, rtol=0)
    y = restore(data.test.y, data.target)[:, 0]
    # f(-1) = -1 - 0.1 + cos(-pi/2) and f(0) = 1, the 101st test point.
    torch.testing.assert_close(y[[0, 100]], torch.tensor([-1.1, 1.0]).double(), atol=1e-5, rtol=0)
    noise = restore(data.train.y, data.target)[:, 0] - (x - 0.1 * x**2 + torch.cos(torch.pi * x / 2))
    assert 0.06 < float(noise.std()) < 0.14
    assert torch.equal(data.train.x, data.validation.x)
    assert not torch.equal(data.train.y, data.validation.y)


@pytest.mark.parametrize(
    ("name", "choices", "message"),
    [
        ("moons", {}, "data set: got 'moons', wanted one of 'digits', 'two-moons', 'regression-1d', "),
        ("two-moons", {"nois": 1}, "two-moons option nois: got 1, wanted one of the options validation, train_size"),
        ("two-moons", {"noise": -1}, "two-moons option noise: got -1, wanted greater than or equal to 0"),
        ("two-moons", {"test": 0.5}, "two-moons option test: got 0.5, wanted one of the options"),
        ("digits", {"test": 1797}, "digits test share: got 1797 (1797 of 1797 examples), wanted fewer"),
        (
            "digits",
            {"validation": 10.5},
            "digits validation share: got 10.5, wanted a fraction between 0 and",
        ),
        ("folder", {}, "folder option path: got nothing, wanted a value"),
        ("mnist", {"folder": "/no/such"}, "data folder: got /no/such, wanted an existing folder"),
    ],
)
def test_what_load_refuses(name: str, choices: dict[str, object], message: str) -> None:
    with pytest.raises(BitspikeError) as error:
        load(name, **choices)  # type: ignore[arg-type]
    assert str(error.value).startswith(message)


def test_each_set_names_its_options() -> None:
    known = {
        "digits",
        "two-moons",
        "regression-1d",
        "mnist",
        "fashion-mnist",
        "cifar10",
        "cifar100",
        "nmnist",
        "folder",
    }
    assert known <= set(names())
    assert options("digits") == ("validation", "test")
    assert "size" in options("folder")


def test_a_set_that_is_not_downloaded_says_what_to_put_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BITSPIKE_DATA", raising=False)
    with pytest.raises(BitspikeError, match=r"put train-images-idx3-ubyte.gz, .* with BITSPIKE_DATA=FOLDER$"):
        load("fashion-mnist")
    with pytest.raises(BitspikeError, match=rf"put Train/DIGIT/\*.bin and .* into {tmp_path}/nmnist$"):
        load("nmnist", folder=tmp_path)


def test_a_seed_is_a_whole_number_of_python_or_numpy():
    assert torch.equal(load("two-moons", seed=np.int64(3)).train.x, load("two-moons", seed=3).train.x)
    with pytest.raises(BitspikeError, match=r"^data seed: got 3\.0, wanted a whole number"):
        load("two-moons", seed=3.0)
