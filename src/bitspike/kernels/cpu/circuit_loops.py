"""Circuits that learn while they run: time, traces, draws and updates of a network in one compiled call.

A unit is one symbol of one source (an input or a circuit); a row is one filter of one unit, with a weight to each
column, a symbol of a circuit. A row's trace is a = sum_d basis[k, d] s(t-1-d). Where it is 0 the gradient is 0 and the
synapse's own recursions are all that happens, so a row is worked on in the steps in which its trace is not 0 and in the
one behind them; steps in between are replayed, in order, when it is next seen. `QUIET` such steps, after which what is
left of its eligibility is below `TINY` of what it was, end a replay: then it rests, and its averages only decay.

Held to the plain loop of `learners.circuits.plain` by tests/learners/circuits/test_loops.py.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from bitspike.kernels.cpu.circuit_parts import (
    DIVERGENCE,
    FILTERED_SIGNAL,
    FIRST,
    FREE,
    GAMMA,
    GUARD,
    IMPORTANCE,
    KAPPA,
    LOG_P,
    MORE,
    PRIOR,
    SIGNAL,
    SILENT,
    drawn_symbol,
    mark_spike,
    symbol_chances,
    trace_of,
)
from bitspike.kernels.cpu.circuit_presented import present
from bitspike.kernels.cpu.circuit_updates import catch_up, update_row, weigh_samples
from bitspike.kernels.cpu.compiled import compiled as kept
from bitspike.kernels.cpu.subnormal import flushed

u64, index = np.uint64, np.uintp


@cache
def learn_function() -> Callable[..., None]:
    """`learn`, compiled and kept on disk; subnormal numbers are 0 in it."""
    return flushed()(kept(learn))


@cache
def present_function() -> Callable[..., None]:
    """`present`, compiled and kept on disk."""
    made: Callable[..., None] = kept(present)
    return made


def learn(
    starts: Any, spikes: Any, targets: Any, keys: Any,
    w: Any, own: Any, basis: Any, feedback: Any, taps: int, heard: int, mask: Any, full: Any, live: Any, is_live: Any,
    traces: Any, own_traces: Any,
    bits: Any, pending: Any, done: Any, quiet: Any, g: Any, history: Any, filtered: Any, level: Any, clock: Any,
    c: Any, mode: int, base: int, symbols: int, limit: int, several: bool, logs: Any, emitted: Any,
) -> None:  # fmt: skip
    """Learn T steps of B streams that share weights.

    starts (B, T+1), spikes: the input units that fire at each step. targets (B, T, O): symbols of the output circuits,
    SILENT or FREE. keys (B, 2): of each stream's draws. w (U, K, J): weights, J = N C columns, those of hidden circuits
    first; own (2, J): biases and feedback weights. basis, feedback: `by_byte`, of `taps` taps; the first `heard`
    columns have feedback. full (U,): every column has this unit as a source; mask (U, J): else. live: units that do not
    rest, is_live (U,). traces: e (B, U, K, J), then n, m and d (B, U, K, hidden J), as far as the rule has them, in one
    flat array, each read in turn; own_traces: those of own. bits (B, U): the last spikes of units. pending (B, U, K):
    traces at the last step, whose update is still to come. done (U, K): the last step that a row has; quiet: silent
    ones of them, `limit` at rest. g (B, J): gradients of the last step; history (B, R, 2): signals and importances.
    filtered (B,), level (1,): see `weigh_samples`; filtered is the smoothed signal otherwise. clock (2,): steps so far,
    live units. several: streams are samples of one presentation. logs (B, T, 4), emitted (B, T, N): symbols.
    """
    streams, steps, outputs = targets.shape
    units, filters, columns = w.shape
    rows, circuits = units * filters, columns // symbols
    first_output, first_own = circuits - outputs, units - columns
    hidden = first_output * symbols
    ring = history.shape[1]
    w1, g1 = w.reshape(-1), g.reshape(-1)
    pending1, done1, quiet1 = pending.reshape(streams, rows), done.reshape(-1), quiet.reshape(-1)
    u, q = np.empty(streams * columns, w.dtype), np.empty(streams * columns, w.dtype)
    a = np.zeros((streams, filters), w.dtype)
    masked, own_trace = np.zeros(streams * columns, w.dtype), np.empty(streams * columns, w.dtype)
    own1 = own.reshape(-1)
    one, none = w.dtype.type(1), w.dtype.type(0)
    share = one / w.dtype.type(streams)
    silent_prior, spike_prior = np.log(one - c[PRIOR]), np.log(c[PRIOR] / w.dtype.type(symbols))
    window = ~u64(0) >> u64(64 - taps)
    for step in range(steps):
        t = clock[0]
        for b in range(streams):
            for j in range(columns):
                trace = trace_of(bits[b, first_own + j], feedback, 0) if j < heard else none
                own_trace[b * columns + j] = trace
                u[b * columns + j] = own[0, j] + own[1, j] * trace
        still = 0
        for place in range(clock[1]):
            unit = live[place]
            spiked = False
            for b in range(streams):
                spiked = spiked or bits[b, unit] != 0
                for k in range(filters):
                    a[b, k] = trace_of(bits[b, unit], basis, k)
            rests, all_columns = not spiked, full[unit]
            if not all_columns:
                for b in range(streams):
                    for j in range(columns):
                        masked[b * columns + j] = g[b, j] * mask[unit, j]
            for k in range(filters):
                row = unit * filters + k
                now, was = False, False
                for b in range(streams):
                    now = now or a[b, k] != 0
                    was = was or pending1[b, row] != 0
                if was or now or (quiet1[row] < limit and t - 1 - done1[row] >= limit - quiet1[row]):
                    catch_up(row, t - 1, was, w1, traces, g1 if all_columns else masked, pending1, done1,
                              quiet1, history, share, c, mode, base, hidden, columns, limit)  # fmt: skip
                if now:
                    quiet1[row] = 0
                    for b in range(streams):
                        trace, at, to = a[b, k], index(row * columns), index(b * columns)
                        pending1[b, row] = trace
                        if trace != 0:
                            for j in range(index(0), index(columns)):
                                u[to + j] += trace * w1[at + j]
                elif quiet1[row] < limit:
                    rests = False
            if rests:
                is_live[unit] = False
            else:
                live[still] = unit
                still += 1
        clock[1] = still
        for b in range(streams):
            log_p, divergence = none, none
            for i in range(circuits):
                first = b * columns + i * symbols
                silence, log_silence = symbol_chances(u, q, first, symbols)
                wanted = FREE if i < first_output else targets[b, step, i - first_output]
                symbol = wanted
                if wanted == FREE:
                    symbol = drawn_symbol(q, first, symbols, t * circuits + i, keys[b, 0], keys[b, 1])
                log = log_silence if symbol == SILENT else log_silence + u[first + symbol]
                chance = silence if symbol == SILENT else q[first + symbol]
                learned = i < first_output or wanted != FREE
                for s in range(symbols):
                    g1[first + s] = -q[first + s] if learned else none
                if symbol >= 0 and learned:
                    g1[first + symbol] += one
                if i < first_output:
                    expected = silent_prior if symbol == SILENT else spike_prior
                    divergence += np.log(c[GUARD] + chance / np.exp(expected)) if c[GUARD] > 0 else log - expected
                elif learned:
                    log_p += np.log(c[GUARD] + chance) if c[GUARD] > 0 and symbols == 1 else log
                emitted[b, step, i] = symbol
            if t == 0:
                for j in range(columns):
                    g[b, j] *= c[FIRST]
            logs[b, step, LOG_P], logs[b, step, DIVERGENCE] = log_p, divergence
            logs[b, step, SIGNAL], logs[b, step, IMPORTANCE] = log_p - c[GAMMA] * divergence, share
        if several:
            weigh_samples(logs, level, filtered, step, c, mode)
        elif mode == FILTERED_SIGNAL:
            for b in range(streams):
                filtered[b] = c[KAPPA] * filtered[b] + c[MORE] * logs[b, step, SIGNAL]
                logs[b, step, SIGNAL] = filtered[b]
        for b in range(streams):
            r, importance = logs[b, step, SIGNAL], logs[b, step, IMPORTANCE]
            history[b, t % ring, 0], history[b, t % ring, 1] = r, importance
            for j in range(columns):
                masked[b * columns + j] = own_trace[b * columns + j] * g[b, j]
            for part in range(2):
                update_row(part, own1, 2 * b + part, 2 * streams, own_traces, b, g1 if part == 0 else masked, one, r,
                        share, importance, c, mode, base, hidden, columns)  # fmt: skip
        for place in range(clock[1]):
            for b in range(streams):
                bits[b, live[place]] = (bits[b, live[place]] << u64(1)) & window
        for b in range(streams):
            for place in range(starts[b, step], starts[b, step + 1]):
                mark_spike(b, spikes[place], bits, live, is_live, clock)
            for i in range(circuits):
                if emitted[b, step, i] >= 0:
                    mark_spike(b, first_own + i * symbols + emitted[b, step, i], bits, live, is_live, clock)
        clock[0] = t + 1
    # Whatever is read between two calls, the weights are those of now.
    for place in range(clock[1]):
        unit = live[place]
        for b in range(streams):
            for j in range(columns):
                masked[b * columns + j] = g[b, j] * mask[unit, j]
        for row in range(unit * filters, (unit + 1) * filters):
            was = False
            for b in range(streams):
                was = was or pending1[b, row] != 0
            if was or quiet1[row] < limit:
                catch_up(row, clock[0] - 1, was, w1, traces, masked, pending1, done1, quiet1, history, share, c,
                          mode, base, hidden, columns, limit)  # fmt: skip
