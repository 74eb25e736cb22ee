"""What a server makes of replies some of which are hostile.

    median         of every number by itself
    trimmed mean   of every number by itself, without the h n smallest and the h n largest
    Krum           the reply whose sum of squared distances to its n - f - 2 nearest is least; the mean of the best

Replies count the same, as examples are what a client says of itself. A statistic is taken as mean and variance.
Sources: Yin et al. 2018 (median, trimmed mean), Blanchard et al. 2017 (Krum, Multi-Krum).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from bitspike.federated.aggregators import Aggregator, Reply, mean
from bitspike.federated.roles import LEARNED, each, mapped, sums, told
from bitspike.learners.exchange import Given, Roles


def by_number(replies: Sequence[Reply], base: Given, combined: object) -> Roles:
    """Each tensor of the replies stacked (n, *shape) and combined along the first axis."""

    def one(role: str, name: str, old: Tensor) -> Tensor:
        stack = torch.stack([told(role, reply.roles[role][name]).double() for reply in replies])
        return sums(role, combined(stack)).to(old.dtype)  # type: ignore[operator]

    return mapped(base, one)


def median(stack: Tensor) -> Tensor:
    """Of an even number, the mean of the two in the middle."""
    ordered, n = stack.sort(0).values, len(stack)
    return (ordered[(n - 1) // 2] + ordered[n // 2]) / 2


class Robust(Aggregator):
    """One that a few replies do not move far: nor the statistics that clients settle."""

    def settle(self, replies: Sequence[Reply], base: Given) -> Roles:
        """As the replies of a round."""
        return self.combine(replies, base)


class Median(Robust):
    """Of every number."""

    def combine(self, replies: Sequence[Reply], base: Given) -> Roles:
        """See the module."""
        return by_number(replies, base, median)


class TrimmedMean(Robust):
    """hostile: the share left out at either end, rounded up, as long as one value is left."""

    def __init__(self, hostile: float = 0.2) -> None:
        self.hostile = hostile

    def combine(self, replies: Sequence[Reply], base: Given) -> Roles:
        """See the module."""
        cut = min(math.ceil(self.hostile * len(replies)), (len(replies) - 1) // 2)
        return by_number(replies, base, lambda stack: stack.sort(0).values[cut : len(stack) - cut].mean(0))


class Krum(Robust):
    """hostile: the share that may be; chosen: replies that the mean is of (None: all but that share)."""

    def __init__(self, hostile: float = 0.2, chosen: int | None = None) -> None:
        self.hostile, self.chosen = hostile, chosen

    def combine(self, replies: Sequence[Reply], base: Given) -> Roles:
        """See the module."""
        n = len(replies)
        f = math.ceil(self.hostile * n)
        flat = torch.stack([_flat(reply.roles, base) for reply in replies])
        # Not by products, which lose the digits of near replies.
        distances = torch.stack([(flat - row).square().sum(1) for row in flat])
        nearest = distances.fill_diagonal_(math.inf).sort(1).values[:, : max(1, n - f - 2)]
        scores = torch.where(nearest.isfinite(), nearest, 0.0).sum(1)
        best = scores.argsort(stable=True)[: self.chosen or max(1, n - f)].tolist()
        return mean([replies[k] for k in sorted(best)], [1.0] * len(best), base)


def _flat(roles: Given, base: Given) -> Tensor:
    """How far what is learned has gone; of statistics alone, these."""
    some = [role for role in roles if role in LEARNED and roles[role]] or list(roles)
    parts = [told(role, t) - told(role, base[role][name]) for role, name, t in each(roles) if role in some]
    return torch.cat([part.flatten().double() for part in parts])
