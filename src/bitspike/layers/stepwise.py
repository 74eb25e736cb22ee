"""Apply a layer that knows no time to every step at once: (T, B, *) -> (T*B, *) -> layer -> (T, B, *)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from bitspike.errors import refuse
from bitspike.kernels.dtypes import computing, once
from bitspike.weights import at_step, drawn_each_step

REAL = (
    nn.Linear, nn.modules.conv._ConvNd, nn.modules.pooling._MaxPoolNd, nn.modules.pooling._AvgPoolNd,
    nn.modules.pooling._AdaptiveAvgPoolNd, nn.modules.pooling._AdaptiveMaxPoolNd,
)  # fmt: skip


def stepwise(layer: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """`layer` at every time step of x (T, B, *features), as one call on T*B rows.

    An input that does not change over time (expanded along T, stride 0) is computed once and expanded again,
    so a direct current costs one product per presentation, not T.
    """
    if x.ndim < 3:
        refuse("layer input", tuple(x.shape), "(T, B, *features)")
    return once(lambda part: layer(part.flatten(0, 1)).unflatten(0, part.shape[:2]), x)


class Stepwise(nn.Module):
    """A module applied at every time step; see `stepwise`. Weights drawn at each step are a loop over them."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        """x (T, B, *features) to (T, B, *outputs)."""
        # PyTorch refuses integers there, or pools them to integers; products of few bits know what to do with them.
        if not x.is_floating_point() and isinstance(self.layer, REAL) and not hasattr(self.layer, "x_kind"):
            x = computing(x)
        if self.training and isinstance(self.layer, nn.modules.dropout._DropoutNd):
            # Drawn at every step, also of an input that does not change.
            dropped: Tensor = self.layer(x.flatten(0, 1)).unflatten(0, x.shape[:2])
            return dropped
        if drawn_each_step(self.layer):
            return torch.stack([self._at(step, now) for step, now in enumerate(x.unbind(0))])
        return stepwise(self.layer, x)

    def _at(self, step: int, now: Tensor) -> Tensor:
        at_step(self.layer, step)
        y: Tensor = self.layer(now)
        return y
