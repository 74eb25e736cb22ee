"""From read-outs over time to probabilities (or values) after every step.

With r_s the read-out at step s, f softmax (sigmoid for one output) and s0 the first step that counts:

    mean-logit         f( mean_{s0 <= s <= t} r_s )
    sum-logit          f( sum_{s0 <= s <= t} r_s )
    mean-probability   mean_{s0 <= s <= t} f(r_s)
    last               f( r_t )
"""

from __future__ import annotations

import torch
from torch import Tensor

from bitspike.errors import refuse

DECODERS = ("mean-logit", "sum-logit", "mean-probability", "last")


def _running(x: Tensor, start: int, mean: bool) -> Tensor:
    """Running sum or mean over time from step `start`; before it, from step 0."""
    total = x.cumsum(0)
    steps = torch.arange(1, len(x) + 1, dtype=x.dtype, device=x.device)
    if 0 < start < len(x):
        total = torch.cat([total[:start], total[start:] - total[start - 1]])
        steps = torch.cat([steps[:start], steps[start:] - start])
    return total / steps.view(-1, *(1,) * (x.ndim - 1)) if mean else total


def squash(readout: Tensor, task: str) -> Tensor:
    """f: class probabilities (two columns for one output), or values in (0, 1) for regression."""
    if task == "regression":
        return torch.sigmoid(readout)
    if readout.shape[-1] == 1:
        return torch.cat([torch.sigmoid(-readout), torch.sigmoid(readout)], -1)
    return readout.softmax(-1)


def decode(readout: Tensor, decoder: str = "mean-logit", task: str = "classification", start: int = 0) -> Tensor:
    """Read-outs (T, B, O) to probabilities (T, B, C) or values (T, B, O) after each step."""
    if decoder == "mean-logit":
        return squash(_running(readout, start, mean=True), task)
    if decoder == "sum-logit":
        return squash(_running(readout, start, mean=False), task)
    if decoder == "mean-probability":
        return _running(squash(readout, task), start, mean=True)
    if decoder == "last":
        return squash(readout, task)
    refuse("decoder", repr(decoder), f"one of {', '.join(DECODERS)}")


def ensemble_outputs(members: list[Tensor], task: str) -> Tensor:
    """Average the members' probabilities (T, B, C); for regression stack mean and standard deviation (T, B, 2D)."""
    stacked = torch.stack(members)
    if task == "regression":
        spread = stacked.std(0, correction=0)
        return torch.cat([stacked.mean(0), spread], -1)
    return stacked.mean(0)
