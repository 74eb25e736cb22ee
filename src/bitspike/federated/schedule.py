"""Who takes part in a round: a function of recipe, seed and round.

FedSNN: m = max(int(fraction N), 1) clients are drawn without replacement; each but the first that was drawn is late
with the chance `stragglers`, so that one is always there. A client that drops out does nothing at all.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from bitspike.draws import generator
from bitspike.federated.codecs import Setting

SETTLING = 100
"""Clients that settle the statistics of a finished network, where there are so many: a round's few, with skewed shares,
miss what all hold (1.2 points of accuracy with ten of fifty, Dirichlet 0.5, binary weights on MNIST)."""


@dataclass(frozen=True)
class Round:
    """Clients asked, ascending; those among them that are silent, and those that answer too late."""

    number: int
    asked: tuple[int, ...]
    silent: frozenset[int] = frozenset()
    late: frozenset[int] = frozenset()

    def setting(self, seed: int, client: int) -> Setting:
        """What names the draws of a client's reply. One that is not asked has the first's place."""
        place = self.asked.index(client) if client in self.asked else 0
        return Setting(seed, client, self.number, place, len(self.asked))


def round_of(part: Any, seed: int, number: int, asked_for: int | None = None) -> Round:
    """Round `number`, from 1, of a federation. asked_for: clients asked (default: as many as the recipe says)."""
    source = generator(seed, "federation", "round", number)
    asked = torch.randperm(part.clients, generator=source)[: asked_for or part.asked].tolist()
    lateness, silence = (torch.rand(len(asked), generator=source).tolist() for _ in range(2))
    silent = frozenset(client for client, chance in zip(asked, silence, strict=True) if chance < part.dropouts)
    late = frozenset(c for c, chance in list(zip(asked, lateness, strict=True))[1:] if chance < part.stragglers)
    return Round(number, tuple(sorted(asked)), silent, late - silent)


def turn_of(part: Any, per_epoch: int, per_batch: int) -> int:
    """Batches (with `steps`: time steps) of a round for a client whose epoch has so many, of `per_batch` updates."""
    if part.steps is not None:
        return int(part.steps)
    if part.updates is not None:
        return -(-int(part.updates) // per_batch)
    return int(part.epochs) * per_epoch


def updates_of(part: Any, per_epoch: int, per_batch: int) -> int:
    """Updates of a round, about."""
    return turn_of(part, per_epoch, per_batch) * (1 if part.steps is not None else per_batch)


def settling(part: Any, seed: int) -> list[int]:
    """Clients that settle the statistics of the finished network: all up to `SETTLING`, less those that drop out."""
    asked = round_of(part, seed, part.rounds + 1, max(part.asked, SETTLING))
    return [k for k in asked.asked if k not in asked.silent]
