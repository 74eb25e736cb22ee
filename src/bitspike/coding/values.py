"""Encoders of plain values.

direct    x_t = x for every t                                   a constant current
rate      x_t ~ Bernoulli(gain x)                               x in [0, 1]
signed    x_t = sign(x) b_t,  b_t ~ Bernoulli(gain |x|)         x in [-1, 1]; spikes of both signs
latency   one spike at t = round((1 - x)(T - 1)), none if x = 0 x in [0, 1]; larger fires earlier
sequence  x_t = x[t]                                            the data has a time axis of its own
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from bitspike.coding.base import Encoder, checked_examples, checked_size, checked_steps, checked_unit, floating
from bitspike.draws import Key, uniform_per_example
from bitspike.errors import refuse


class DirectCurrent(Encoder):
    """The value itself as a current at every step; expanded, not copied (stride 0 over time)."""

    def __init__(self, steps: int = 8) -> None:
        self.steps = checked_steps(steps)

    def __call__(self, x: Tensor, examples: Tensor, *keys: Key) -> Tensor:
        """(B, *shape) to (T, B, *shape)."""
        x = floating(x)
        return x.unsqueeze(0).expand(self.steps, *x.shape)


class BernoulliRate(Encoder):
    """Independent spikes with probability gain * x at each step."""

    emits = "spikes"

    def __init__(self, steps: int = 8, gain: float = 1.0) -> None:
        if not 0 < gain <= 1:
            refuse("encoder gain", gain, "a number in (0, 1]")
        self.steps, self.gain = checked_steps(steps), gain

    def __call__(self, x: Tensor, examples: Tensor, *keys: Key) -> Tensor:
        """(B, *shape) in [0, 1] to 0/1 spikes (T, B, *shape)."""
        checked_examples(x, examples, "rate encoder")
        p = self.gain * checked_unit(x, "rate encoder")
        u = uniform_per_example(examples, (self.steps, *x.shape[1:]), *keys, dtype=torch.float32)
        return (u.to(x.device).transpose(0, 1) < p).to(floating(x).dtype)


class SignedRate(Encoder):
    """Independent spikes of the value's sign with probability gain * |x| at each step; the mean of a step is gain * x.

    With gain 1/2 the code of directly trained networks with batch normalisation through time.
    """

    def __init__(self, steps: int = 20, gain: float = 0.5) -> None:
        if not 0 < gain <= 1:
            refuse("encoder gain", gain, "a number in (0, 1]")
        self.steps, self.gain = checked_steps(steps), gain

    def __call__(self, x: Tensor, examples: Tensor, *keys: Key) -> Tensor:
        """(B, *shape) in [-1, 1] to spikes -1, 0 and 1 (T, B, *shape)."""
        checked_examples(x, examples, "signed rate encoder")
        x = checked_size(x, "signed rate encoder")
        u = uniform_per_example(examples, (self.steps, *x.shape[1:]), *keys, dtype=torch.float32)
        fires = u.to(x.device).transpose(0, 1) < self.gain * x.abs()
        return fires.to(x.dtype) * x.sign()


class Latency(Encoder):
    """One spike per value, earlier for larger values; a value of 0 stays silent."""

    emits = "spikes"

    def __init__(self, steps: int = 8) -> None:
        self.steps = checked_steps(steps)

    def __call__(self, x: Tensor, examples: Tensor, *keys: Key) -> Tensor:
        """(B, *shape) in [0, 1] to 0/1 spikes (T, B, *shape)."""
        when = ((1 - checked_unit(x, "latency encoder")) * (self.steps - 1)).round().long()
        spikes = F.one_hot(when, self.steps) * (x > 0).unsqueeze(-1)
        return spikes.movedim(-1, 0).to(floating(x).dtype)


class Sequence(Encoder):
    """Data with a time axis (B, T, *shape), moved to (T, B, *shape)."""

    takes = "sequence"

    def __init__(self, steps: int) -> None:
        self.steps = checked_steps(steps)

    def __call__(self, x: Tensor, examples: Tensor, *keys: Key) -> Tensor:
        """(B, T, *shape) to (T, B, *shape)."""
        if x.ndim < 2 or x.shape[1] != self.steps:
            refuse("sequence length", x.shape[1] if x.ndim > 1 else "none", f"{self.steps} steps")
        return floating(x).transpose(0, 1)
