"""Seeded, stratified splits and subsets.

A class of n_c examples out of N gives n_c/N of what is asked (rounded by largest remainder), at least one
where it can, and always keeps one for training.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from bitspike.data.base import Split
from bitspike.draws import generator
from bitspike.errors import refuse


@dataclass(frozen=True)
class Parts:
    """Row numbers of a split, each ascending."""

    train: Tensor
    validation: Tensor
    test: Tensor

    def of(self, whole: Split, test: Split | None = None) -> tuple[Split, Split, Split]:
        """The three parts of all examples; test: where it stands apart."""
        return whole[self.train], whole[self.validation], whole[self.test] if test is None else test


def count_of(share: float, total: int, field: str) -> int:
    """A share below 1 as a rounded number of examples (at least 1), a share of 1 or more as that number."""
    if not share > 0 or share == math.inf or (share >= 1 and share != int(share)):
        refuse(field, share, "a fraction between 0 and 1, or a whole number of examples")
    count = max(1, round(share * total)) if share < 1 else int(share)
    if not 0 < count < total:
        refuse(field, f"{share:g} ({count} of {total} examples)", "fewer than there are")
    return count


def shares(counts: Tensor, total: int) -> Tensor:
    """`total` divided in proportion to `counts` (C,), by largest remainder (Hamilton)."""
    exact = counts.double() * total / counts.sum()
    whole = exact.floor().long()
    order = torch.argsort(exact - whole, descending=True, stable=True)
    whole[order[: total - int(whole.sum())]] += 1
    return whole


def shuffled_by_class(y: Tensor, seed: int, purpose: str) -> list[Tensor]:
    """The row numbers of each class of y (N,), in a drawn order."""
    order = torch.randperm(len(y), generator=generator("split", purpose, seed))
    return [order[y[order] == c] for c in torch.unique(y)]


def _of_each(counts: Tensor, most: Tensor, asked: float, field: str) -> Tensor:
    """How many of each class (C,) a part takes: in proportion, one where there is one to spare, `most` at most.

    A number of examples is met: the largest classes give back what small ones were raised by, and the other way round.
    """
    total = count_of(asked, int(counts.sum()), field)
    taken = torch.minimum(shares(counts, total).clamp(min=1), most)
    if asked < 1:
        return taken
    least, room = int((most > 0).sum()), int(most.sum())
    if not least <= total <= room:
        refuse(field, f"{total} examples", f"{least} to {room}: one of each class, and one left to learn from")
    while (off := total - int(taken.sum())) != 0:
        one = int((most - taken).argmax()) if off > 0 else int(taken.argmax())
        taken[one] += 1 if off > 0 else -1
    return taken


def split(y: Tensor, seed: int, validation: float, test: float | None, field: str) -> Parts:
    """Stratified split of labels y (N,); `test` is a share of all, `validation` a share of the rest.

    With `test` None there is no test part. A class of two examples gives one to the first part, a class
    of one stays in training. What is asked for as a number of examples is that number.
    """
    groups = shuffled_by_class(y, seed, "parts")
    counts = torch.tensor([len(group) for group in groups])
    tested = torch.zeros_like(counts)
    if test is not None:
        most = torch.where(counts > 2, counts - 2, counts - 1)
        tested = _of_each(counts, most, test, f"{field} test share")
    left = counts - tested
    validated = _of_each(left, left - 1, validation, f"{field} validation share")
    if int(validated.sum()) == 0 or (test is not None and int(tested.sum()) == 0):
        refuse(field, f"{len(y)} examples", f"at least {2 if test is None else 3} of some class, to split")
    first, second = tested.tolist(), (tested + validated).tolist()
    pieces = [(g[b:], g[a:b], g[:a]) for g, a, b in zip(groups, first, second, strict=True)]
    return Parts(*(torch.cat(part).sort().values for part in zip(*pieces, strict=True)))


def subset(y: Tensor, size: int | None, seed: int, field: str) -> Tensor:
    """Ascending row numbers of a stratified subset of `size` of labels y (N,); all rows when size is None."""
    if size is None or size == len(y):
        return torch.arange(len(y))
    if size > len(y):
        refuse(field, size, f"at most {len(y)} examples")
    groups = shuffled_by_class(y, seed, f"subset {field}")
    taken = shares(torch.tensor([len(group) for group in groups]), size).tolist()
    return torch.cat([group[:n] for group, n in zip(groups, taken, strict=True)]).sort().values
