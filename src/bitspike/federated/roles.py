"""Arithmetic on what is exchanged: tensors by role and name (`learners.exchange`).

Of a statistic only mean and variance are sent, as (2, *shape); its sums (4, *shape) are made of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from bitspike.learners.exchange import Given, Roles

LEARNED = ("latent", "real")


def each(roles: Given) -> Iterator[tuple[str, str, Tensor]]:
    """(role, name, tensor), in the order of names."""
    for role in sorted(roles):
        for name in sorted(roles[role]):
            yield role, name, roles[role][name]


def mapped(roles: Given, change: Callable[[str, str, Tensor], Tensor]) -> Roles:
    """Each tensor changed."""
    return {role: {name: change(role, name, t) for name, t in some.items()} for role, some in roles.items()}


def told(role: str, tensor: Tensor) -> Tensor:
    """What is sent of a tensor: a statistic's mean and variance."""
    return (tensor[1:3] / tensor[0]).float() if role == "statistic" else tensor


def sums(role: str, tensor: Tensor) -> Tensor:
    """What `told` came from."""
    if role != "statistic":
        return tensor
    mean, var = tensor.double()
    return torch.stack([torch.ones_like(mean), mean, var, mean.square()])


def change(one: Given, base: Given, roles: tuple[str, ...] = LEARNED) -> float:
    """Euclidean length of the difference over some roles."""
    squares = [float((tensor.double() - base[role][name].double()).square().sum()) for role, name, tensor in each(one)
               if role in roles]  # fmt: skip
    return math.sqrt(math.fsum(squares)) if all(map(math.isfinite, squares)) else math.inf


def deviation(one: Given, base: Given) -> float:
    """FedSNN's: sum over tensors of ||w - w_server|| / (1 + ||w_server||)."""
    return math.fsum(
        float((tensor.double() - base[role][name].double()).norm() / (1 + base[role][name].double().norm()))
        for role, name, tensor in each(one) if role in LEARNED
    )  # fmt: skip


def count(roles: Given) -> int:
    """Numbers that are sent of it."""
    return sum(told(role, tensor).numel() for role, _, tensor in each(roles))
