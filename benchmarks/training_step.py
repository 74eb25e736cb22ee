"""Seconds per training step of one BiSNN-style layer stack, as ratios to plain matrix products in this process.

Run: python benchmarks/training_step.py. The floor is what no training step can avoid: the float32 products of
its forward and backward passes. Binary draws and the time loop come on top.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch

from bitspike.learners import BackpropLearner, Optimisation, Schedule
from bitspike.learners.optimisation import OptimiserChoice
from bitspike.models import feedforward
from bitspike.neurons import LIF
from bitspike.weights import BayesianBinary, StraightThrough, quantise

STEPS, BATCH, SIZES = 4, 128, (784, 800, 512, 10)


def median_seconds(call: Callable[[], object], repeats: int = 15) -> float:
    call()
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        call()
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def floor() -> Callable[[], object]:
    """The bare products: forward, gradient of the weights, gradient of the inputs (not for the first layer)."""
    rows = [BATCH] + [STEPS * BATCH] * 2
    pairs = [(torch.rand(n, i), torch.rand(o, i)) for n, i, o in zip(rows, SIZES, SIZES[1:], strict=False)]

    def products() -> None:
        for number, (x, w) in enumerate(pairs):
            y = x @ w.T
            _ = y.T @ x
            if number:
                _ = y @ w

    return products


def training(make: Callable[[], torch.nn.Module] | None) -> Callable[[], object]:
    model = feedforward((784,), 10, ["800", "512"], LIF)
    if make is not None:
        quantise(model, make, 0)
    choice = OptimiserChoice("Adam", 1e-3)
    learner = BackpropLearner(model, Optimisation(model, choice, choice, Schedule(), 1000))
    x, y = torch.rand(BATCH, 784).expand(STEPS, BATCH, 784), torch.randint(0, 10, (BATCH,))
    return lambda: learner.fit_batch(x, y)


if __name__ == "__main__":
    base = median_seconds(floor())
    print(f"784-800-512-10, T = {STEPS}, B = {BATCH}, {torch.get_num_threads()} threads")
    print(f"products alone {base * 1e3:.1f} ms")

    rules: dict[str, Callable[[], torch.nn.Module] | None] = {
        "full": None,
        "straight-through": StraightThrough,
        "bayesian": lambda: BayesianBinary(relaxed=False, rule="straight-through"),
    }
    for name, make in rules.items():
        seconds = median_seconds(training(make))
        print(f"{name:<18} {seconds * 1e3:7.1f} ms per step   {seconds / base:5.2f} x the products")
