"""A series seen through a window that moves with time: step k of the network sees the last `width` steps of the data.

    x_k = (x[(k + 1) s - w], ..., x[(k + 1) s - 1])     k = 0, ..., S - 1,  S = ceil(T / s)

s: stride, w: width; x is 0 before the first step and behind the last. A window is causal: step k depends on no step of
the data after (k + 1) s - 1. With s = 1 there is one step of the network for each of the data. A network without
recurrent weights keeps of the past what its membranes leak slowly; a window gives it the order of values too.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from bitspike.coding.base import Encoder, checked_steps, floating
from bitspike.draws import Key
from bitspike.errors import refuse


class Windows(Encoder):
    """Data with a time axis (B, T, *shape) to (S, B, w, *shape); steps: T."""

    takes = "sequence"

    def __init__(self, steps: int, width: int, stride: int = 1) -> None:
        self.read_steps = checked_steps(steps)
        if not 1 <= width <= steps:
            refuse("encoder width", width, f"a window of 1 to {steps} steps")
        if not 1 <= stride <= width:
            refuse("encoder stride", stride, f"1 to {width}, the window's width: every step is seen")
        self.width, self.stride = width, stride
        self.steps = -(-steps // stride)

    @property
    def reads(self) -> int:
        """T."""
        return self.read_steps

    def features(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """(w, *shape)."""
        return (self.width, *shape)

    def ends(self, lengths: Tensor) -> Tensor:
        """Steps of the network in which sequences of `lengths` steps are seen whole."""
        return -(-lengths // self.stride)

    def __call__(self, x: Tensor, examples: Tensor, *keys: Key) -> Tensor:
        """(B, T, *shape) to (S, B, w, *shape)."""
        if x.shape[1] != self.read_steps:
            refuse("windows length", x.shape[1], f"{self.read_steps} steps")
        after = self.steps * self.stride - self.read_steps
        padded = F.pad(floating(x), (0, 0) * (x.ndim - 2) + (self.width - self.stride, after))
        seen = padded.unfold(1, self.width, self.stride)
        return seen.movedim(-1, 2).transpose(0, 1)
