"""Temperature scaling (Guo et al. 2017): softmax(ln p / T), one T > 0 fitted on held-out examples.

T > 1 makes a network less sure, T < 1 surer; the predicted class never changes. The mean NLL is convex in
1/T, so it has one minimum in ln T, which a bounded scalar search finds.
"""

from __future__ import annotations

import math

from torch import Tensor

from bitspike.errors import refuse
from bitspike.metrics.classification import TINY, checked, mean_nll

BOUNDS = (1 / 20, 20.0)


def fit_temperature(probabilities: Tensor, targets: Tensor) -> float:
    """The T in [1/20, 20] with the lowest NLL on probabilities (N, C) and targets (N,)."""
    from scipy.optimize import minimize_scalar

    p, y = checked(probabilities, targets)
    logs = p.clamp_min(TINY).log()

    def loss(log_t: float) -> float:
        return -(logs * math.exp(-log_t)).log_softmax(1).gather(1, y[:, None]).mean().item()

    found = minimize_scalar(loss, bounds=tuple(map(math.log, BOUNDS)), method="bounded", options={"xatol": 1e-7})
    # Where the NLL is flat (every T as good) the search may end anywhere: keep the probabilities as they are.
    return math.exp(float(found.x)) if found.fun < mean_nll(p, y) else 1.0


def apply_temperature(probabilities: Tensor, temperature: float) -> Tensor:
    """softmax(ln p / T) along the last dimension; same shape and dtype as probabilities (..., C)."""
    if not (math.isfinite(temperature) and temperature > 0):
        refuse("temperature", temperature, "a positive number")
    if not probabilities.is_floating_point():
        refuse("probabilities", str(probabilities.dtype), "floating-point numbers from 0 to 1")
    logs = probabilities.double().clamp_min(TINY).log()
    return (logs / temperature).softmax(-1).to(probabilities.dtype)
