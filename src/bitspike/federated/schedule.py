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


def round_of(part: Any, seed: int, number: int) -> Round:
    """Round `number`, from 1, of a federation."""
    source = generator(seed, "federation", "round", number)
    asked = torch.randperm(part.clients, generator=source)[: part.asked].tolist()
    late, silent = (torch.rand(len(asked), generator=source).tolist() for _ in range(2))
    return Round(
        number,
        tuple(sorted(asked)),
        frozenset(client for client, chance in zip(asked, silent, strict=True) if chance < part.dropouts),
        frozenset(client for client, chance in list(zip(asked, late, strict=True))[1:] if chance < part.stragglers),
    )
