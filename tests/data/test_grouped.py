"""Groups stay whole, folds test every example once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from bitspike.data import grouped, load
from bitspike.errors import BitspikeError


def data_of(people: int, each: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Labels 0, 1, 2 in turn, `each` of every person."""
    n = people * each
    return torch.arange(n) % 3, torch.arange(n) // each


@pytest.mark.parametrize("seed", range(5))
def test_no_group_is_in_two_parts_and_shares_are_near(seed: int) -> None:
    y, groups = data_of(30, 6)
    parts = grouped.split_by_group(y, groups, seed, 0.125, 0.2, "set")
    sets = [set(groups[rows].tolist()) for rows in (parts.train, parts.validation, parts.test)]
    assert sorted(g for some in sets for g in some) == list(range(30))
    assert [len(rows) for rows in (parts.train, parts.validation, parts.test)] == [126, 18, 36]
    # Every person has two examples of each class, so whole groups keep the classes' shares too.
    assert torch.bincount(y[parts.test]).tolist() == [12, 12, 12]


def test_a_group_of_most_examples_is_trained_on() -> None:
    y, groups = torch.arange(100) % 2, torch.tensor([0] * 80 + [1] * 10 + [2] * 10)
    parts = grouped.split_by_group(y, groups, 0, 0.125, 0.2, "set")
    assert len(parts.train) == 80
    with pytest.raises(BitspikeError, match=r"^set: got 2 groups, wanted at least 3, one for each part$"):
        grouped.split_by_group(y, groups.clamp(max=1), 0, 0.125, 0.2, "set")


@pytest.mark.parametrize("folds", [2, 5, 7])
def test_every_example_is_tested_once_and_folds_are_alike(folds: int) -> None:
    y = torch.repeat_interleave(torch.arange(4), torch.tensor([41, 23, 7, 1]))
    tested = []
    for k in range(1, folds + 1):
        parts = grouped.fold_parts(y, None, (k, folds), 0, 0.125, "set")
        together = torch.cat([parts.train, parts.validation, parts.test])
        assert together.sort().values.tolist() == list(range(72))
        tested.append(parts.test)
    assert torch.cat(tested).sort().values.tolist() == list(range(72))
    sizes = [len(rows) for rows in tested]
    assert max(sizes) - min(sizes) <= 1
    counts = torch.stack([torch.bincount(y[rows], minlength=4) for rows in tested])
    assert (counts.amax(0) - counts.amin(0) <= 1).all()


def test_folds_of_groups() -> None:
    y, groups = data_of(11, 6)
    tested = [set(groups[grouped.fold_parts(y, groups, (k, 4), 0, 0.2, "set").test].tolist()) for k in (1, 2, 3, 4)]
    assert sorted(g for some in tested for g in some) == list(range(11))
    assert {len(some) for some in tested} == {2, 3}
    with pytest.raises(BitspikeError, match=r"got 11 groups, wanted at least 12, one for each part"):
        grouped.fold_of(y, groups, 12, 0, "set")


def test_more_folds_than_examples_are_refused() -> None:
    with pytest.raises(BitspikeError, match=r"^data.folds: got 9, wanted at most the 8 examples of set$"):
        grouped.fold_of(torch.arange(8) % 2, None, 9, 0, "set")
    with pytest.raises(BitspikeError, match=r"^data.fold: got 3 of 2 folds, wanted a fold from 1"):
        load("digits", fold=(3, 2))
    with pytest.raises(BitspikeError, match=r"^data.folds: got 5 for two-moons, wanted it left out"):
        load("two-moons", fold=(1, 5))


def test_groups_of_a_csv_and_an_npz(tmp_path: Path) -> None:
    who = [f"p{i // 4:02}" for i in range(60)]
    rows = "".join(f"{i},{who[i]},{i * i % 11},{'uv'[i % 2]}\n" for i in range(60))
    (tmp_path / "a.csv").write_text(f"a,who,b,label\n{rows}")
    np.savez(tmp_path / "a.npz", x=[[i, i * i % 11] for i in range(60)], y=["uv"[i % 2] for i in range(60)], who=who)
    for name in ("a.csv", "a.npz"):
        data = load("folder", path=tmp_path / name, group="who")
        assert data.shape == (2,)
        parts = [{who[i] for i in part.index.tolist()} for part in (data.train, data.validation, data.test)]
        assert [len(some) for some in parts] == [11, 1, 3]
        assert len(set.union(*parts)) == 15
    assert load("folder", path=tmp_path / "a.csv", group="who").form["aside"] == ["who"]
    assert load("folder", path=tmp_path / "a.csv", group=2).shape == (2,)
    with pytest.raises(
        BitspikeError, match=r"^folder option group: got 'nobody', of which .*a.csv has none, wanted on"
    ):
        load("folder", path=tmp_path / "a.csv", group="nobody")


def test_a_test_file_is_the_test_part_and_folds_take_it_in(tmp_path: Path) -> None:
    train = "".join(f"{i},{i * i % 11},{'uv'[i % 2]}\n" for i in range(40))
    test = "".join(f"{'vu'[i % 2]},{i},{100 + i}\n" for i in range(10))
    (tmp_path / "train.csv").write_text(f"a,b,label\n{train}")
    (tmp_path / "test.csv").write_text(f"label,b,a\n{test}")
    options = {"path": tmp_path / "train.csv", "test_path": tmp_path / "test.csv"}
    data = load("folder", **options, normalise="none")
    assert data.test.index.tolist() == list(range(40, 50))
    assert torch.equal(data.test.x[:2], torch.tensor([[100.0, 0.0], [101.0, 1.0]]))
    assert data.test.y.tolist() == [1, 0] * 5
    assert sorted(data.digests) == ["test.csv", "train.csv"]
    tested = [load("folder", fold=(k, 5), **options).test.index for k in range(1, 6)]
    assert torch.cat(tested).sort().values.tolist() == list(range(50))
    (tmp_path / "test.csv").write_text("a,b,label\n1,2,u\n1,2,w\n")
    with pytest.raises(BitspikeError, match=r"test.csv row 3, column 'label': got 'w', which is no class of training"):
        load("folder", **options)


def test_test_examples_that_were_trained_on_are_said(tmp_path: Path) -> None:
    rows = "".join(f"{i % 5},{'uv'[i % 2]}\n" for i in range(40))
    (tmp_path / "a.csv").write_text(f"a,label\n{rows}")
    notes = load("folder", path=tmp_path / "a.csv").notes
    assert "8 of 8 test examples have the values of a training example" in notes
