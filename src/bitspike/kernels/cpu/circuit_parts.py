"""What the loops of probabilistic circuits share: the places of their numbers, traces, symbols and draws.

A unit is one symbol of one source (an input or a circuit); its last spikes are the bits of one word.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba.extending import register_jitable

from bitspike.kernels.cpu.draws import words

TINY = 1e-12
LONGEST = 2**53  # steps of a stream
# How a hidden circuit is updated, and by which baseline.
FILTERED_UPDATE, FILTERED_SIGNAL, ALIASED, TRACE_ALONE = range(4)
NO_BASELINE, BASELINE_BEFORE, BASELINE_WITH = range(3)
FREE, SILENT = -2, -1  # of a target: sampled and not learned, or no symbol
ETA, KAPPA, MORE, BETA, FAST, GAMMA, PRIOR, GUARD, FIRST, SMALL = range(10)  # places in `c`
LOG_P, DIVERGENCE, SIGNAL, IMPORTANCE = range(4)  # places in `logs`


u32, u64 = np.uint32, np.uint64


def constants(
    eta: float, kappa: float, beta: float, gamma: float, prior: float, guard: float, first: float, dtype: Any
) -> Any:
    """The numbers `c` of a rule; prior: the chance of a spike; first: a factor of the very first gradient."""
    return np.array([eta, kappa, 1 - kappa, beta, 1 - beta, gamma, prior, guard, first, 1e-7], dtype)


def by_byte(filters: Any) -> Any:
    """Filters (K, D) summed over each byte of last spikes: (ceil(D / 8), 256, K)."""
    taps = filters.shape[1]
    padded = np.zeros((filters.shape[0], -(-taps // 8) * 8), filters.dtype)
    padded[:, :taps] = filters
    bits = (np.arange(256)[:, None] >> np.arange(8)) & 1
    return np.ascontiguousarray(
        np.einsum("bd,kcd->cbk", bits.astype(filters.dtype), padded.reshape(len(filters), -1, 8))
    )


def quiet_steps(kappa: float) -> int:
    """Silent steps after which kappa^n is below `TINY`."""
    return 1 if kappa <= 0 else max(1, math.ceil(math.log(TINY) / math.log(kappa)))


@register_jitable
def symbol_chances(u: Any, q: Any, first: int, symbols: int) -> Any:
    """Probabilities of a circuit's symbols into q, of potentials u from `first` on; returns q_0 and log q_0."""
    top = u.dtype.type(0)
    for s in range(symbols):
        top = max(top, u[first + s])
    nothing = np.exp(-top)
    total = nothing
    for s in range(symbols):
        q[first + s] = np.exp(u[first + s] - top)
        total += q[first + s]
    for s in range(symbols):
        q[first + s] /= total
    return nothing / total, -top - np.log(total)


@register_jitable
def drawn_symbol(q: Any, first: int, symbols: int, counter: int, key0: Any, key1: Any) -> int:
    """The symbol of a circuit, or SILENT, by number `counter` of the draws of this key."""
    x, _ = words(u32(counter), u32(counter >> 32), key0, key1)
    v, below = (x >> u32(8)) * 2.0**-24, 0.0
    for s in range(symbols):
        below += q[first + s]
        if v < below:
            return s
    return SILENT


@register_jitable
def trace_of(bits: Any, table: Any, k: int) -> Any:
    """sum_d f_k(d) s(t-1-d) of a unit whose last spikes are `bits`, the latest the lowest; see `by_byte`."""
    a = table[0, bits & u64(255), k]
    byte = 1
    bits >>= u64(8)
    while bits:
        a += table[byte, bits & u64(255), k]
        bits >>= u64(8)
        byte += 1
    return a


@register_jitable
def mark_spike(b: int, unit: int, bits: Any, live: Any, is_live: Any, clock: Any) -> None:
    """A spike of a unit, at the step that has just been."""
    bits[b, unit] |= u64(1)
    if not is_live[unit]:
        is_live[unit] = True
        live[clock[1]] = unit
        clock[1] += 1
