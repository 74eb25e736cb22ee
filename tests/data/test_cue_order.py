"""Two cues of which one comes first."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import bitspike
from bitspike.data import load
from bitspike.data.base import Events
from bitspike.data.cue_order import cue_order
from bitspike.errors import BitspikeError


def test_twins_have_the_same_counts_in_another_order() -> None:
    found = cue_order(seed=3, train_size=101, test_size=20, sensor=(3, 5))
    assert len(found.train) == 101
    assert found.train.y[:4].tolist() == [0, 1, 0, 1]
    x = found.train.x
    assert isinstance(x, Events)
    for first in range(0, 100, 2):
        one, other = x[torch.tensor([first])], x[torch.tensor([first + 1])]
        counts = [torch.bincount(e.p.long() * 15 + e.y.long() * 5 + e.x.long(), minlength=30) for e in (one, other)]
        assert torch.equal(*counts)
        for recording, early in ((one, True), (other, False)):
            left = recording.x < 2
            assert bool((recording.t.diff() >= 0).all())
            early_end, late_begin = (recording.t[left == early].max(), recording.t[left != early].min())
            assert late_begin - early_end >= 275_000 - 1  # longer than ten taps of 25 ms
    assert 20 < len(x.t) / 101 / 3 < 30  # 2.5 of each pixel and sign, 30 of these


def test_another_seed_is_another_set_and_the_same_the_same() -> None:
    one, same, other = (load("cue-order", seed=seed) for seed in (1, 1, 2))
    assert one.digests == same.digests
    assert set(one.digests.values()).isdisjoint(other.digests.values())


@pytest.mark.parametrize(
    ("options", "line"),
    [({"sensor": (4, 1)}, "cue-order sensor: got"), ({"gap": (300.0, 200.0)}, "cue-order gap: got")],
)
def test_what_makes_no_cues_is_refused(options: dict[str, object], line: str) -> None:
    with pytest.raises(BitspikeError, match=line):
        cue_order(**options)


# Loud cues with little spread between them are soon learned.
SMALL = [
    "training.epochs=3", "data.options.train_size=2000", "data.options.test_size=400", "data.validation=100",
    "data.options.rate=60", "data.options.gap=[275,290]",
]  # fmt: skip
ALONE = ["model.hidden=0"]


def accuracy(recipe: str, folder: Path, changes: list[str]) -> float:
    return float(bitspike.train(recipe, folder, overrides=changes).result["test"]["accuracy"])


@pytest.mark.parametrize("recipe", [pytest.param("cue-order-vowel", marks=pytest.mark.long), "cue-order-glm"])
def test_hidden_circuits_tell_the_order_of_loud_cues(recipe: str, tmp_path: Path) -> None:
    assert accuracy(recipe, tmp_path / "hidden", SMALL) >= 0.9
    assert abs(accuracy(recipe, tmp_path / "alone", [*SMALL, *ALONE, "training.epochs=1"]) - 0.5) < 0.1


@pytest.mark.long
@pytest.mark.parametrize("recipe", ["cue-order-vowel", "cue-order-glm"])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_hidden_circuits_tell_the_order(recipe: str, seed: int, tmp_path: Path) -> None:
    folder, named = tmp_path, f"seed={seed}"
    assert accuracy(recipe, folder / "hidden", [named]) >= 0.95
    assert abs(accuracy(recipe, folder / "alone", [*ALONE, named]) - 0.5) < 0.05
