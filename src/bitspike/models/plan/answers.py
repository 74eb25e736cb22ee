"""The end of a plan: what a sequence network reads of its hidden states, and the decoder of a read-out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from bitspike.coding.decoding import Sums, decode_on
from bitspike.models.plan.nodes import Node


@dataclass(frozen=True, eq=False, kw_only=True)
class Latest(Node):
    """The mean of the latest R steps; of all there are, before there are R."""

    what: ClassVar[str] = "mean of latest steps"
    read: int

    @property
    def detail(self) -> str:
        """R."""
        return f"{self.read} steps"

    def run(self, state: Tensor | None, *x: Tensor) -> tuple[Tensor, Tensor]:
        """Running means; the state is the steps that the next mean begins with, at most R - 1."""
        series = x[0] if state is None else torch.cat([state, x[0]])
        first = len(series) - len(x[0])
        means = [series[max(end - self.read, 0) : end].mean(0) for end in range(first + 1, len(series) + 1)]
        return torch.stack(means), series[max(len(series) - self.read + 1, 0) :].clone()


@dataclass(frozen=True, eq=False, kw_only=True)
class Decode(Node):
    """Read-outs to probabilities, or values, after each step; see `coding.decoding`. start: s0."""

    what: ClassVar[str] = "decoder"
    decoder: str
    task: str
    start: int = 0

    @property
    def kind(self) -> str:
        """Its name."""
        return f"decoder, {self.decoder}"

    @property
    def detail(self) -> str:
        """Task and first step."""
        return self.task + (f", from step {self.start}" if self.start else "")

    def run(self, state: Sums | None, *x: Tensor) -> tuple[Tensor, Sums | None]:
        """Answers of all steps."""
        return decode_on(x[0], state, self.decoder, self.task, self.start)
