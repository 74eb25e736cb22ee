"""Exact LIF neurons behind a synapse and a gain as one kernel, for spiking runs; see `exact_lif_loops`."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bitspike.kernels.cpu import back_end as cpu
from bitspike.kernels.cpu import threads
from bitspike.kernels.cpu.buffers import empty, rows_of
from bitspike.kernels.cpu.exact_lif import BLOCK, DIRECT, FIRST_ORDER
from bitspike.neurons.exact_lif import ExactLIF, ExactLIFState

LARGEST = 0.1  # dt / tau_rc


def takes(neuron: Any, x: Tensor) -> bool:
    """Whether the loop may run for these neurons and currents (T, B, *features)."""
    if type(neuron) is not ExactLIF or neuron.back_end not in ("auto", "cpu") or x.device.type != "cpu":
        return False
    p = neuron.constants()
    shared = all(not isinstance(v, Tensor) or v.numel() == 1 for v in p)
    wide = x.dtype in (torch.float32, torch.bfloat16) and x.numel() > 0
    return wide and shared and float(p.dt / p.tau_rc) <= LARGEST and not cpu.unavailable()


def run(
    neuron: ExactLIF,
    x: Tensor,
    state: ExactLIFState | None,
    gain: float,
    offset: float,
    synapse: tuple[int, float, float] = (DIRECT, 0.0, 0.0),
    filtered: tuple[Tensor, ...] = (),
) -> tuple[Tensor, ExactLIFState, int]:
    """Spikes (T, B, *features), the state after them, and their number, for inputs x of that shape.

    x is filtered by the synapse (kind, decay, ratio), whose state `filtered` is changed in place, then gain x + offset
    is the current. state: None is rest, else changed in place. All arrays must be contiguous in the same order of
    dimensions.
    """
    # Late: importing the loop imports Numba.
    from bitspike.kernels.cpu.exact_lif_loops import advance
    from bitspike.kernels.cpu.half import array

    p = neuron.constants()
    shape = x.shape
    rows, moving = rows_of(x)
    if state is None:
        state = ExactLIFState(torch.zeros(shape[1:]), torch.zeros(shape[1:]))
    count = math.prod(shape[1:])
    y = empty(tuple(shape), torch.float32)
    over_time = [array(rows.view(len(rows), count)), moving, y.view(shape[0], count).numpy()]
    parts = [part.view(-1).numpy() for part in (*state, *filtered)]
    nothing = np.empty(0, np.float32)
    if synapse[0] == FIRST_ORDER:
        parts.insert(2, nothing)
    parts += [nothing] * (4 - len(parts))
    numbers = np.asarray(
        [*(float(v) for v in (p.dt, p.tau_rc, p.tau_ref, p.height)), gain, offset, *synapse[1:]], dtype=np.float32
    )
    counts = np.zeros(-(-count // BLOCK), np.int64)
    given: list[Any] = [*over_time, *parts, synapse[0], numbers, counts]
    threads.run(lambda lo, hi: advance(lo, hi, *given), len(counts), math.prod(shape), lanes=1)
    return y, state, int(counts.sum())
