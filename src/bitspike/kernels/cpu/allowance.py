"""How many threads a call may use, by what helpers have cost before: no more than a tenth of the time.

A thread that gets no core, or loses it to another process, makes the caller wait. Let a call on k threads take w
seconds, of which the caller worked c and slept the rest, and let a share s of the work be the caller's. Alone, it would
have taken about c / s. Threads pay if

    w <= (1/k + 1/4) c / s

and else the excess is a loss (one thread does a long range in less time than two do its halves: hence not 1). For
ten times the loss, and for longer from loss to loss, half as many threads are taken; then all of them are tried again.
Counting is by the clock, and changes who works, never what comes out.
"""

from __future__ import annotations

import time

BEYOND = 0.25  # of the time alone: what threads may take beyond their share of it
RATE = 10.0  # seconds without helpers for each second lost
SHORTEST, LONGEST = 0.005, 1.0  # seconds without helpers, after one loss


class Allowance:
    """What is allowed at the moment; moments and durations in seconds."""

    def __init__(self) -> None:
        self._until, self._most, self._losses = 0.0, 1, 0
        # A clock of coarse ticks (Windows) says nothing about one call.
        self._measures = time.get_clock_info("thread_time").resolution < 1e-5

    def threads(self, wanted: int, now: float) -> int:
        """At most `wanted`."""
        return min(wanted, self._most) if now < self._until else wanted

    def learn(self, now: float, whole: float, own: float, share: float, threads: int) -> None:
        """A call on `threads` took `whole`, its caller worked `own` on this share of it."""
        if not self._measures:
            return
        alone = own / share if share > 0 else 0.0
        loss = whole - (1 / threads + BEYOND) * alone
        if loss <= 0:
            if now >= self._until:
                self._losses = 0
            return
        # Capped: a call that had to be compiled first lost seconds once.
        pause = max(min(RATE * loss, LONGEST), min(SHORTEST * 2**self._losses, 2 * LONGEST))
        self._until, self._most, self._losses = now + pause, max(threads // 2, 1), self._losses + 1
