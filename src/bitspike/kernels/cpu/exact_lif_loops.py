"""Synapse, gain and exact LIF neurons in one pass over memory, in float32, counting spikes; for spiking runs.

What `layers.synapse` and `exact_lif` say, with series in the place of expm1 and log1p: within a step of dt,

    m = delta / tau_rc               is at most dt / tau_rc, and 1 - exp(-m) = m - m^2/2! + m^3/3! - ...
    w = (V - 1) / (J - 1)            at a spike at most 1 - exp(-dt / tau_rc), and -log1p(-w) = w + w^2/2 + w^3/3 + ...

to 1e-8 where dt / tau_rc is at most `LARGEST`. Held to the steps, computed in float64, by
tests/neurons/test_exact_lif_fused.py.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from bitspike.kernels.cpu.compiled import joined
from bitspike.kernels.cpu.exact_lif import ALPHA, BLOCK, FIRST_ORDER
from bitspike.kernels.cpu.half import value

f, index = np.float32, np.uintp


@joined
def advance(
    lo: int, hi: int, x: Any, moving: int, y: Any, V: Any, refr: Any, r: Any, s: Any, kind: int, c: Any, counts: Any
) -> None:  # fmt: skip
    """Blocks lo..hi-1 of neurons over all steps of y (T, M); x (T, M), or (1, M) with moving = 0.

    counts: spikes of each block. c: dt, tau_rc, tau_ref, height, gain, offset, decay and ratio of the synapse.
    """
    dt, tau_rc, tau_ref, height, gain, offset, decay, ratio = c[0], c[1], c[2], c[3], c[4], c[5], c[6], c[7]
    per_tau, one, zero = f(1.0) / tau_rc, f(1.0), f(0.0)
    second, third, fourth, fifth = f(1 / 2), f(1 / 3), f(1 / 4), f(1 / 5)
    sixth, seventh = f(1 / 6), f(1 / 7)
    current = np.empty(BLOCK, np.float32)
    for block in range(lo, hi):
        base = index(block * BLOCK)
        size = index(min(BLOCK, len(V) - block * BLOCK))
        for t in range(len(y)):
            row, out = x[t * moving], y[t]
            if kind == ALPHA:
                for i in range(index(0), size):
                    v = value(row, base + i)
                    behind = r[base + i] - v
                    passed = v + decay * ((s[base + i] - v) + ratio * behind)
                    r[base + i] = v + decay * behind
                    s[base + i] = passed
                    current[i] = passed * gain + offset
            elif kind == FIRST_ORDER:
                for i in range(index(0), size):
                    v = value(row, base + i)
                    passed = v + decay * (s[base + i] - v)
                    s[base + i] = passed
                    current[i] = passed * gain + offset
            else:
                for i in range(index(0), size):
                    current[i] = value(row, base + i) * gain + offset
            spikes = np.int32(0)
            for i in range(index(0), size):
                J, left, u = current[i], refr[base + i], V[base + i]
                delta = dt - left
                delta = zero if delta < zero else delta
                delta = dt if delta > dt else delta
                m = delta * per_tau
                u = u + (J - u) * (m * (one - m * second * (one - m * third * (one - m * fourth * (one - m * fifth)))))
                u = zero if u < zero else u
                w = (u - one) / (J - one)
                log = w * (
                    one
                    + w * (second + w * (third + w * (fourth + w * (fifth + w * (sixth + w * seventh)))))
                )  # fmt: skip
                fires = u > one
                refr[base + i] = tau_ref - tau_rc * log if fires else left - dt
                V[base + i] = zero if fires else u
                out[base + i] = height if fires else zero
                spikes += np.int32(1) if fires else np.int32(0)
            counts[block] += spikes
