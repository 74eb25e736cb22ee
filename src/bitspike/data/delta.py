"""Readings of sensors as signed events, by send-on-delta.

A channel sends an event each time its value has moved by `delta` from the level of its last event (the first reading at
the start): ON (1) upwards, OFF (0) downwards, at the time at which the line between two readings crosses the level. A
move of n levels within one step is n events.

Source: M. Miskowicz, "Send-on-delta concept: an event-based data reporting strategy", Sensors 6:49 (2006).
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from bitspike.data.base import Events
from bitspike.errors import refuse


def send_on_delta(x: Tensor, lengths: Tensor, delta: float, step: float) -> Events:
    """Readings x (N, T, F), each of `lengths` (N,) steps of `step` microseconds, as `Events` on a sensor (2, 1, F)."""
    if not 0 < delta < float("inf"):
        refuse("send-on-delta delta", delta, "a positive number")
    if not 0 < step < float("inf"):
        refuse("send-on-delta step", step, "a positive number of microseconds")
    values = x.double().numpy()
    count, steps, channels = values.shape
    level = values[:, 0].copy()
    found = []
    for k in range(1, steps):
        moved = np.trunc((values[:, k] - level) / delta)
        moved[lengths.numpy() <= k] = 0
        who, channel = np.nonzero(moved)
        if not len(who):
            continue
        n = moved[who, channel]
        times = np.abs(n).astype(np.int64)
        which = np.repeat(np.arange(len(who)), times)
        # 1, 2, ... levels of each channel that moved.
        crossed = np.arange(len(which)) - np.repeat(np.cumsum(times) - times, times) + 1
        before, now = values[who, k - 1], values[who, k]
        reached = level[who, channel][which] + np.sign(n)[which] * crossed * delta
        start, end = (v[np.arange(len(who)), channel][which] for v in (before, now))
        share = np.clip((reached - start) / (end - start), 0, 1)
        t = ((k - 1 + share) * step).astype(np.int64)
        found.append(np.stack([who[which], t, channel[which], (n > 0)[which].astype(np.int64)]))
        level[who, channel] += n * delta
    who, t, channel, p = np.concatenate(found, 1) if found else np.zeros((4, 0), np.int64)
    order = np.lexsort((channel, t, who))
    offsets = np.concatenate([[0], np.cumsum(np.bincount(who, minlength=count))])
    return Events(
        t=torch.from_numpy(t[order]),
        x=torch.from_numpy(channel[order].astype(np.int16)),
        y=torch.zeros(len(order), dtype=torch.int16),
        p=torch.from_numpy(p[order].astype(np.uint8)),
        offsets=torch.from_numpy(offsets.astype(np.int64)),
        shape=(2, 1, channels),
    )
