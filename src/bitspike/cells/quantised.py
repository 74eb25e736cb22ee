"""The quantisers of a hybrid cell, and how their step sizes fall over training, by a recipe's table `model.hybrid`."""

from __future__ import annotations

from typing import Any

import torch

from bitspike.neurons import StepSchedule, TemporalQuantiser


def quantisers(
    hybrid: Any, units: int, seed: int, nonlinearity: str = "tanh"
) -> tuple[TemporalQuantiser | None, TemporalQuantiser | None]:
    """Those of the memory, for `units` with a root-mean-square of 1, and of the hidden units; none without a table."""
    if hybrid is None:
        return None, None
    memory = TemporalQuantiser(
        torch.full((units,), hybrid.memory_limit / hybrid.memory_range), keys=(seed, "memory"),
        limit=hybrid.memory_limit, mode=hybrid.mode,
    )  # fmt: skip
    spikes = TemporalQuantiser(
        hybrid.hidden_limit / hybrid.hidden_range, nonlinearity, keys=(seed, "hidden"), limit=hybrid.hidden_limit,
        mode=hybrid.mode,
    )  # fmt: skip
    return memory, spikes


def step_schedules(hybrid: Any, epochs: int) -> dict[str, StepSchedule]:
    """Module path in the network to schedule over `epochs`; none without a table."""
    if hybrid is None:
        return {}
    return {
        path: StepSchedule(hybrid.kind, start, 1.0, hybrid.hold, hybrid.per, epochs)
        for path, start in (("cell.memory", hybrid.memory_start), ("cell.spikes", hybrid.hidden_start))
    }
