"""How large the states of a memory get, measured on a batch: what steps and scales are set by."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor

from bitspike.layers.norm import several_processes
from bitspike.notices import notice

LEAST = 1e-6


def sizes_of(states: Tensor) -> Tensor:
    """Root mean squares (signals * order,) of states (T, B, signals, order), float64; of all processes together.

    A signal that is 0 in all of the batch says nothing: it gets the median of those that speak, 1 where none does.
    """
    found = states.double().square().sum((0, 1))
    count = found.new_tensor([states.shape[0] * states.shape[1]])
    if several_processes():
        dist.all_reduce(found)
        dist.all_reduce(count)
    sizes = (found / count).sqrt()
    silent = sizes.amax(1) <= LEAST
    if bool(silent.any()):
        usual = sizes[~silent].median(0).values if bool((~silent).any()) else torch.ones_like(sizes[0])
        sizes = torch.where(silent.unsqueeze(1), usual, sizes)
        which = ", ".join(map(str, silent.nonzero()[:, 0].tolist()[:5]))
        notice(f"memory: nothing comes in by signal {which} in the first batch; its size is taken from the others")
    return sizes.clamp_min(LEAST).flatten()
