"""Mackey-Glass series: from the last `steps` values, the value `ahead` steps later.

    x'(t) = 0.2 x(t - tau) / (1 + x(t - tau)^10) - 0.1 x(t)

tau = 17 is mildly chaotic. Every example is a series of its own: a constant history drawn from [0.5, 1.5], then 300
steps that are not shown; integrated with the classical Runge-Kutta method, ten steps per unit of time, the delayed
value taken half-way by a mean. (M. Mackey, L. Glass, "Oscillation and chaos in physiological control systems", 1977.)
"""

from __future__ import annotations

import torch
from torch import Tensor

from bitspike.data import normalise
from bitspike.data.alone import by_table
from bitspike.data.base import DataSet, drawn
from bitspike.data.sources import sha256_of_arrays
from bitspike.draws import generator

PARTS, SETTLE = 10, 300
OUTSIDE = "every example is a series of its own; values beyond the training range lie outside [0, 1]"


def series(history: Tensor, steps: int, tau: float = 17.0) -> Tensor:
    """x (N, steps) at t = 1, 2, ..., from constant histories (N,), in float64."""
    h, lag = 1 / PARTS, max(1, round(tau * PARTS))
    past = history.double().expand(lag + 1, -1).clone()  # ring of the last tau, oldest at `at`
    x, shown = history.double().clone(), []

    def slope(x: Tensor, delayed: Tensor) -> Tensor:
        return 0.2 * delayed / (1 + delayed**10) - 0.1 * x

    for number in range(steps * PARTS):
        first, second = past[number % (lag + 1)], past[(number + 1) % (lag + 1)]
        middle = (first + second) / 2
        k1 = slope(x, first)
        k2 = slope(x + h / 2 * k1, middle)
        k3 = slope(x + h / 2 * k2, middle)
        k4 = slope(x + h * k3, second)
        x = x + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
        past[number % (lag + 1)] = x
        if (number + 1) % PARTS == 0:
            shown.append(x)
    return torch.stack(shown, 1)


@by_table("mackey-glass")
def mackey_glass(
    *, seed: int, validation: int, train_size: int, test_size: int, steps: int, ahead: int, tau: float
) -> DataSet:
    """x (N, steps, 1) and y (N, 1), both scaled with the training range of the values shown."""
    raw = []
    for part, size in (("train", train_size), ("validation", validation), ("test", test_size)):
        history = 0.5 + torch.rand(size, generator=generator("mackey-glass", part, seed), dtype=torch.float64)
        raw.append(series(history, SETTLE + steps + ahead, tau)[:, SETTLE:])
    # One scale for input and target: they are values of the same signal.
    scale = normalise.fitted(raw[0][:, :steps].reshape(-1, 1), "minmax", per_feature=True, clip=False)
    xs = [normalise.apply(x[:, :steps].unsqueeze(-1), scale) for x in raw]
    ys = [normalise.apply(x[:, -1:], scale) for x in raw]
    digests = {"mackey-glass (generated)": sha256_of_arrays(*raw)}
    return drawn("mackey-glass", xs, ys, scale, digests=digests, target=scale, notes=(OUTSIDE,))
