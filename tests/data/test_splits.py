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


@pytest.mark.parametrize("asked", [3, 5, 17, 103])
def test_a_number_of_examples_is_that_number(asked: int) -> None:
    y = labels(100, 2, 4)
    parts = splits.split(y, 0, asked, None, "set")
    assert len(parts.validation) == asked
    assert set(y[parts.validation].tolist()) == set(y[parts.train].tolist()) == {0, 1, 2}
    parts = splits.split(labels(200, 3, 4), 0, 0.1, asked, "set")
    assert len(parts.test) == asked


@pytest.mark.parametrize(
    ("asked", "line"),
    [(2, "got 2 examples, wanted 3 to 103: one of each class, and one left to learn from"),
     (104, "got 104 examples, wanted 3 to 103"), (0, "got 0, wanted a fraction between 0 and 1, or a whole number"),
     (-1, "got -1, wanted"), (float("nan"), "got nan, wanted"), (2.5, "got 2.5, wanted"), (float("inf"), "got inf")],
)  # fmt: skip
def test_a_number_that_no_part_can_have_is_refused(asked: float, line: str) -> None:
    with pytest.raises(BitspikeError, match=f"set validation share: {line}"):
        splits.split(labels(100, 2, 4), 0, asked, None, "set")


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
