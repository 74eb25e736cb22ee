"""Two ways of doing something, tried with several seeds on the same examples: their difference and how sure it is.

    d[k, i] = a[k, i] - b[k, i]            seed k, example i; both ways share the seed and the example
    difference = mean of d

The interval is a percentile bootstrap that draws seeds and, apart from them, examples with replacement (a drawn example
is drawn for every seed), so that it covers both a training done again and other examples. With few seeds it is rough:
three can be drawn in ten ways. Source: Owen 2007, "The pigeonhole bootstrap" (arXiv 0712.1111).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from bitspike.checks import check_finite
from bitspike.draws import Key, generator
from bitspike.errors import refuse


@dataclass(frozen=True)
class Paired:
    """difference, and low to high, which hold it with probability `level`; seeds: the difference of each."""

    difference: float
    low: float
    high: float
    level: float
    seeds: tuple[float, ...]


def paired_difference(
    a: Tensor, b: Tensor, level: float = 0.95, resamples: int = 2000, keys: tuple[Key, ...] = (0, "bootstrap")
) -> Paired:
    """The mean of a - b with its interval; a, b: (seeds, examples), for instance what was answered correctly."""
    for name, x in (("a", a), ("b", b)):
        if not isinstance(x, Tensor) or x.is_complex() or x.device.type == "meta":
            refuse(f"paired {name}", type(x).__name__, "a tensor of real values (seeds, examples)")
    if a.ndim != 2 or a.shape != b.shape or not a.numel():
        refuse("paired values", (tuple(a.shape), tuple(b.shape)), "two equal shapes (seeds, examples), not empty")
    if not 0 < level < 1:
        refuse("paired level", level, "a probability between 0 and 1")
    if resamples < 1:
        refuse("paired resamples", resamples, "1 or more")
    a, b = (x.detach().cpu().double() for x in (a, b))
    for name, x in (("a", a), ("b", b)):
        check_finite(f"paired {name}", x)
    d = a - b
    seeds, examples = d.shape
    source = generator(*keys)
    means = torch.empty(resamples, dtype=torch.float64)
    for number in range(resamples):
        share = _times(seeds, source) / seeds
        means[number] = (share @ d) @ _times(examples, source) / examples
    ends = torch.tensor([(1 - level) / 2, (1 + level) / 2], dtype=torch.float64)
    low, high = means.quantile(ends).tolist()
    return Paired(float(d.mean()), low, high, level, tuple(d.mean(1).tolist()))


def _times(count: int, source: torch.Generator) -> Tensor:
    """How often each of `count` things is drawn in `count` draws with replacement."""
    drawn = torch.randint(count, (count,), generator=source)
    return torch.bincount(drawn, minlength=count).double()
