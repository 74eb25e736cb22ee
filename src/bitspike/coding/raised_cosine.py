"""Raised-cosine filters of synapses, f (K, D): tap d weighs a spike of d + 1 steps ago.

    log      f_k(d) = 1/2 + 1/2 cos(clip(pi mu ln(d + 1) - k pi/2, -pi, pi))
    spread   f_k(d) = 1/2 + 1/2 cos(clip((x_d - x_0 - k s) mu pi / s, -pi, pi))
             x_d = ln(d + D/10),  s = (x_{D-1} - x_0) / max(K - 1, 1)

"log" is the basis of FL-SNN and VOWEL (Jang et al. 2019, 2020; after Pillow et al. 2008), narrow at the latest spikes;
"spread" covers all D taps evenly on a logarithmic axis, and with K = 1 is a slow decay.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from bitspike.errors import refuse

Family = Literal["log", "spread"]


def raised_cosines(taps: int, count: int, mu: float, family: Family = "log") -> Tensor:
    """`count` filters (K, D) of `taps` taps, float64; mu: larger is narrower."""
    if not 1 <= taps <= 64:
        refuse("filter taps", taps, "1 to 64 steps")
    if count < 1 or not mu > 0:
        refuse("filter count, mu", f"{count}, {mu}", "1 or more, and a positive number")
    d, k = torch.arange(taps, dtype=torch.float64), torch.arange(count, dtype=torch.float64)[:, None]
    if family == "log":
        angle = math.pi * mu * (d + 1).log() - k * math.pi / 2
    elif family == "spread":
        x = (d + taps / 10).log()
        apart = float(x[-1] - x[0]) / max(count - 1, 1) or 1.0
        angle = (x - x[0] - k * apart) * mu * math.pi / apart
    else:
        refuse("filter family", repr(family), "'log' or 'spread'")
    found = 0.5 + 0.5 * angle.clamp(-math.pi, math.pi).cos()
    # A filter that is 0 by the equation is 0: what is silent costs nothing.
    return torch.where(angle.abs() >= math.pi, 0.0, found)
