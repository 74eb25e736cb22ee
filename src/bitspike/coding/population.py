"""Cosine population code (BiSNN's two-moons and 1-D inputs).

    rate_k(x) = 0.5 + 0.5 cos(clip(pi (x - c_k)/d, -pi, pi))      c_k = k/(n - 1),  k = 0 .. n - 1

n: neurons per input dimension; d: width, `spread`/(n - 1). With spread 1 the rates of any x in [0, 1] sum
to 1; with spread 4 to 4 inside the edges. Outside [0, 1] the code fades out, beyond d it is silent. Spikes
are Bernoulli(rate), independent over steps.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from bitspike.coding.base import Encoder, checked_examples, checked_steps, floating
from bitspike.draws import Key, uniform_per_example
from bitspike.errors import refuse
from bitspike.kernels.dtypes import computing
from bitspike.notices import notice

ROUNDING = 1e-6


def cosine_rates(x: Tensor, neurons: int, spread: float = 1.0) -> Tensor:
    """Rates (*x.shape, neurons) in [0, 1] for x in [0, 1]."""
    x = computing(x)
    centres = torch.arange(neurons, dtype=x.dtype, device=x.device) / (neurons - 1)
    phase = math.pi * (x.unsqueeze(-1) - centres) * (neurons - 1) / spread
    return 0.5 + 0.5 * torch.cos(phase.clamp(-math.pi, math.pi))


def outside(x: Tensor) -> float:
    """The share of values outside [0, 1], rounding aside."""
    return float(((x < -ROUNDING) | (x > 1 + ROUNDING)).double().mean()) if x.numel() else 0.0


class PopulationCode(Encoder):
    """Each value as Bernoulli spikes of `neurons` tuned units; dimensions side by side."""

    emits = "spikes"

    def __init__(self, steps: int = 100, neurons: int = 10, spread: float = 1.0) -> None:
        if neurons < 2:
            refuse("encoder neurons", neurons, "at least 2 per dimension")
        if not spread > 0:
            refuse("encoder spread", spread, "a positive number")
        self.steps, self.neurons, self.spread = checked_steps(steps), neurons, spread

    def notes(self, dataset: Any) -> list[str]:
        """What lies outside [0, 1], where the code fades out."""
        x, notes = dataset.train.x, []
        if outside(x) > 0:
            came = f"'population', and training values from {float(x.min()):.4g} to {float(x.max()):.4g}"
            refuse("encoder.name", came, "values in [0, 1]: outside it fades out (data.options.normalise = 'minmax')")
        for part in ("validation", "test"):
            if share := outside(getattr(dataset, part).x):
                notes.append(f"{share:.1%} of the {part} values lie outside [0, 1]: the population code fades there")
        return notes

    def check_seen(self, x: Any, names: Sequence[str] | None = None) -> None:
        """As `notes`, of new examples."""
        if share := outside(x):
            notice(f"predict x: {share:.1%} of the values lie outside [0, 1], where the population code fades out")

    def features(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """(values * neurons,)."""
        return (math.prod(shape) * self.neurons,)

    def __call__(self, x: Tensor, examples: Tensor, *keys: Key) -> Tensor:
        """(B, *shape) to 0/1 spikes (T, B, values * neurons)."""
        checked_examples(x, examples, "population encoder")
        given, x = floating(x).dtype, computing(x)
        if not bool(x.isfinite().all()):
            refuse("population encoder input", "values that are not finite", "numbers, in [0, 1] or near it")
        rates = cosine_rates(x.flatten(1), self.neurons, self.spread).flatten(1)
        u = uniform_per_example(examples, (self.steps, rates.shape[1]), *keys, dtype=torch.float32)
        return (u.to(x.device).transpose(0, 1) < rates).to(given)
