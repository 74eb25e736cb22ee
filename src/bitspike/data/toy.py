"""The two synthetic sets of BiSNN: two interleaved half-circles, and a noisy curve with gaps.

    regression-1d    f(x) = x - 0.1 x^2 + cos(pi x / 2)

Source: H. Jang, N. Skatchkovsky, O. Simeone, "BiSNN: training spiking neural networks with binary weights
via Bayesian learning", arXiv 2012.08300 (2021).
"""

from __future__ import annotations

import torch
from torch import Tensor

from bitspike.data import normalise
from bitspike.data.alone import by_table
from bitspike.data.base import DataSet, drawn
from bitspike.data.sources import sha256_of_arrays
from bitspike.draws import generator, seed_of

GRID = 100
STARTS = (-1.0, 1.5, 4.0)
LEAK = "x and y are scaled with the range of the noise-free test curve, as in the paper: a small leak of test data"
OUTSIDE = "validation and test are scaled with the training range, so some values lie outside [0, 1]"


@by_table("two-moons")
def two_moons(*, seed: int, validation: int, train_size: int, test_size: int, noise: float) -> DataSet:
    """x (N, 2), min-max scaled with the training range; validation and test are fresh points."""
    from sklearn.datasets import make_moons

    raw, targets = [], []
    for part, size in (("train", train_size), ("validation", validation), ("test", test_size)):
        state = seed_of("two-moons", part, seed) % 2**32
        points, labels = make_moons(size, noise=noise, random_state=state)
        raw.append(torch.from_numpy(points))
        targets.append(torch.from_numpy(labels).long())
    normalisation = normalise.fitted(raw[0], "minmax", per_feature=True, clip=False)
    digests = {"two-moons (generated)": sha256_of_arrays(*raw, *targets)}
    xs = [normalise.apply(points, normalisation) for points in raw]
    return drawn("two-moons", xs, targets, normalisation, ("upper", "lower"), digests=digests, notes=(OUTSIDE,))


def two_moons_grid() -> Tensor:
    """The paper's grid (10000, 2) on [0, 1)^2 in scaled units, i/100 and j/100; row 100 i + j is (i, j)/100."""
    ticks = torch.arange(GRID, dtype=torch.float64) / GRID
    return torch.cartesian_prod(ticks, ticks).float()


def curve(x: Tensor) -> Tensor:
    """f(x) = x - 0.1 x^2 + cos(pi x / 2), elementwise."""
    return x - 0.1 * x**2 + torch.cos(torch.pi * x / 2)


@by_table("regression-1d")
def regression_1d(*, seed: int, noise: float) -> DataSet:
    """x (N, 1), y (N, 1): 60 noisy points on [-1,0), [1.5,2.5), [4,5), tested on 600 noise-free ones of [-1,5).

    Validation is a second noisy draw at the training points.
    """
    x = torch.cat([start + torch.arange(20, dtype=torch.float64) / 20 for start in STARTS])
    x_test = -1 + torch.arange(600, dtype=torch.float64) / 100
    xs, ys = [x, x, x_test], [curve(x), curve(x), curve(x_test)]
    for y, part in zip(ys[:2], ("train", "validation"), strict=True):
        draw = generator("regression-1d", part, seed)
        y += noise * torch.randn(len(y), generator=draw, dtype=torch.float64)
    xs, ys = [x.unsqueeze(1) for x in xs], [y.unsqueeze(1) for y in ys]
    normalisation = normalise.fitted(xs[2], "minmax", per_feature=True, clip=False)
    target = normalise.fitted(ys[2], "minmax", per_feature=True, clip=False)
    digests = {"regression-1d (generated)": sha256_of_arrays(*xs, *ys)}
    xs, ys = [normalise.apply(x, normalisation) for x in xs], [normalise.apply(y, target) for y in ys]
    return drawn("regression-1d", xs, ys, normalisation, digests=digests, target=target, notes=(LEAK,))
