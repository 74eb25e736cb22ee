"""Batches of a split: seeded order, the part of one process, encoded on demand."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from bitspike.coding import Encoder
from bitspike.draws import Key, generator
from bitspike.layers.ends import with_lengths
from bitspike.run.assemble import encode
from bitspike.run.augment import augment
from bitspike.run.recipe import Recipe

# A batch this small tells batch statistics little, and several processes need an example each.
SMALLEST_REMAINDER = 8


class Batch(NamedTuple):
    """What a learner learns from: events (T, B, *features), targets, and the examples' numbers (B,)."""

    events: Tensor
    targets: Tensor
    examples: Tensor


def batches_of(examples: int, size: int) -> int:
    """Training batches of so many examples; a remainder under SMALLEST_REMAINDER is left out."""
    whole, remainder = divmod(examples, size)
    return whole + (remainder >= SMALLEST_REMAINDER or whole == 0)


class Batches:
    """Batches of a data split as events on a device, in a dtype."""

    def __init__(
        self,
        recipe: Recipe,
        encoder: Encoder,
        split: Any,
        device: torch.device,
        dtype: torch.dtype,
        target: dict[str, Any] | None = None,
    ) -> None:
        self.recipe, self.encoder, self.split = recipe, encoder, split
        self.device, self.dtype = device, dtype
        # Normalisation of a regression's targets; answers are measured in the data's own units.
        self.target = target
        self._order: tuple[tuple[Key, ...], Tensor] | None = None

    def per_epoch(self) -> int:
        """Training batches in an epoch."""
        return batches_of(len(self.split), self.recipe.training.batch)

    def batch(self, epoch: int, number: int, key: tuple[Key, ...] = (), rank: int = 0, world: int = 1) -> Batch:
        """Batch `number` (from 0) of epoch 1, 2, ...: shuffled by seed, key and epoch.

        Process `rank` of `world` sees every world-th example of it.
        """
        named = (self.recipe.seed, *key, "order", epoch)
        if self._order is None or self._order[0] != named:
            self._order = named, torch.randperm(len(self.split), generator=generator(*named))
        size = self.recipe.training.batch
        rows = self._order[1][number * size : (number + 1) * size][rank::world]
        return Batch(*self.events(rows, epoch), self.split.index[rows])

    def evaluation(self, limit: int | None = None) -> Iterator[tuple[Tensor, Tensor]]:
        """(events, targets) in order, encoded by the draw of epoch 0, `limit` examples at most."""
        examples = torch.arange(len(self.split) if limit is None else min(limit, len(self.split)))
        for rows in examples.split(self.recipe.evaluation.batch):
            yield self.events(rows, 0)

    def statistics(self, most: int, epoch: int) -> Iterator[Tensor]:
        """Events of up to `most` large batches in a seeded order, for settling batch statistics.

        Shuffled, because splits may be sorted by class, and augmented as in `epoch`, because the weights know no
        other statistics. The batches are of one size, or differ by one, as each weighs as much as any other.
        """
        order = torch.randperm(len(self.split), generator=generator(self.recipe.seed, "statistics order"))
        parts = min(-(-len(order) // self.recipe.evaluation.batch), max(1, len(order) // 2))  # of two at least
        for rows in order.tensor_split(parts)[:most]:
            yield self.events(rows, epoch)[0]

    def events(self, rows: Tensor, epoch: int) -> tuple[Tensor, Tensor]:
        """Encoded examples (T, B, ...), with their lengths where these differ, and targets of the given rows.

        Augmented from epoch 1 on.
        """
        x, y, index = self.split.x[rows], self.split.y[rows], self.split.index[rows]
        if epoch > 0:
            x = augment(self.recipe.data, x, index, self.recipe.seed, epoch)
        placed = self._placed(encode(self.recipe, self.encoder, x, index, epoch))
        lengths = self.split.lengths
        return with_lengths(placed, None if lengths is None else self.encoder.ends(lengths[rows])), y.to(self.device)

    def _placed(self, events: Tensor) -> Tensor:
        """On the device in the dtype; a constant current stays expanded."""
        if events.shape[0] > 1 and events.stride(0) == 0:
            return events[0].to(self.device, self.dtype).expand(events.shape)
        return events.to(self.device, self.dtype)
