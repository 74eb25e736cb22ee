"""Mackey-Glass series: the equation, its limits, and the data set made of them."""

from __future__ import annotations

import pytest
import torch

from bitspike import data
from bitspike.data.mackey_glass import series
from bitspike.errors import BitspikeError


def test_a_fixed_point_stays() -> None:
    # 0.2 x / (1 + x^10) = 0.1 x at x = 1.
    x = series(torch.tensor([1.0]), 50)
    assert torch.allclose(x, torch.ones_like(x))


def test_a_short_delay_decays_to_the_fixed_point_and_17_does_not() -> None:
    start = torch.tensor([0.6, 1.3])
    calm, chaos = series(start, 600, tau=2.0), series(start, 600, tau=17.0)
    assert float((calm[:, -100:] - 1).abs().max()) < 1e-3
    assert float(chaos[:, -200:].std()) > 0.15
    assert float(chaos.min()) > 0.2
    assert float(chaos.max()) < 1.5


def test_halving_the_step_changes_little(monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib

    module = importlib.import_module("bitspike.data.mackey_glass")
    start = torch.tensor([0.7, 1.2])
    coarse = series(start, 100)
    monkeypatch.setattr(module, "PARTS", 40)
    assert float((series(start, 30) - coarse[:, :30]).abs().max()) < 5e-3


def test_the_target_is_the_value_ahead_and_seeds_differ() -> None:
    small = {"train_size": 20, "validation": 5, "test_size": 5}
    found = data.load("mackey-glass", steps=30, ahead=3, **small)
    longer = data.load("mackey-glass", steps=33, ahead=1, **small)
    assert found.train.x.shape == (20, 30, 1)
    assert found.train.y.shape == (20, 1)
    assert found.steps == 30
    # Step 33 of the same series, each in its own set's scale.
    back = [data.restore(values, d.target) for values, d in ((found.train.y, found), (longer.train.x[:, 32], longer))]
    assert torch.allclose(back[0].double(), back[1].double(), atol=1e-5)
    other = data.load("mackey-glass", steps=30, ahead=3, seed=1, **small)
    assert not torch.equal(other.train.x, found.train.x)
    assert float(found.train.x.min()) == 0
    assert float(found.train.x.max()) == 1


def test_wrong_options_are_named() -> None:
    with pytest.raises(BitspikeError, match="mackey-glass option tau"):
        data.load("mackey-glass", tau=-1.0)
