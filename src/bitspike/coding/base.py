"""What every encoder shares."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from torch import Tensor

from bitspike import registry
from bitspike.draws import Key
from bitspike.errors import refuse
from bitspike.kernels.dtypes import computing
from bitspike.options import Options


class Encoder:
    """Turns a batch of examples into (T, B, *features).

    `steps` is T; `reads`: the time steps of the data (T, but for windows); `takes`: what it reads, "values"
    (B, *shape), "sequence" (B, T, *shape) or "events"; `emits`: what the code is made of, "spikes" (0 and 1) or "real".
    """

    steps: int
    takes: str = "values"
    emits: Literal["spikes", "real"] = "real"
    # The draw of an example's code is the same in every epoch.
    frozen: bool = True

    @classmethod
    def from_options(cls, options: Options, **given: Any) -> Encoder:
        """The encoder of a recipe; given: `shape` of an example."""
        fields = registry.fields_of(options)
        frozen = fields.pop("frozen", True)
        encoder: Encoder = registry.called(cls, fields, given)
        encoder.frozen = frozen
        return encoder

    def notes(self, dataset: Any) -> list[str]:
        """What of a data set this code does not show, in words; one that shows nothing is refused."""
        return []

    @property
    def reads(self) -> int:
        """Time steps of the data that an example has."""
        return self.steps

    def ends(self, lengths: Tensor) -> Tensor:
        """Of sequences of `lengths` (B,) steps, the number of encoded steps."""
        return lengths

    def check_seen(self, x: Any, names: Sequence[str] | None = None) -> None:
        """Say what of new examples (called `names`) the code does not show; one that shows nothing is refused."""

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


def floating(x: Tensor) -> Tensor:
    """Integers and booleans as floating-point numbers; others as they are."""
    return x if x.is_floating_point() else computing(x)


def checked_examples(x: Tensor, examples: Tensor, encoder: str) -> None:
    """Refuse numbers of examples that are not those of the batch."""
    if len(examples) != len(x):
        refuse(f"{encoder} examples", f"{len(examples)} numbers", f"one for each of the {len(x)} examples")


def checked_unit(x: Tensor, encoder: str) -> Tensor:
    """x in its computing dtype; refuses values outside [0, 1], which a probability or a latency cannot show."""
    x = computing(x)
    if x.numel() == 0:
        return x
    low, high = float(x.min()), float(x.max())
    if not (low >= 0 and high <= 1):
        refuse(f"{encoder} input", f"values from {low:.4g} to {high:.4g}", "values in [0, 1] (normalise the data)")
    return x


def checked_size(x: Tensor, encoder: str) -> Tensor:
    """x in its computing dtype; refuses values outside [-1, 1], whose size no probability can show."""
    x = computing(x)
    if x.numel() and not (largest := float(x.abs().max())) <= 1:
        wanted = "values in [-1, 1] (data.pixel_low = -1 for images)"
        refuse(f"{encoder} input", f"values up to a size of {largest:.4g}", wanted)
    return x
