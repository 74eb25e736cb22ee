"""From read-outs over time to probabilities (or values) after every step.

With r_s the read-out at step s, f softmax (sigmoid for one output) and s0 the first step that counts:

    mean-logit         f( mean_{s0 <= s <= t} r_s )
    sum-logit          f( sum_{s0 <= s <= t} r_s )
    mean-probability   mean_{s0 <= s <= t} f(r_s)
    last               f( r_t )
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from bitspike.errors import check_name

# Whether the read-outs are squashed before they are summed, and whether the sum is divided by the steps in it.
RUNNING = {"mean-logit": (False, True), "sum-logit": (False, False), "mean-probability": (True, True)}
DECODERS = (*RUNNING, "last")


class Sums(NamedTuple):
    """steps: so far; total: their sum (B, O), float64; before: the sum at step s0."""

    steps: int
    total: Tensor
    before: Tensor


def squash(readout: Tensor, task: str) -> Tensor:
    """f: class probabilities (two columns for one output), or values in (0, 1) for regression."""
    if task == "regression":
        return torch.sigmoid(readout)
    if readout.shape[-1] == 1:
        return torch.cat([torch.sigmoid(-readout), torch.sigmoid(readout)], -1)
    return readout.softmax(-1)


def decode(readout: Tensor, decoder: str = "mean-logit", task: str = "classification", start: int = 0) -> Tensor:
    """Read-outs (T, B, O) to probabilities (T, B, C) or values (T, B, O) after each step; start: s0."""
    return decode_on(readout, None, decoder, task, start)[0]


def decode_on(
    readout: Tensor, state: Sums | None, decoder: str, task: str, start: int = 0
) -> tuple[Tensor, Sums | None]:
    """As `decode`, from the state that the last slice of time left; and the state after this one."""
    if decoder == "last":
        return squash(readout, task), None
    check_name("decoder", decoder, RUNNING, f"one of {', '.join(DECODERS)}")
    inside, mean = RUNNING[decoder]
    x = squash(readout, task) if inside else readout
    first, total, before = state or Sums(0, x.new_zeros(x.shape[1:], dtype=torch.float64), x.new_zeros(x.shape[1:]))
    # In float64, as torch's own sums over time are made; rounded where they are read.
    totals = torch.cat([total.unsqueeze(0), x.double()]).cumsum(0)
    sums = totals.to(x.dtype)
    end = first + len(x)
    if first < start <= end:
        before = sums[start - first]
    steps = torch.arange(first + 1, end + 1, device=x.device).view(-1, *(1,) * (x.ndim - 1))
    # Before s0, a sum over all steps so far.
    counts = (steps > start) & (start > 0)
    y = torch.where(counts, sums[1:] - before, sums[1:])
    if mean:
        y = y / torch.where(counts, steps - start, steps).to(x.dtype)
    return y if inside else squash(y, task), Sums(end, totals[-1], before)


def ensemble_outputs(members: list[Tensor], task: str) -> Tensor:
    """Average the members' probabilities (T, B, C); for regression stack mean and standard deviation (T, B, 2D)."""
    stacked = torch.stack(members)
    if task == "regression":
        spread = stacked.std(0, correction=0) if stacked.numel() else stacked[0]
        return torch.cat([stacked.mean(0), spread], -1)
    return stacked.mean(0)
