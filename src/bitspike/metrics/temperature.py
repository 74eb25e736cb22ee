"""Temperature scaling (Guo et al. 2017): softmax(ln p / T), one T > 0 fitted on held-out examples.

T > 1 makes a network less sure, T < 1 surer; the predicted class never changes. The mean NLL is convex in
1/T, so it has one minimum in ln T, which a bounded scalar search finds.

Few held-out examples tell little of the mistakes to come: with none among them, the best T is 0, which makes the first
mistake of a test a certain one. `choose_temperature` therefore counts one mistake more than was seen (the rule of
succession, as Platt 1999 smooths his targets): an example whose runner-up is the right class, spread over all of them.
It keeps T = 1 where cross-validation shows no gain beyond one standard error.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from numbers import Real

import torch
from torch import Tensor

from bitspike.draws import generator
from bitspike.errors import refuse
from bitspike.metrics.classification import TINY, check_real, check_shares, checked

BOUNDS = (1 / 100, 100.0)
FOLDS = 10
FEWEST = 10


@dataclass(frozen=True)
class Temperature:
    """value: T, 1 where none is applied; why: one line; gain: what it saved under cross-validation, nats per example
    (None: not tried), with its standard error."""

    value: float
    why: str
    gain: float | None = None
    error: float | None = None


def fit_temperature(probabilities: Tensor, targets: Tensor) -> float:
    """The T in [1/100, 100] with the lowest NLL on probabilities (N, C) and targets (N,).

    Where the lowest NLL lies at a bound (every answer is right, or none), there is no such T: 1, with a warning.
    """
    logs, y = _logs(probabilities, targets)
    found = _best(logs, y, pseudo=0.0)
    if _at_bound(found):
        warnings.warn(f"fit_temperature: the best T lies beyond {found:.3g}; T = 1 is given", stacklevel=2)
        return 1.0
    return found


def choose_temperature(probabilities: Tensor, targets: Tensor) -> Temperature:
    """The T that serves new examples, from held-out probabilities (N, C) and targets (N,); see the module's text."""
    logs, y = _logs(probabilities, targets)
    if len(y) < FEWEST:
        return Temperature(1.0, f"T = 1: {len(y)} validation examples are too few to fit a temperature")
    value = _best(logs, y, pseudo=1.0)
    if _at_bound(value):
        return Temperature(1.0, f"T = 1: the best T lies beyond its bound {value:.3g}")
    saved = torch.empty(len(y), dtype=torch.float64)
    order = torch.randperm(len(y), generator=generator("temperature folds"))
    for held in order.tensor_split(min(FOLDS, len(y))):
        rest = torch.ones(len(y), dtype=torch.bool)
        rest[held] = False
        t = _best(logs[rest], y[rest], pseudo=1.0)
        t = 1.0 if _at_bound(t) else t
        saved[held] = _nll(logs[held], y[held], 1.0) - _nll(logs[held], y[held], t)
    gain, error = float(saved.mean()), float(saved.std()) / math.sqrt(len(y))
    if gain <= error:
        why = f"T = 1: {value:.2f} brought no gain under cross-validation ({gain:+.4f} ± {error:.4f} nats an example)"
        return Temperature(1.0, why, gain, error)
    why = f"T = {value:.2f}: saved {gain:.4f} ± {error:.4f} nats an example under cross-validation"
    return Temperature(value, why, gain, error)


def apply_temperature(probabilities: Tensor, temperature: float) -> Tensor:
    """softmax(ln p / T) along the last dimension; same shape and dtype as probabilities (..., C).

    Refuses what is no probabilities, such as scores before a softmax: these are divided by T themselves.
    """
    if not isinstance(temperature, Real) or not (math.isfinite(temperature) and temperature > 0):
        refuse("temperature", temperature, "a positive number")
    check_real(probabilities)
    if not probabilities.is_floating_point():
        refuse("probabilities", str(probabilities.dtype), "floating-point numbers from 0 to 1")
    check_shares(probabilities)
    logs = probabilities.double().clamp_min(_tiny(probabilities)).log()
    return (logs / temperature).softmax(-1).to(probabilities.dtype)


def _tiny(probabilities: Tensor) -> float:
    """What a probability of 0 stands for: the smallest normal number of its precision, of float32 at least."""
    return torch.finfo(torch.float64).tiny if probabilities.dtype == torch.float64 else TINY


def _logs(probabilities: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    p, y = checked(probabilities, targets)
    return p.clamp_min(_tiny(probabilities)).log(), y


def _nll(logs: Tensor, y: Tensor, t: float) -> Tensor:
    """-ln p_y of each example at temperature t."""
    return -(logs / t).log_softmax(1).gather(1, y[:, None])[:, 0]


def _best(logs: Tensor, y: Tensor, pseudo: float) -> float:
    """The T with the lowest NLL of N examples and of `pseudo` mistakes; 1 where every T is as good."""
    from scipy.optimize import minimize_scalar

    runner_up = logs.topk(2, dim=1).indices[:, 1]

    def loss(log_t: float) -> float:
        scaled = (logs / math.exp(log_t)).log_softmax(1)
        total = -scaled.gather(1, y[:, None]).mean()
        if pseudo:
            total = total - pseudo / len(y) * scaled.gather(1, runner_up[:, None]).mean()
        return float(total)

    ends = tuple(map(math.log, BOUNDS))
    found = minimize_scalar(loss, bounds=ends, method="bounded", options={"xatol": 1e-7})
    # Where the NLL is flat the search may end anywhere: keep the probabilities as they are.
    if found.fun >= loss(0.0):
        return 1.0
    # Before a bound, too: an NLL that is nearly 0 there is as flat.
    for end, bound in zip(ends, BOUNDS, strict=True):
        if loss(end) <= found.fun + 1e-9:
            return bound
    return math.exp(float(found.x))


def _at_bound(t: float) -> bool:
    return t in BOUNDS
