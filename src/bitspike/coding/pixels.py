"""An image as a sequence of its pixels: x_t = pixels[order[t g : (t + 1) g]], T = pixels / g.

g = 1 shows one pixel per step (sequential MNIST), g = width one row. Order "permuted" is one fixed shuffle of all
pixels, numpy's RandomState(permutation).permutation(pixels): with seed 0 and 784 pixels the permuted sequential MNIST
of the LMU's reference implementation. Other code bases shuffle otherwise, which moves accuracies by tenths of a point.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from bitspike.coding.base import Encoder, floating
from bitspike.draws import Key
from bitspike.errors import check_name, refuse

ORDERS = ("rows", "permuted")


class PixelSequence(Encoder):
    """Values (B, *shape) to (T, B, g), in the order an image is read or shuffled once and for all.

    shape: of one example; order and permutation: see the module.
    """

    def __init__(self, shape: tuple[int, ...], group: int = 1, order: str = "rows", permutation: int = 0) -> None:
        pixels = math.prod(shape)
        check_name("encoder order", order, ORDERS, " or ".join(map(repr, ORDERS)))
        if group < 1 or pixels % group:
            refuse("encoder group", group, f"a whole part of the {pixels} values of an example")
        self.steps, self.group, self.pixels = pixels // group, group, pixels
        shuffled = np.random.RandomState(permutation).permutation(pixels) if order == "permuted" else np.arange(pixels)
        self.order = torch.from_numpy(shuffled)

    def features(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """(g,)."""
        return (self.group,)

    def __call__(self, x: Tensor, examples: Tensor, *keys: Key) -> Tensor:
        """(B, *shape) to (T, B, g)."""
        flat = floating(x).flatten(1)
        if flat.shape[1] != self.pixels:
            refuse("pixel sequence", f"examples of {flat.shape[1]} values", f"{self.pixels}")
        sequence: Tensor = flat[:, self.order.to(x.device)].unflatten(1, (self.steps, self.group))
        return sequence.transpose(0, 1).contiguous()
