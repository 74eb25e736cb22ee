"""What a layer really got over a whole presentation."""

from __future__ import annotations

import torch
from torch import Tensor

from bitspike.energy.counts import LayerCount, levels_of


class Once:
    """Sums over time of what each layer got in one pass: what a network that runs once would be given."""

    def __init__(self, examples: int, time_first: bool, chunked: bool = False) -> None:
        self.examples, self.time_first, self.chunked = examples, time_first, chunked
        self._sums: dict[tuple[str, int], Tensor] = {}
        self._reach: dict[tuple[str, int], Tensor] = {}

    def add(self, layer: LayerCount, x: Tensor, reach: Tensor, row: int) -> bool:
        """Add the inputs x of a call, rows over steps and examples; False where there is no time to sum over."""
        rows = x.numel() // row
        if not self.time_first or rows % self.examples:
            return False
        total = x.reshape(rows // self.examples, self.examples, -1).sum(0)
        # Calls of one step, or of one chunk of steps, go on where the last one ended; whole passes are other uses.
        number = 0
        whole = rows > self.examples and not self.chunked
        while (before := self._sums.get((layer.name, number))) is not None and (whole or before.shape != total.shape):
            number += 1
        self._sums[layer.name, number] = total if before is None else before + total
        self._reach[layer.name, number] = reach
        return True

    def close(self, layers: dict[str, LayerCount], levels: dict[str, set[float] | None]) -> None:
        """Count meetings and levels of the sums."""
        for (name, number), total in self._sums.items():
            layers[name].once += meetings(total != 0, self._reach[name, number])
            note_levels(levels, name, total)


def meetings(values: Tensor, reach: Tensor) -> float:
    """Sum of values, each times the weights that it meets: reach, for all or by place (*space)."""
    per_place = values.reshape(-1, *reach.shape).sum(0, dtype=torch.float64)
    return (per_place.cpu() * reach).sum().item()


def note_levels(levels: dict[str, set[float] | None], name: str, x: Tensor) -> None:
    """Add the different values in x to those of layer `name`; none: too many to count."""
    if levels.get(name, set()) is None:
        return
    found = levels_of(x)
    levels[name] = None if found is None else levels.get(name, set()) | found  # type: ignore[operator]
