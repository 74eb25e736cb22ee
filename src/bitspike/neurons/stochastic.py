"""Units that draw random numbers while a network trains, and one function that names the next draws of all of them.

A unit's n-th call after `redraw_units` draws from `draws.generator(*keys, path, n)`, whatever ran before.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from bitspike import draws
from bitspike.neurons.quantiser_control import redraw_carry


class Stochastic:
    """What a unit with draws of its own has beside being a module. keys: names its draws until they are named."""

    keys: tuple[draws.Key, ...] = (0, "noise")
    drawn: tuple[draws.Key, ...] | None = None
    calls: int = 0

    def next_keys(self) -> tuple[draws.Key, ...]:
        """The name of this call's draw."""
        self.calls += 1
        return (*(self.keys if self.drawn is None else self.drawn), self.calls - 1)

    def next_draw(self, device: torch.device) -> torch.Generator:
        """The generator of this call."""
        return draws.generator(*self.next_keys(), device=device)


def redraw_units(
    model: nn.Module, *keys: draws.Key, examples: Sequence[int] | Tensor | None = None, carry: str = "carry"
) -> None:
    """Name the next draws of every unit of `model` that draws: quantisers, training noise, dropout.

    keys: a seed, then what tells this moment from others. Without keys: back to the names they were made with.
    examples: as in `redraw_carry`, for quantisers. carry: the word for what quantisers draw.
    """
    redraw_carry(model, *((keys[0], carry, *keys[1:]) if keys else ()), examples=examples)
    for name, module in model.named_modules():
        if isinstance(module, Stochastic):
            module.drawn = (keys[0], "noise", *keys[1:], name) if keys else None
            module.calls = 0
