"""What every encoder shares."""

from __future__ import annotations

from typing import Any, Literal

from torch import Tensor

from bitspike.draws import Key
from bitspike.errors import refuse

ENCODERS: dict[str, type[Encoder]] = {}


class Encoder:
    """Turns a batch of examples into (T, B, *features).

    `steps` is T; `takes`: what it reads: "values" (B, *shape), "sequence" (B, T, *shape) or "events"; `emits`: what
    the code is made of, "spikes" (0 and 1) or "real".
    """

    steps: int
    takes: str = "values"
    emits: Literal["spikes", "real"] = "real"

    def features(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Feature shape of the code of an example of `shape` (without time)."""
        return shape

    def __call__(self, x: Any, examples: Tensor, *keys: Key) -> Tensor:
        """Encode batch x; examples (B,) are the examples' numbers, keys name the random draw."""
        raise NotImplementedError


def checked_steps(steps: int) -> int:
    """Refuse a number of time steps below 1."""
    if steps < 1:
        refuse("encoder steps", steps, "at least 1")
    return int(steps)


def checked_unit(x: Tensor, encoder: str) -> Tensor:
    """Refuse values outside [0, 1], which a probability or a latency cannot show."""
    low, high = float(x.min()), float(x.max())
    if not (low >= 0 and high <= 1):
        refuse(f"{encoder} input", f"values from {low:.4g} to {high:.4g}", "values in [0, 1] (normalise the data)")
    return x
