"""The loops of a convolution over spikes, in the plain Python that Numba compiles (`loops.compiled`).

Stride 1, no dilation, one group, kernel (R, S), padding p < R and q < S; x (B, C, H, W) of 0 and 1, int8.
With zeros around the output (R-1-p rows, S-1-q columns on each side) an input pixel (h, w) meets the S outputs of
kernel row r side by side, so a spike is one addition of S*O neighbouring values, channels last:

    scatter   y[b, h+R-1-r, w .. w+S-1, :] += w_t[c, r, :, :]
    collect   w_grad_t[c, r, :, :] += g[b, h+R-1-r, w .. w+S-1, :]

w_t and w_grad_t are (C, R, S*O), the kernel's columns in reverse. `scatter` has the order of oneDNN's float32
convolution on the processors measured (kernel positions, then channels, within groups of 16 channels, then group
after group), so that its result is the same bit for bit where torch uses that order.
"""

from __future__ import annotations

from typing import Any

import numpy as np

GROUP = 16  # channels summed together before they join the total, as in oneDNN's blocked layout


def scatter(lo: int, hi: int, x: Any, w_t: Any, sizes: Any, y: Any) -> None:
    """y (B, O, HO * WO) for examples lo..hi; x (B, C, H*W); sizes (W, O, HO, WO, rows, columns of zeros on a side)."""
    width, outputs, out_height, out_width, above, left = sizes
    channels, kernel_rows, run = w_t.shape
    pitch = (out_width + 2 * left) * outputs
    total = np.empty((out_height + 2 * above) * pitch, np.float32)
    part = np.empty_like(total)
    index = np.empty(x.shape[2] * GROUP + 1, np.int32)
    for b in range(lo, hi):
        for first in range(0, channels, GROUP):
            size = min(GROUP, channels - first)
            group = x[b, first : first + size]
            spikes = 0
            for i in range(group.shape[1]):
                for c in range(size):
                    index[spikes] = i * GROUP + c
                    spikes += group[c, i]
            sums = total if first == 0 else part
            for i in range(sums.shape[0]):
                sums[i] = 0
            for j in range(spikes):
                i, c = index[j] // GROUP, first + index[j] % GROUP
                h, w = i // width, i % width
                for r in range(kernel_rows):
                    at = (h + kernel_rows - 1 - r) * pitch + w * outputs
                    met, weight = sums[at : at + run], w_t[c, r]
                    for n in range(run):
                        met[n] += weight[n]
            if first > 0:
                for i in range(total.shape[0]):
                    total[i] += part[i]
        for h in range(out_height):
            for w in range(out_width):
                at = (h + above) * pitch + (w + left) * outputs
                for o in range(outputs):
                    y[b, o, h * out_width + w] = total[at + o]


def collect(lo: int, hi: int, x: Any, g: Any, sizes: Any, w_grad_t: Any) -> None:
    """w_grad_t (parts, C, R, S*O) of parts lo..hi; each sums its own share of the examples; g (B, O, HO*WO)."""
    width, outputs, out_height, out_width, above, left = sizes
    parts, channels, kernel_rows, run = w_grad_t.shape
    pitch = (out_width + 2 * left) * outputs
    padded = np.zeros((out_height + 2 * above) * pitch, np.float32)
    index = np.empty(x.shape[2] + 1, np.int32)
    share = (x.shape[0] + parts - 1) // parts
    for p in range(lo, hi):
        total = w_grad_t[p]
        for c in range(channels):
            for r in range(kernel_rows):
                for n in range(run):
                    total[c, r, n] = 0
        for b in range(p * share, min((p + 1) * share, x.shape[0])):
            for h in range(out_height):
                for w in range(out_width):
                    at = (h + above) * pitch + (w + left) * outputs
                    for o in range(outputs):
                        padded[at + o] = g[b, o, h * out_width + w]
            for c in range(channels):
                row = x[b, c]
                spikes = 0
                for i in range(x.shape[2]):
                    index[spikes] = (i // width) * pitch + (i % width) * outputs
                    spikes += row[i]
                for r in range(kernel_rows):
                    below = (kernel_rows - 1 - r) * pitch
                    part = total[c, r]
                    j = 0
                    while j + 4 <= spikes:
                        i0, i1 = below + index[j], below + index[j + 1]
                        i2, i3 = below + index[j + 2], below + index[j + 3]
                        g0, g1 = padded[i0 : i0 + run], padded[i1 : i1 + run]
                        g2, g3 = padded[i2 : i2 + run], padded[i3 : i3 + run]
                        for n in range(run):
                            part[n] = (((part[n] + g0[n]) + g1[n]) + g2[n]) + g3[n]
                        j += 4
                    while j < spikes:
                        i0 = below + index[j]
                        g0 = padded[i0 : i0 + run]
                        for n in range(run):
                            part[n] += g0[n]
                        j += 1
