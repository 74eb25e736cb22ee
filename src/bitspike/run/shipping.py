"""What a finished network answers with, chosen on validation: an ensemble or MAP weights, a temperature or none.

An ensemble of draws is what Bayesian weights are learned for; but a posterior that is still wide (few examples, few
updates) answers worse than its most probable weights. Of the two, in this order:

    the one that is right more often (regression: is nearer) on validation, beyond one standard error of the
    difference between the two on the same examples: more than sqrt(b + c) of the b + c examples where they differ
    the one with the lower NLL, as it is shipped (with its temperature, or its noise)
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Any

from torch import Tensor

from bitspike import metrics
from bitspike.metrics.temperature import Temperature, choose_temperature
from bitspike.run.outputs import fit_noise, summary, with_noise

NAMES = {"ensemble": "an ensemble of {draws} draws", "map": "the most probable weights (MAP)", "single": "the network"}


@dataclass(frozen=True)
class Shipped:
    """answer: "ensemble", "map" or "single" (no Bayesian weights); samples: what `Learner.predict` takes for it;
    temperature of classes, noise of values; why: one line; validation: what each candidate reached there."""

    answer: str
    samples: int
    temperature: float = 1.0
    noise: float = 0.0
    why: str = ""
    validation: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """For result.json."""
        found = asdict(self)
        return {**found, "draws": max(1, found.pop("samples"))}


def candidates(ship: str, bayesian: bool, draws: int) -> dict[str, int]:
    """Answers to choose from, with what `Learner.predict` takes for each."""
    if not bayesian:
        return {"single": 1}
    both = {"ensemble": draws, "map": 0}
    return both if ship == "auto" else {ship: both[ship]}


def choose(task: str, held: dict[str, Tensor], targets: Tensor, samples: dict[str, int], bins: int) -> Shipped:
    """The answer to ship, from each candidate's outputs (N, C) on validation and the targets."""
    found: dict[str, dict[str, Any]] = {}
    fits: dict[str, Temperature | float] = {}
    for name, outputs in held.items():
        if task == "classification":
            fit = choose_temperature(outputs, targets)
            shown = metrics.apply_temperature(outputs, fit.value)
            found[name] = summary(task, outputs, targets, bins)
            found[name] |= {"temperature": fit.value, "scaled_nll": summary(task, shown, targets, bins)["nll"]}
            fits[name] = fit
        else:
            noise = fit_noise(outputs, targets)
            found[name] = {**summary(task, with_noise(outputs, noise), targets, bins), "noise": noise}
            fits[name] = noise
    name, why = _better(task, held, targets, found)
    why = f"{NAMES[name].format(draws=samples[name])}{why}"
    chosen = fits[name]
    if isinstance(chosen, Temperature):
        return Shipped(name, samples[name], chosen.value, 0.0, f"{why}; {chosen.why}", found)
    return Shipped(name, samples[name], 1.0, chosen, why, found)


def _better(task: str, held: dict[str, Tensor], targets: Tensor, found: dict[str, dict[str, Any]]) -> tuple[str, str]:
    """The better candidate and why."""
    if len(held) == 1:
        return next(iter(held)), ""
    gain, what = _lead(task, held["map"], held["ensemble"], targets)
    if abs(gain) > 1:
        name = "map" if gain > 0 else "ensemble"
        return name, f": on validation {what} than the other, beyond one standard error"
    nll = "scaled_nll" if task == "classification" else "nll"
    ensemble, most_probable = found["ensemble"][nll], found["map"][nll]
    name = "map" if most_probable < ensemble else "ensemble"
    return name, f": on validation NLL {min(ensemble, most_probable):.3f}, the other {max(ensemble, most_probable):.3f}"


def _lead(task: str, a: Tensor, b: Tensor, targets: Tensor) -> tuple[float, str]:
    """By how many standard errors a is better than b on the same examples, and in what."""
    if task == "classification":
        difference = (a.argmax(-1) == targets).double() - (b.argmax(-1) == targets).double()
        return lead_of(difference), "more often right"
    values = [(outputs.chunk(2, -1)[0] - targets).double().square().mean(-1) for outputs in (b, a)]
    difference = values[0] - values[1]
    error = float(difference.std()) * math.sqrt(len(difference)) if len(difference) > 1 else 0.0
    return (float(difference.sum()) / error if error > 0 else 0.0), "nearer"


def lead_of(difference: Tensor) -> float:
    """(b - c) / sqrt(b + c) of differences +1 (b times), -1 (c times) and 0: McNemar's statistic with its sign."""
    differing = float(difference.abs().sum())
    return float(difference.sum()) / math.sqrt(differing) if differing else 0.0
