"""Circuits that are shown a stream and do not learn: time, traces and draws in one compiled call."""

from __future__ import annotations

from typing import Any

import numpy as np

from bitspike.kernels.cpu.circuit_parts import (
    FREE,
    SILENT,
    drawn_symbol,
    mark_spike,
    symbol_chances,
    trace_of,
)

u64, index = np.uint64, np.uintp


def present(
    lo: int, hi: int, starts: Any, spikes: Any, targets: Any, keys: Any, w: Any, own: Any, basis: Any, feedback: Any,
    taps: int, heard: int, bits: Any, begin: int, symbols: int, log_p: Any, potentials: Any, emitted: Any,
) -> None:  # fmt: skip
    """Streams lo..hi-1 through a network that does not learn, as `learn` has them; begin: the number of the first step.

    log_p (B, T): of clamped outputs. potentials (B, T, O C): of the outputs. bits (B, U) is carried on.
    """
    steps, outputs = targets.shape[1:]
    units, filters, columns = w.shape
    circuits = columns // symbols
    first_output, first_own = circuits - outputs, units - columns
    u, q = np.empty(columns, w.dtype), np.empty(columns, w.dtype)
    live, clock = np.empty(units, np.int64), np.zeros(2, np.int64)
    is_live = np.zeros(units, np.bool_)
    window = ~u64(0) >> u64(64 - taps)
    w1 = w.reshape(-1)
    for b in range(lo, hi):
        clock[1] = 0
        for unit in range(units):
            is_live[unit] = bits[b, unit] != 0
            if is_live[unit]:
                live[clock[1]] = unit
                clock[1] += 1
        for step in range(steps):
            for j in range(columns):
                u[j] = own[0, j]
                if j < heard:
                    u[j] += own[1, j] * trace_of(bits[b, first_own + j], feedback, 0)
            still = 0
            for place in range(clock[1]):
                unit = live[place]
                if bits[b, unit] == 0:
                    is_live[unit] = False
                    continue
                live[still] = unit
                still += 1
                for k in range(filters):
                    a = trace_of(bits[b, unit], basis, k)
                    if a != 0:
                        at = index((unit * filters + k) * columns)
                        for j in range(index(0), index(columns)):
                            u[j] += a * w1[at + j]
                bits[b, unit] = (bits[b, unit] << u64(1)) & window
            clock[1] = still
            for j in range(first_output * symbols, columns):
                potentials[b, step, j - first_output * symbols] = u[j]
            total = w.dtype.type(0)
            for i in range(circuits):
                first = i * symbols
                _, log_silence = symbol_chances(u, q, first, symbols)
                symbol = FREE if i < first_output else targets[b, step, i - first_output]
                if symbol == FREE:
                    counter = (begin + step) * circuits + i
                    symbol = drawn_symbol(q, first, symbols, counter, keys[b, 0], keys[b, 1])
                elif symbol == SILENT:
                    total += log_silence
                else:
                    total += log_silence + u[first + symbol]
                emitted[b, step, i] = symbol
            log_p[b, step] = total
            for place in range(starts[b, step], starts[b, step + 1]):
                mark_spike(b, spikes[place], bits, live, is_live, clock)
            for i in range(circuits):
                if emitted[b, step, i] >= 0:
                    mark_spike(b, first_own + i * symbols + emitted[b, step, i], bits, live, is_live, clock)
