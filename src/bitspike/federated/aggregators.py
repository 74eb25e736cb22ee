"""What a server makes of the replies of a round: means.

    w = sum_k a_k w_k / sum_k a_k             a_k = 1, or the client's examples

in double precision, in the order of clients, whatever order they came in. A number that only some replies hold is the
mean of these. Statistics add up as sums; see `learners.exchange`.
Sources: McMahan et al. 2017 (FedAvg), Li et al. 2020 (FedProx), Hsu et al. 2019 (FedAvgM).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from bitspike.errors import refuse
from bitspike.federated.roles import LEARNED, Lengths, each, mapped
from bitspike.kernels.cpu.buffers import empty
from bitspike.kernels.cpu.sums import add_scaled
from bitspike.learners.exchange import Given, Roles

BLOCK = 1 << 16  # numbers that are added up at a time
SMALL = 1 << 12  # numbers up to which all replies are added up at once


@dataclass(frozen=True)
class Reply:
    """What a client has learned; present: bool, where a reply holds only part of a tensor, by (role, name)."""

    client: int
    examples: int
    roles: Roles
    present: Mapping[tuple[str, str], Tensor] = field(default_factory=dict)
    distances: Lengths = field(default_factory=dict)
    """How far each tensor is from where the client began."""
    rates: Mapping[str, float] = field(default_factory=dict)
    """Sum of the client's learning rates by role, where gradients are corrected (`controls`)."""


class Aggregator:
    """One way to add replies up.

    proximal: the pull that clients feel; see `client`. clients: of the federation, as the server says.
    """

    proximal: float = 0.0
    clients: int = 1

    def controls(self, base: Given) -> Roles:
        """What clients correct their gradients by, for some of what is learned (see `scaffold`); {}: they do not."""
        return {}

    def combine(self, replies: Sequence[Reply], base: Given) -> Roles:
        """The new network, of one reply or more in the order of clients; base: the network they began with."""
        raise NotImplementedError

    def settle(self, replies: Sequence[Reply], base: Given) -> Roles:
        """The statistics of the finished network, of replies that hold nothing else: of all examples."""
        return mean(replies, [float(reply.examples) for reply in replies], base)

    def state_dict(self) -> dict[str, Any]:
        """What is carried from round to round."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up `state_dict()`."""

    def check_state(self, base: Given) -> None:
        """Raise ValueError where what is carried is of another network than `base`."""


def check_fits(carried: Given, base: Given, what: str) -> None:
    """Raise ValueError where tensors do not have names and shapes of `base`."""
    for role, name, tensor in each(carried):
        if name not in base.get(role, {}) or tensor.shape != base[role][name].shape:
            raise ValueError(f"{what} of another network")


def summed(values: Sequence[Tensor], weights: Sequence[float], like: Tensor) -> Tensor:
    """The sum of a_k w_k as `like` is, in double precision; by blocks that stay in the processor's cache."""
    if like.numel() <= SMALL:
        wide = torch.stack(list(values)).double()
        by = torch.tensor(weights, dtype=torch.float64).view(-1, *[1] * like.ndim)
        return wide.mul_(by).sum(0).to(like.dtype)
    found, total = empty(tuple(like.shape), like.dtype), empty((BLOCK,), torch.float64)
    flat = [value.reshape(-1).split(BLOCK) for value in values]
    for into, *parts in zip(found.view(-1).split(BLOCK), *flat, strict=True):
        now = total[: len(into)].zero_()
        for part, weight in zip(parts, weights, strict=True):
            add_scaled(now, part, weight)
        into.copy_(now)
    return found


def mean(replies: Sequence[Reply], weights: Sequence[float], base: Given) -> Roles:
    """The weighted mean; a number that nobody sent stays as it is in `base`."""
    total = sum(weights)

    def combined(role: str, name: str, old: Tensor) -> Tensor:
        values = [reply.roles[role][name] for reply in replies]
        if not any((role, name) in reply.present for reply in replies):
            # First divided: the weight of an only reply is 1, and it is taken as it came.
            return summed(values, [weight / total for weight in weights], old)
        found = torch.zeros(old.shape, dtype=torch.float64)
        mass = torch.zeros(old.shape, dtype=torch.float64)
        for reply, value, weight in zip(replies, values, weights, strict=True):
            held = reply.present.get((role, name), torch.ones(1, dtype=torch.bool)).expand(old.shape)
            found.add_(torch.where(held, value.double(), 0.0), alpha=weight)
            mass.add_(held.double(), alpha=weight)
        return torch.where(mass > 0, found / mass.clamp_min(1e-300), old.double()).to(old.dtype)

    return mapped(base, combined)


class Mean(Aggregator):
    """Every reply counts the same."""

    def combine(self, replies: Sequence[Reply], base: Given) -> Roles:
        """See `mean`."""
        return mean(replies, [1.0] * len(replies), base)


class WeightedMean(Aggregator):
    """Every reply counts by its examples."""

    def combine(self, replies: Sequence[Reply], base: Given) -> Roles:
        """See `mean`."""
        return mean(replies, [float(reply.examples) for reply in replies], base)


class FedProx(WeightedMean):
    """mu: weight of the proximal term, mu/2 ||w - w_server||^2 in a client's loss."""

    def __init__(self, mu: float = 0.01) -> None:
        self.proximal = mu


class ServerMomentum(WeightedMean):
    """v <- beta v + (mean - w); w <- w + rate v, of all that is learned; statistics are the mean's."""

    def __init__(self, beta: float = 0.9, rate: float = 1.0) -> None:
        self.beta, self.rate = beta, rate
        self.velocity: Roles = {}

    def combine(self, replies: Sequence[Reply], base: Given) -> Roles:
        """See the class."""
        new = super().combine(replies, base)
        for role, name, old in each(base):
            if role in LEARNED:
                step = new[role][name].double() - old.double()
                before = self.velocity.get(role, {}).get(name)
                step = step if before is None else self.beta * before + step
                self.velocity.setdefault(role, {})[name] = step
                new[role][name] = (old.double() + self.rate * step).to(old.dtype)
        return new

    def state_dict(self) -> dict[str, Any]:
        """The velocities."""
        return {"velocity": {role: dict(some) for role, some in self.velocity.items()}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up `state_dict()`."""
        if not isinstance(state.get("velocity"), dict):
            refuse("aggregator state", state, "velocities")
        self.velocity = {role: dict(some) for role, some in state["velocity"].items()}

    def check_state(self, base: Given) -> None:
        """See `Aggregator`."""
        check_fits(self.velocity, base, "velocities")
