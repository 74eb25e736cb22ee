"""The loop of the camera over pixels and frames, compiled by Numba; see `camera`."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from bitspike.kernels.cpu.compiled import compiled


def _seen(
    image: Any, rows: Any, columns: Any, down: Any, right: Any, times: Any, on: Any, off: Any, start: Any,
    settings: Any, t: Any, x: Any, y: Any, p: Any,
) -> int:  # fmt: skip
    """Signed events of one recording, pixel after pixel; how many there are, of which the first len(t) are written.

    image float64 (h, w); rows, columns int64 and down, right in [0, 1) (M,): where in it the sensor's pixel (0, 0) lies
    at each of `times` (M,) us, evenly spaced; on, off, start (H, W): thresholds, and how far each pixel is from its
    last event at times[0]; settings: dark, leak (a share of `on` in a us), refractory (us), tau (us).
    t int64, x, y int16, p uint8 (E,): what is written to.
    """
    dark, leak, refractory, tau = settings[0], settings[1], settings[2], settings[3]
    frames = len(times)
    end = times[frames - 1]
    span = times[1] - times[0]
    kept = math.exp(-span / tau) if tau > 0.0 else 0.0
    count = 0
    for r in range(on.shape[0]):
        for c in range(on.shape[1]):
            high, low, away = on[r, c], -off[r, c], start[r, c]
            drift = leak * high
            free = times[0]
            grey, light, level = -1.0, 0.0, 0.0
            for k in range(frames):
                i, j, a, b = r + rows[k], c + columns[k], down[k], right[k]
                top = image[i, j] + b * (image[i, j + 1] - image[i, j])
                bottom = image[i + 1, j] + b * (image[i + 1, j + 1] - image[i + 1, j])
                seen = top + a * (bottom - top)
                last = light
                if seen != grey:
                    grey = seen
                    light = math.log(dark + grey)
                if k == 0:
                    level = light
                    continue
                before = level
                # The lag behind what is linear between two frames, exactly.
                lag = (light - last) / span * tau
                level = light - lag + (before - last + lag) * kept
                slope = (level - before) / span + drift
                now, until = times[k - 1], times[k]
                while True:
                    if free > now:  # in reset: nothing is held against the light
                        away = 0.0
                        now = min(free, until)
                        if now == until:
                            break
                    if slope == 0.0:
                        break
                    wait = max(((high if slope > 0.0 else low) - away) / slope, 0.0)
                    if now + wait > until:
                        away += slope * (until - now)
                        break
                    now += wait
                    away = 0.0
                    free = now + refractory
                    if now < end:
                        if count < len(t):
                            t[count] = np.int64(now)
                            x[count] = np.int16(c)
                            y[count] = np.int16(r)
                            p[count] = np.uint8(1 if slope > 0.0 else 0)
                        count += 1
    return count


seen = compiled(_seen)
