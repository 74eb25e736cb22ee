from __future__ import annotations

import pytest
import torch

from bitspike.data import splits
from bitspike.errors import BitspikeError


def labels(*counts: int) -> torch.Tensor:
    return torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))


def test_shares_follow_the_largest_remainder() -> None:
    # 10 of 7, 2, 1: exactly 3.5, 1, 0.5 of 5; the first of the equal remainders gets the odd one.
    assert splits.shares(torch.tensor([7, 2, 1]), 5).tolist() == [4, 1, 0]
    assert splits.shares(torch.tensor([50, 30, 20]), 10).tolist() == [5, 3, 2]


@pytest.mark.parametrize("counts", [(100, 60, 40), (3, 3), (1, 2, 3, 50), (2, 7)])
def test_parts_cover_each_example_once_and_train_has_every_class(counts: tuple[int, ...]) -> None:
    y = labels(*counts)
    parts = splits.split(y, 0, 0.125, 0.2, "set")
    together = torch.cat([parts.train, parts.validation, parts.test])
    assert together.sort().values.tolist() == list(range(len(y)))
    assert set(y[parts.train].tolist()) == set(range(len(counts)))
    for number, count in enumerate(counts):
        if count >= 3:
            assert number in y[parts.validation]
            assert number in y[parts.test]


def test_parts_of_a_large_set_are_proportional_and_exact() -> None:
    y = labels(5923, 6742, 5958)
    parts = splits.split(y, 3, 1000, None, "set")
    assert len(parts.test) == 0
    assert len(parts.validation) == 1000
    share = torch.bincount(y[parts.validation]) / torch.bincount(y)
    assert ((share - 1000 / len(y)).abs() < 1e-3).all()


def test_the_seed_decides_the_split() -> None:
    y = labels(50, 50)
    first, again, other = (splits.split(y, seed, 0.1, 0.2, "set").test for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_too_few_examples_are_refused() -> None:
    with pytest.raises(BitspikeError, match=r"^set: got 2 examples, wanted at least 3 of some class, to split$"):
        splits.split(labels(1, 1), 0, 0.5, 0.5, "set")


def test_a_subset_keeps_the_proportions() -> None:
    y = labels(60, 30, 10)
    rows = splits.subset(y, 20, 0, "size")
    assert torch.bincount(y[rows]).tolist() == [12, 6, 2]
    assert splits.subset(y, None, 0, "size").tolist() == list(range(100))
    with pytest.raises(BitspikeError, match=r"^size: got 101, wanted at most 100 examples$"):
        splits.subset(y, 101, 0, "size")
