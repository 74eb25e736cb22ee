"""Circuits that learn while they run: time, traces, draws and updates of a network in one compiled call.

A unit is one symbol of one source (an input or a circuit); a row is one filter of one unit, with a weight to each
column, a symbol of a circuit. A row's trace is a = sum_d basis[k, d] s(t-1-d). Where it is 0 the gradient is 0 and the
synapse's own recursions are all that happens, so a row is worked on in the steps in which its trace is not 0 and in the
one behind them; steps in between are replayed, in order, when it is next seen. `QUIET` such steps, after which what is
left of its eligibility is below `TINY` of what it was, end a replay: then it rests, and its averages only decay.

Held to the plain loop of `learners.circuits.plain` by tests/learners/circuits/test_loops.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numba.extending import register_jitable

from bitspike.kernels.cpu.compiled import compiled as kept
from bitspike.kernels.cpu.draws import words

TINY = 1e-12
LONGEST = 2**53  # steps of a stream
# How a hidden circuit is updated, and by which baseline.
FILTERED_UPDATE, FILTERED_SIGNAL, ALIASED, TRACE_ALONE = range(4)
NO_BASELINE, BASELINE_BEFORE, BASELINE_WITH = range(3)
FREE, SILENT = -2, -1  # of a target: sampled and not learned, or no symbol
ETA, KAPPA, MORE, BETA, FAST, GAMMA, PRIOR, GUARD, FIRST, SMALL = range(10)  # places in `c`
LOG_P, DIVERGENCE, SIGNAL, IMPORTANCE = range(4)  # places in `logs`

u32, u64, index = np.uint32, np.uint64, np.uintp


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


@cache
def learn_function() -> Callable[..., None]:
    """`learn`, compiled and kept on disk."""
    made: Callable[..., None] = kept(learn)
    return made


@cache
def present_function() -> Callable[..., None]:
    """`present`, compiled and kept on disk."""
    made: Callable[..., None] = kept(present)
    return made


@register_jitable
def _update(
    row: int, w: Any, place: int, places: int, p: Any, b: int, g: Any, a: Any, r: Any, share: Any, importance: Any,
    c: Any, mode: int, base: int, hidden: int, columns: int,
) -> None:  # fmt: skip
    """One step of one row: a g is the gradient, r the signal; share and importance: factors of hidden and clamped.

    All arrays are flat: w of rows; p of e, n, m and d, as far as the rule has them, each of `places`; g of streams.
    """
    at, after, here = index(row * columns), index(place * columns), index(b * columns)
    n = index(places * columns + place * hidden)
    m = n + index(places * hidden)
    d = n if base == NO_BASELINE else m + index(places * hidden)
    keep, more, slow, fast, small = c[KAPPA], c[MORE], c[BETA], c[FAST], c[SMALL]
    eta = c[ETA] * share
    if mode == FILTERED_UPDATE and base == BASELINE_WITH:
        for j in range(index(0), index(hidden)):
            x = keep * p[after + j] + more * (a * g[here + j])
            s = x * x
            up = slow * p[n + j] + fast * (s * r)
            down = slow * p[m + j] + fast * s
            y = keep * p[d + j] + more * ((r - up / (down + small)) * x)
            p[after + j] = x
            p[n + j] = up
            p[m + j] = down
            p[d + j] = y
            w[at + j] += eta * y
    elif mode == FILTERED_UPDATE and base == BASELINE_BEFORE:
        for j in range(index(0), index(hidden)):
            x = keep * p[after + j] + more * (a * g[here + j])
            s = x * x
            y = keep * p[d + j] + more * ((r - p[n + j] / (p[m + j] + small)) * x)
            p[after + j] = x
            p[n + j] = slow * p[n + j] + fast * (s * r)
            p[m + j] = slow * p[m + j] + fast * s
            p[d + j] = y
            w[at + j] += eta * y
    elif mode == FILTERED_UPDATE:
        for j in range(index(0), index(hidden)):
            x = keep * p[after + j] + more * (a * g[here + j])
            y = keep * p[d + j] + more * (r * x)
            p[after + j] = x
            p[d + j] = y
            w[at + j] += eta * y
    elif mode == FILTERED_SIGNAL and base == BASELINE_WITH:
        for j in range(index(0), index(hidden)):
            x = keep * p[after + j] + more * (a * g[here + j])
            s = x * x
            up = slow * p[n + j] + fast * (s * r)
            down = slow * p[m + j] + fast * s
            p[after + j] = x
            p[n + j] = up
            p[m + j] = down
            w[at + j] += eta * ((r - up / (down + small)) * x)
    elif mode == FILTERED_SIGNAL and base == BASELINE_BEFORE:
        for j in range(index(0), index(hidden)):
            x = keep * p[after + j] + more * (a * g[here + j])
            s = x * x
            w[at + j] += eta * ((r - p[n + j] / (p[m + j] + small)) * x)
            p[after + j] = x
            p[n + j] = slow * p[n + j] + fast * (s * r)
            p[m + j] = slow * p[m + j] + fast * s
    elif mode == FILTERED_SIGNAL:
        for j in range(index(0), index(hidden)):
            x = keep * p[after + j] + more * (a * g[here + j])
            p[after + j] = x
            w[at + j] += eta * (r * x)
    elif mode == ALIASED:
        for j in range(index(0), index(hidden)):
            x = keep * p[after + j] + more * (a * g[here + j])
            s = x * x
            up = slow * p[n + j] + fast * (s * r)
            down = slow * p[m + j] + fast * s
            x = keep * (x + more * (r - up / (down + small)) * x)
            p[after + j] = x
            p[n + j] = up
            p[m + j] = down
            w[at + j] += eta * x
    else:
        for j in range(index(0), index(hidden)):
            x = keep * p[after + j] + more * (a * g[here + j])
            p[after + j] = x
            w[at + j] += eta * x
    clamped = c[ETA] * importance
    for j in range(index(hidden), index(columns)):
        x = keep * p[after + j] + more * (a * g[here + j])
        p[after + j] = x
        w[at + j] += clamped * x


@register_jitable
def _catch_up(
    row: int, until: int, was: bool, w: Any, p: Any, g: Any, pending: Any, done: Any, quiet: Any, history: Any,
    share: Any, c: Any, mode: int, base: int, hidden: int, columns: int, limit: int,
) -> None:  # fmt: skip
    """Bring a row up to step `until`: its pending update, or the silent steps."""
    streams, rows = pending.shape
    ring = history.shape[1]
    nothing = w.dtype.type(0)
    first, steps = until, 1
    if not was:
        first = done[row] + 1
        steps = min(until - done[row], limit - quiet[row])
    places, slot = streams * rows, first % ring
    for _ in range(steps):
        for b in range(streams):
            a = pending[b, row] if was else nothing
            _update(row, w, b * rows + row, places, p, b, g, a, history[b, slot, 0], share, history[b, slot, 1], c,
                    mode, base, hidden, columns)  # fmt: skip
            if was:
                pending[b, row] = nothing
        slot = 0 if slot + 1 == ring else slot + 1
    quiet[row] = 0 if was else quiet[row] + steps
    left = until - first - steps + 1
    if left > 0:
        keep, slow = c[KAPPA] ** left, c[BETA] ** left
        parts = len(p) // places
        for b in range(streams):
            place = b * rows + row
            for j in range(index(place * columns), index((place + 1) * columns)):
                p[j] *= keep
            start = places * columns
            while start < places * parts:
                slowly = base != NO_BASELINE and start < places * (columns + 2 * hidden)
                for j in range(index(start + place * hidden), index(start + (place + 1) * hidden)):
                    p[j] *= slow if slowly else keep
                start += places * hidden
    done[row] = until


@register_jitable
def _symbols(u: Any, q: Any, first: int, symbols: int) -> Any:
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
def _drawn(q: Any, first: int, symbols: int, counter: int, key0: Any, key1: Any) -> int:
    """The symbol of a circuit, or SILENT, by number `counter` of the draws of this key."""
    x, _ = words(u32(counter), u32(counter >> 32), key0, key1)
    v, below = (x >> u32(8)) * 2.0**-24, 0.0
    for s in range(symbols):
        below += q[first + s]
        if v < below:
            return s
    return SILENT


@register_jitable
def _trace(bits: Any, table: Any, k: int) -> Any:
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
def _mark(b: int, unit: int, bits: Any, live: Any, is_live: Any, clock: Any) -> None:
    """A spike of a unit, at the step that has just been."""
    bits[b, unit] |= u64(1)
    if not is_live[unit]:
        is_live[unit] = True
        live[clock[1]] = unit
        clock[1] += 1


@register_jitable
def _weigh(logs: Any, level: Any, filtered: Any, step: int, c: Any, mode: int) -> None:
    """Of samples of one presentation: their importance, and the signal of all, of the bound log mean_b exp v_b.

    v_b <- kappa v_b + r_b is the log weight of a sample; filtered (B,) holds v, level (1,) the bound before.
    """
    streams = len(filtered)
    top = filtered[0]
    for b in range(streams):
        filtered[b] = c[KAPPA] * filtered[b] + logs[b, step, SIGNAL]
        top = filtered[b] if b == 0 else max(top, filtered[b])
    total = top - top
    for b in range(streams):
        logs[b, step, IMPORTANCE] = np.exp(filtered[b] - top)
        total += logs[b, step, IMPORTANCE]
    bound = top + np.log(total / streams)
    signal = c[MORE] * bound if mode == FILTERED_SIGNAL else bound - c[KAPPA] * level[0]
    level[0] = bound
    for b in range(streams):
        logs[b, step, IMPORTANCE] /= total
        logs[b, step, SIGNAL] = signal


def learn(
    starts: Any, spikes: Any, targets: Any, keys: Any,
    w: Any, own: Any, basis: Any, feedback: Any, taps: int, mask: Any, full: Any, live: Any, is_live: Any,
    traces: Any, own_traces: Any,
    bits: Any, pending: Any, done: Any, quiet: Any, g: Any, history: Any, filtered: Any, level: Any, clock: Any,
    c: Any, mode: int, base: int, symbols: int, limit: int, several: bool, logs: Any, emitted: Any,
) -> None:  # fmt: skip
    """Learn T steps of B streams that share weights.

    starts (B, T+1), spikes: the input units that fire at each step. targets (B, T, O): symbols of the output circuits,
    SILENT or FREE. keys (B, 2): of each stream's draws. w (U, K, J): weights, J = N C columns, those of hidden circuits
    first; own (2, J): biases and feedback weights. basis, feedback: `by_byte`, of `taps` taps. full (U,): every column
    has this unit as a source; mask (U, J): else. live: units that do not rest, is_live (U,). traces: e (B, U, K, J),
    then n, m and d (B, U, K, hidden J), as far as the rule has them, in one flat array, each read in turn; own_traces:
    those of own. bits (B, U): the last spikes of units. pending (B, U, K): traces at the last step, whose update is
    still to come. done (U, K): the last step that a row has; quiet: silent ones of them, `limit` at rest. g (B, J):
    gradients of the last step; history (B, R, 2): signals and importances. filtered (B,), level (1,): see `_weigh`;
    filtered is the smoothed signal otherwise. clock (2,): steps so far, live units. several: streams are samples of
    one presentation. logs (B, T, 4), emitted (B, T, N): symbols.
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
                trace = _trace(bits[b, first_own + j], feedback, 0)
                own_trace[b * columns + j] = trace
                u[b * columns + j] = own[0, j] + own[1, j] * trace
        still = 0
        for place in range(clock[1]):
            unit = live[place]
            spiked = False
            for b in range(streams):
                spiked = spiked or bits[b, unit] != 0
                for k in range(filters):
                    a[b, k] = _trace(bits[b, unit], basis, k)
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
                    _catch_up(row, t - 1, was, w1, traces, g1 if all_columns else masked, pending1, done1,
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
                silence, log_silence = _symbols(u, q, first, symbols)
                wanted = FREE if i < first_output else targets[b, step, i - first_output]
                symbol = wanted
                if wanted == FREE:
                    symbol = _drawn(q, first, symbols, t * circuits + i, keys[b, 0], keys[b, 1])
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
            _weigh(logs, level, filtered, step, c, mode)
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
                _update(part, own1, 2 * b + part, 2 * streams, own_traces, b, g1 if part == 0 else masked, one, r,
                        share, importance, c, mode, base, hidden, columns)  # fmt: skip
        for place in range(clock[1]):
            for b in range(streams):
                bits[b, live[place]] = (bits[b, live[place]] << u64(1)) & window
        for b in range(streams):
            for place in range(starts[b, step], starts[b, step + 1]):
                _mark(b, spikes[place], bits, live, is_live, clock)
            for i in range(circuits):
                if emitted[b, step, i] >= 0:
                    _mark(b, first_own + i * symbols + emitted[b, step, i], bits, live, is_live, clock)
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
                _catch_up(row, clock[0] - 1, was, w1, traces, masked, pending1, done1, quiet1, history, share, c,
                          mode, base, hidden, columns, limit)  # fmt: skip


def present(
    lo: int, hi: int, starts: Any, spikes: Any, targets: Any, keys: Any, w: Any, own: Any, basis: Any, feedback: Any,
    taps: int, bits: Any, begin: int, symbols: int, log_p: Any, chances: Any, emitted: Any,
) -> None:  # fmt: skip
    """Streams lo..hi-1 through a network that does not learn, as `learn` has them; begin: the number of the first step.

    log_p (B, T): of clamped outputs. chances (B, T, O): that an output emits a symbol. bits (B, U) is carried on.
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
                u[j] = own[0, j] + own[1, j] * _trace(bits[b, first_own + j], feedback, 0)
            still = 0
            for place in range(clock[1]):
                unit = live[place]
                if bits[b, unit] == 0:
                    is_live[unit] = False
                    continue
                live[still] = unit
                still += 1
                for k in range(filters):
                    a = _trace(bits[b, unit], basis, k)
                    if a != 0:
                        at = index((unit * filters + k) * columns)
                        for j in range(index(0), index(columns)):
                            u[j] += a * w1[at + j]
                bits[b, unit] = (bits[b, unit] << u64(1)) & window
            clock[1] = still
            total = w.dtype.type(0)
            for i in range(circuits):
                first = i * symbols
                silence, log_silence = _symbols(u, q, first, symbols)
                symbol = FREE if i < first_output else targets[b, step, i - first_output]
                if symbol == FREE:
                    counter = (begin + step) * circuits + i
                    symbol = _drawn(q, first, symbols, counter, keys[b, 0], keys[b, 1])
                elif symbol == SILENT:
                    total += log_silence
                else:
                    total += log_silence + u[first + symbol]
                if i >= first_output:
                    chances[b, step, i - first_output] = w.dtype.type(1) - silence
                emitted[b, step, i] = symbol
            log_p[b, step] = total
            for place in range(starts[b, step], starts[b, step + 1]):
                _mark(b, spikes[place], bits, live, is_live, clock)
            for i in range(circuits):
                if emitted[b, step, i] >= 0:
                    _mark(b, first_own + i * symbols + emitted[b, step, i], bits, live, is_live, clock)
