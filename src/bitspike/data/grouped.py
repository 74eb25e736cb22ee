"""Splits that keep groups whole, and folds: stratified as far as groups allow.

Groups (all readings of one person, say) are handed out from the largest to the smallest, each to the part p in which it
lowers the distance to what the part should have the most:

    sum_c [ (have_pc - want_pc) / n_c ]^2             want_pc = share_p n_c, n_c examples of class c

Of k folds each is the test part once. Without groups the shuffled examples, class after class, are dealt to the folds
in turn, so that the folds differ by one example at most, and in each class by one at most.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from bitspike.data.splits import Parts, count_of, shuffled_by_class, split
from bitspike.draws import generator
from bitspike.errors import refuse


def numbered(groups: Sequence[str]) -> Tensor:
    """Group numbers (N,) of names, in the order in which they first appear."""
    number = {name: i for i, name in enumerate(dict.fromkeys(groups))}
    return torch.tensor([number[name] for name in groups])


def handed_out(y: Tensor, groups: Tensor, shares: Sequence[float], seed: int, field: str) -> list[Tensor]:
    """Ascending row numbers of each part, whole groups, by the rule above; no part stays empty."""
    members = [torch.nonzero(groups == g).flatten() for g in torch.unique(groups)]
    if len(members) < len(shares):
        refuse(field, f"{len(members)} groups", f"at least {len(shares)}, one for each part")
    classes, y = torch.unique(y, return_inverse=True)
    of_class = torch.bincount(y, minlength=len(classes)).double()
    counts = torch.stack([torch.bincount(y[rows], minlength=len(classes)) for rows in members]).double()
    order = torch.randperm(len(members), generator=generator("split", "groups", seed))
    order = order[torch.argsort(counts[order].sum(1), descending=True, stable=True)]
    want = torch.tensor(shares, dtype=torch.float64).unsqueeze(1) * of_class
    have = torch.zeros_like(want)
    chosen: list[list[int]] = [[] for _ in shares]
    for place, g in enumerate(order.tolist()):
        cost = (((have + counts[g] - want) / of_class).square() - ((have - want) / of_class).square()).sum(1)
        empty = [p for p, some in enumerate(chosen) if not some]
        if len(order) - place <= len(empty):
            # The last groups go to parts that would stay empty.
            cost = torch.where(torch.tensor([p in empty for p in range(len(shares))]), cost, torch.inf)
        part = int(cost.argmin())
        chosen[part].append(g)
        have[part] += counts[g]
    return [torch.cat([members[g] for g in some]).sort().values for some in chosen]


def split_by_group(
    y: Tensor, groups: Tensor | None, seed: int, validation: float, test: float | None, field: str
) -> Parts:
    """`splits.split`; where there are groups, none is in two parts, and shares are met as far as whole groups allow."""
    if groups is None:
        return split(y, seed, validation, test, field)
    total = len(y)
    tested = 0 if test is None else count_of(test, total, f"{field} test share")
    held = count_of(validation, total - tested, f"{field} validation share")
    shares = [total - tested - held, held] + ([] if test is None else [tested])
    parts = handed_out(y, groups, [share / total for share in shares], seed, field)
    return Parts(parts[0], parts[1], torch.empty(0, dtype=torch.int64) if test is None else parts[2])


def fold_of(y: Tensor, groups: Tensor | None, folds: int, seed: int, field: str) -> Tensor:
    """The fold 0 .. folds - 1 in which each of the N examples is tested."""
    out = torch.empty(len(y), dtype=torch.int64)
    if groups is not None:
        for number, rows in enumerate(handed_out(y, groups, [1 / folds] * folds, seed, f"{field} (--folds {folds})")):
            out[rows] = number
        return out
    if folds > len(y):
        refuse("data.folds", folds, f"at most the {len(y)} examples of {field}")
    out[torch.cat(shuffled_by_class(y, seed, "folds"))] = torch.arange(len(y)) % folds
    return out


def fold_parts(
    y: Tensor, groups: Tensor | None, fold: tuple[int, int], seed: int, validation: float, field: str
) -> Parts:
    """The parts of fold (k, of n): its examples are tested; the others are split into training and validation."""
    number, folds = fold
    inside = fold_of(y, groups, folds, seed, field) == number - 1
    rest = torch.nonzero(~inside).flatten()
    parts = split_by_group(y[rest], None if groups is None else groups[rest], seed, validation, None, field)
    return Parts(rest[parts.train], rest[parts.validation], torch.nonzero(inside).flatten())


def divided(
    y: Tensor,
    groups: Tensor | None,
    tested: int,
    fold: tuple[int, int] | None,
    seed: int,
    validation: float,
    test: float,
    field: str,
) -> Parts:
    """The parts of labels y (N,), of which the last `tested` come from a test file (then `test` is not used)."""
    if fold is not None:
        return fold_parts(y, groups, fold, seed, validation, field)
    known = len(y) - tested
    both = set() if groups is None or not tested else set(groups[:known].tolist()) & set(groups[known:].tolist())
    if both:
        refuse(field, f"{len(both)} groups that are in the test file too", "no group in both files")
    share, groups = None if tested else test, None if groups is None else groups[:known]
    parts = split_by_group(y[:known], groups, seed, validation, share, field)
    return Parts(parts.train, parts.validation, torch.arange(known, len(y)) if tested else parts.test)
