"""Servers that step along the mean change of a round, each number by a rate of its own.

    d = mean - w                                       the pseudo-gradient, of all that is learned
    m <- b1 m + (1 - b1) d                             m = 0 before the first round
    v <- b2 v + (1 - b2) d^2                           Adam; v = tau^2 before the first round
    v <- v - (1 - b2) d^2 sign(v - d^2)                Yogi
    w <- w + rate m / (sqrt v + tau)

in double precision, without a correction of the first rounds' bias, as in the paper. Statistics are the mean's. A round
that changes nothing (too few replies) leaves m and v too. Source: Reddi et al. 2021 (Adaptive Federated Optimization).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, full_like, sign, zeros_like

from bitspike.errors import refuse
from bitspike.federated.aggregators import Aggregator, Mean, Reply, WeightedMean, check_fits
from bitspike.federated.roles import LEARNED, each
from bitspike.learners.exchange import Given, Roles

MOMENTS = ("first", "second")


class ServerAdam(Aggregator):
    """betas: b1 and b2; weighted: whether replies count by their examples in the mean. See the module."""

    def __init__(
        self, rate: float = 0.1, betas: Sequence[float] = (0.9, 0.99), tau: float = 1e-3, weighted: bool = True
    ) -> None:
        self.rate, self.tau, self.weighted = rate, tau, weighted
        self.beta1, self.beta2 = betas
        self.first: Roles = {}
        self.second: Roles = {}

    def second_moment(self, before: Tensor, square: Tensor) -> Tensor:
        """v of the one before and d^2."""
        return self.beta2 * before + (1 - self.beta2) * square

    def combine(self, replies: Sequence[Reply], base: Given) -> Roles:
        """See the module."""
        new = (WeightedMean() if self.weighted else Mean()).combine(replies, base)
        for role, name, old in each(base):
            if role not in LEARNED:
                continue
            at, change = old.double(), new[role][name].double() - old.double()
            first, second = (carried.setdefault(role, {}) for carried in (self.first, self.second))
            m = self.beta1 * first.get(name, zeros_like(at)) + (1 - self.beta1) * change
            v = self.second_moment(second.get(name, full_like(at, self.tau**2)), change.square())
            first[name], second[name] = m, v
            new[role][name] = (at + self.rate * (m / (v.sqrt() + self.tau))).to(old.dtype)
        return new

    def state_dict(self) -> dict[str, Any]:
        """Both moments."""
        return {moment: {role: dict(some) for role, some in getattr(self, moment).items()} for moment in MOMENTS}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up `state_dict()`."""
        if not all(isinstance(state.get(moment), dict) for moment in MOMENTS):
            refuse("aggregator state", state, "two moments")
        self.first, self.second = ({role: dict(some) for role, some in state[moment].items()} for moment in MOMENTS)

    def check_state(self, base: Given) -> None:
        """See `Aggregator`."""
        check_fits(self.first, base, "moments")
        check_fits(self.second, base, "moments")
        if any(bool((v < 0).any()) for _, _, v in each(self.second)):
            raise ValueError("a second moment below 0")


class ServerYogi(ServerAdam):
    """Its second moment changes by no more than the square of a round's change, so that it forgets slowly."""

    def second_moment(self, before: Tensor, square: Tensor) -> Tensor:
        """v of the one before and d^2."""
        return before - (1 - self.beta2) * square * sign(before - square)
