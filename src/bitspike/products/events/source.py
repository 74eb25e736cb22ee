"""Numba source of sums over the entries of an input that are not zero (events), for LANES outputs at a time.

    y[m, i, j, n] = bias[n] + sum over taps (a, b) and events c of x[m, s i + a - pad, s j + b - pad, c] w[a, b, c, n]

    shared    weights are the same at every place (convolution). Taps outside, places inside: the weights of a tap stay
              in the first-level cache, a place's outputs in registers over its events.
    own       every place has weights of its own (local layer; a linear layer has one place and one tap). Places
              outside, examples inside: the weights of a place stay in the second-level cache, outputs in registers.

Outputs are variables, not an array: a compiler must assume that a store into an array changes the weights, and so would
store and load all sums at every event. They become vectors by "superword-level" vectorisation, see `product.compiled`.

Arrays: x (M, H, W, C); w (N / LANES, places, taps, C, LANES), places = 1 where shared; bias (places, N);
y (M, HO, WO, N); all float32, contiguous.
"""

from __future__ import annotations

TILE = 64  # examples whose events are listed at a time

HEAD = """
import numpy as np

u = np.uint32


def listed(row, wide, where, size, count, place):
    # The events of one image (H, W, C): channel and value, by place; count[place] of them. No branch: the place behind
    # the last event is written over until one comes.
    for i in range(row.shape[0]):
        for j in range(wide):
            seen = u(0)
            values, channels, sizes = row[i, j], where[place], size[place]
            for c in range(len(values)):
                channels[seen] = u(c)
                sizes[seen] = values[c]
                seen += u(values[c] != 0)
            count[place] = seen
            place += 1
"""

SHARED = """
def sums(lo, hi, x, w, bias, y, kernel, stride, pad):
    high, wide, inputs = x.shape[1], x.shape[2], x.shape[3]
    out_high, out_wide, outputs = y.shape[1], y.shape[2], y.shape[3]
    (tall, broad), (down, along), (top, left) = kernel, stride, pad
    where = np.empty((high * wide, inputs + 1), np.uint32)
    size = np.empty((high * wide, inputs + 1), np.float32)
    count = np.empty(high * wide, np.uint32)
    for m in range(lo, hi):
        listed(x[m], wide, where, size, count, 0)
        for i in range(out_high):
            for j in range(out_wide):
                total = y[m, i, j]
                for n in range(outputs):
                    total[n] = bias[0, n]
        for block in range(outputs // LANES):
            for a in range(tall):
                # The places whose tap lies within the image.
                first_i, last_i = max(0, -((a - top) // down)), min(out_high, (high - 1 + top - a) // down + 1)
                for b in range(broad):
                    first_j, last_j = max(0, -((b - left) // along)), min(out_wide, (wide - 1 + left - b) // along + 1)
                    tap = u(a * broad + b)
                    for i in range(first_i, last_i):
                        for j in range(first_j, last_j):
                            place = u((i * down + a - top) * wide + j * along + b - left)
                            events = count[place]
                            if events == 0:
                                continue
                            channels, sizes = where[place], size[place]
                            total = y[m, u(i), u(j), block * LANES : (block + 1) * LANES]
                            {load}
                            for e in range(events):
                                v = sizes[u(e)]
                                q = w[block, 0, tap, channels[u(e)]]
                                {add}
                            {store}
"""

OWN = """
def sums(lo, hi, x, w, bias, y, kernel, stride, pad):
    high, wide, inputs = x.shape[1], x.shape[2], x.shape[3]
    out_high, out_wide, outputs = y.shape[1], y.shape[2], y.shape[3]
    (tall, broad), (down, along), (top, left) = kernel, stride, pad
    area = high * wide
    most = min(TILE, hi - lo)
    where = np.empty((most * area, inputs + 1), np.uint32)
    size = np.empty((most * area, inputs + 1), np.float32)
    count = np.empty(most * area, np.uint32)
    for start in range(lo, hi, TILE):
        stop = min(start + TILE, hi)
        for m in range(start, stop):
            listed(x[m], wide, where, size, count, (m - start) * area)
        for block in range(outputs // LANES):
            for i in range(out_high):
                for j in range(out_wide):
                    own = i * out_wide + j
                    first = bias[own, block * LANES : (block + 1) * LANES]
                    for m in range(start, stop):
                        {begin}
                        for a in range(max(0, top - i * down), min(tall, high + top - i * down)):
                            for b in range(max(0, left - j * along), min(broad, wide + left - j * along)):
                                place = u((m - start) * area + (i * down + a - top) * wide + j * along + b - left)
                                tap = u(a * broad + b)
                                channels, sizes = where[place], size[place]
                                for e in range(count[place]):
                                    v = sizes[u(e)]
                                    q = w[block, own, tap, channels[u(e)]]
                                    {add}
                        total = y[m, i, j, block * LANES : (block + 1) * LANES]
                        {store}
"""

LOOPS = {"shared": SHARED, "own": OWN}


def source(kind: str, lanes: int) -> str:
    """A module with `listed` and `sums(lo, hi, x, w, bias, y, kernel, stride, pad)` for examples lo..hi - 1."""
    parts = {
        "{load}": [f"s{k} = total[{k}]" for k in range(lanes)],
        "{begin}": [f"s{k} = first[{k}]" for k in range(lanes)],
        "{add}": [f"s{k} += v * q[{k}]" for k in range(lanes)],
        "{store}": [f"total[{k}] = s{k}" for k in range(lanes)],
    }
    lines: list[str] = []
    for line in LOOPS[kind].splitlines():
        word = line.strip()
        indent = line[: len(line) - len(line.lstrip())]
        lines += [indent + each for each in parts[word]] if word in parts else [line]
    return "\n".join([HEAD, f"LANES, TILE = {lanes}, {TILE}", *lines]) + "\n"
