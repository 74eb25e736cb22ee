"""Arithmetic on what is exchanged: tensors by role and name (`learners.exchange`).

Of a statistic only mean and variance are sent, as (2, *shape); its sums (4, *shape) are made of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from bitspike.kernels.cpu.sums import LEAST, distance
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


Lengths = dict[tuple[str, str], float]


def lengths(roles: Given) -> Lengths:
    """Euclidean length of each tensor."""
    return {(role, name): _length(tensor) for role, name, tensor in each(roles)}


def distances(one: Given, base: Given) -> Lengths:
    """Euclidean length of each tensor's difference; infinite or NaN where a number is not finite, or huge."""
    found: Lengths = {}
    few: list[tuple[str, str]] = []
    for role, name, tensor in each(one):
        if tensor.numel() < LEAST:
            few.append((role, name))
        else:
            found[role, name] = distance(tensor, base[role][name])
    if few:
        # Small ones by as few calls as can be.
        apart = torch._foreach_sub([one[role][name] for role, name in few], [base[role][name] for role, name in few])
        found |= zip(few, map(float, torch._foreach_norm(apart)), strict=True)
    return found


def _length(tensor: Tensor) -> float:
    return float(torch.linalg.vector_norm(tensor))


def over(found: Lengths, roles: tuple[str, ...] = LEARNED) -> float:
    """Euclidean length over all tensors of some roles."""
    return math.hypot(*(length for (role, _), length in found.items() if role in roles))


def deviation(found: Lengths, base: Lengths) -> float:
    """FedSNN's: sum over tensors of ||w - w_server|| / (1 + ||w_server||)."""
    return math.fsum(length / (1 + base[key]) for key, length in found.items() if key[0] in LEARNED)


def count(roles: Given) -> int:
    """Numbers that are sent of it."""
    return sum(told(role, tensor).numel() for role, _, tensor in each(roles))
