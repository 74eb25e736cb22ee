"""One step of one row of weights of probabilistic circuits, and the silent steps that it is behind.

The rules are those of `learners.circuits.plain`; a row is one filter of one unit, with a weight to each column.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba.extending import register_jitable

from bitspike.kernels.cpu.circuit_parts import (
    ALIASED,
    BASELINE_BEFORE,
    BASELINE_WITH,
    BETA,
    ETA,
    FAST,
    FILTERED_SIGNAL,
    FILTERED_UPDATE,
    IMPORTANCE,
    KAPPA,
    MORE,
    NO_BASELINE,
    SIGNAL,
    SMALL,
)

index = np.uintp


@register_jitable
def update_row(
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
def catch_up(
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
            update_row(row, w, b * rows + row, places, p, b, g, a, history[b, slot, 0], share, history[b, slot, 1], c,
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
def weigh_samples(logs: Any, level: Any, filtered: Any, step: int, c: Any, mode: int) -> None:
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
