"""Sequences of different lengths in one batch: where each ends, and who must know.

A batch of events (T, B, ...) carries the lengths (B,) of its sequences (`with_lengths`, `lengths_of`). A learner runs
its model inside `ends_at(lengths)`; there batch statistics leave out what lies behind an end, and networks that answer
once read each sequence at its own end. Layers that are causal and treat examples alone need not know.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from bitspike.errors import refuse

_now: list[Tensor | None] = [None]


def with_lengths(events: Tensor, lengths: Tensor | None) -> Tensor:
    """Events (T, B, ...) that carry the lengths (B,) of their sequences; the same tensor."""
    if lengths is not None:
        events.lengths = lengths.to(events.device)  # type: ignore[attr-defined]
    return events


def lengths_of(events: Tensor) -> Tensor | None:
    """The lengths (B,) that a batch carries; None where every sequence has all T steps."""
    return getattr(events, "lengths", None)


@contextmanager
def ends_at(lengths: Tensor | None) -> Iterator[None]:
    """Inside, sequences of the batch end after `lengths` (B,) steps (None: after all)."""
    _now.append(lengths)
    try:
        yield
    finally:
        _now.pop()


def lengths_for(x: Tensor) -> Tensor | None:
    """The lengths (B,) that hold for x (T, B, ...) here; None where every sequence has all T steps."""
    lengths = _now[-1]
    if lengths is None:
        return None
    if x.ndim < 2 or x.shape[1] != len(lengths) or int(lengths.max()) > len(x):
        came = f"{len(lengths)} sequences of up to {int(lengths.max())} steps"
        refuse("layer input", tuple(x.shape), f"(T, B, *features) that holds {came}")
    return lengths


def inside(lengths: Tensor, steps: int) -> Tensor:
    """Mask (T, B): true before a sequence's end."""
    return torch.arange(steps, device=lengths.device).unsqueeze(1) < lengths


def frozen(outputs: Tensor, lengths: Tensor | None) -> Tensor:
    """Outputs (T, B, ...) that stay what they are at each sequence's last step."""
    if lengths is None or len(outputs) == 1:
        return outputs
    steps = torch.arange(len(outputs), device=outputs.device).unsqueeze(1).minimum(lengths - 1)
    return outputs[steps, torch.arange(outputs.shape[1], device=outputs.device)]
