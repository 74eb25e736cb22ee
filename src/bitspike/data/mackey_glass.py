"""Mackey-Glass series: from the last `steps` values, the value `ahead` steps later.

    x'(t) = 0.2 x(t - tau) / (1 + x(t - tau)^10) - 0.1 x(t)

tau = 17 is mildly chaotic. Every example is a series of its own: a constant history drawn from [0.5, 1.5], then 300
steps that are not shown; integrated with the classical Runge-Kutta method, ten steps per unit of time, the delayed
value taken half-way by a mean. (M. Mackey, L. Glass, "Oscillation and chaos in physiological control systems", 1977.)
"""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from bitspike.data import normalise
from bitspike.data.base import DataSet, Split
from bitspike.data.sources import sha256_of_arrays
from bitspike.draws import generator

Count = Annotated[int, Field(ge=2)]
Steps = Annotated[int, Field(ge=1)]
Delay = Annotated[float, Field(gt=0, le=100)]

PARTS, SETTLE = 10, 300


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


def mackey_glass(
    *,
    seed: int = 0,
    validation: Count = 500,
    train_size: Count = 4000,
    test_size: Count = 1000,
    steps: Steps = 100,
    ahead: Steps = 15,
    tau: Delay = 17.0,
) -> DataSet:
    """x (N, steps, 1) and y (N, 1), both scaled with the training range of the values shown."""
    raw = {}
    for part, size in (("train", train_size), ("validation", validation), ("test", test_size)):
        history = 0.5 + torch.rand(size, generator=generator("mackey-glass", part, seed), dtype=torch.float64)
        raw[part] = series(history, SETTLE + steps + ahead, tau)[:, SETTLE:]
    shown = {part: x[:, :steps].unsqueeze(-1) for part, x in raw.items()}
    # One scale for input and target: they are values of the same signal.
    scale = normalise.fitted(shown["train"].reshape(-1, 1), "minmax", per_feature=True, clip=False)
    starts = (0, train_size, train_size + validation)
    splits = {
        part: Split(
            normalise.apply(shown[part].reshape(-1, 1), scale).view_as(shown[part]),
            normalise.apply(x[:, -1:], scale),
            start + torch.arange(len(x)),
        )
        for (part, x), start in zip(raw.items(), starts, strict=True)
    }
    return DataSet(
        name="mackey-glass",
        kind="regression",
        train=splits["train"],
        validation=splits["validation"],
        test=splits["test"],
        classes=(),
        shape=(1,),
        steps=steps,
        digests={"mackey-glass (generated)": sha256_of_arrays(*raw.values())},
        input="series",
        normalisation=scale,
        target=scale,
        notes=("every example is a series of its own; values beyond the training range lie outside [0, 1]",),
    )
