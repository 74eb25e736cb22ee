"""What a finished network answers with, chosen on validation: an ensemble or MAP weights, a temperature or none.

An ensemble of draws is what Bayesian weights are learned for; but a posterior that is still wide (few examples, few
updates) answers worse than its most probable weights. On the same validation examples, and each time beyond one
standard error of the difference, the one is shipped that

    is right more often: on b examples alone, the other on c, and b - c > sqrt(b + c) (regression: is nearer)
    else has the lower NLL with its temperature (classification)
    else the ensemble
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Any

from torch import Tensor

from bitspike import metrics
from bitspike.metrics.classification import TINY
from bitspike.metrics.temperature import Temperature, choose_temperature
from bitspike.run.outputs import Noise, fit_noise, summary, with_noise

NAMES = {"ensemble": "an ensemble of {draws} draws", "map": "the most probable weights (MAP)", "single": "the network"}

EACH_STEP = "weights drawn anew at each step, passes: {draws}"


@dataclass(frozen=True)
class Shipped:
    """answer: "ensemble", "map" or "single" (no Bayesian weights); samples: what `Learner.predict` takes for it;
    temperature of classes, noise of values; why: one line; validation: what each candidate reached there."""

    answer: str
    samples: int
    temperature: float = 1.0
    noise: Noise = 0.0
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


def choose_answer(
    task: str, held: dict[str, Tensor], targets: Tensor, samples: dict[str, int], bins: int, each_step: bool = False
) -> Shipped:
    """The answer to ship, from each candidate's outputs (N, C) on validation and the targets.

    each_step: weights are drawn at each step, for the words.
    """
    found: dict[str, dict[str, Any]] = {}
    fits: dict[str, Temperature | Noise] = {}
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
    words = EACH_STEP if each_step and name == "ensemble" else NAMES[name]
    why = f"{words.format(draws=samples[name])}{why}"
    chosen = fits[name]
    if isinstance(chosen, Temperature):
        return Shipped(name, samples[name], chosen.value, 0.0, f"{why}; {chosen.why}", found)
    return Shipped(name, samples[name], 1.0, chosen, why, found)


def _better(task: str, held: dict[str, Tensor], targets: Tensor, found: dict[str, dict[str, Any]]) -> tuple[str, str]:
    """The better candidate and why."""
    if len(held) == 1:
        return next(iter(held)), ""
    if task == "classification":
        right = {name: (outputs.argmax(-1) == targets).double() for name, outputs in held.items()}
        scaled = {name: metrics.apply_temperature(held[name], found[name]["temperature"]) for name in held}
        nll = {name: -p.gather(1, targets[:, None])[:, 0].clamp_min(TINY).log() for name, p in scaled.items()}
        leads = [
            (lead_of(right["map"] - right["ensemble"]), "right more often on validation"),
            (standard_errors(nll["ensemble"] - nll["map"]), "the lower NLL on validation"),
        ]
    else:
        # Several values count the same, whatever their units.
        units = targets.double().std(0, correction=0).clamp_min(TINY)
        square = {n: ((o.chunk(2, -1)[0] - targets) / units).square().mean(-1) for n, o in held.items()}
        leads = [(standard_errors(square["ensemble"] - square["map"]), "nearer on validation")]
    for lead, what in leads:
        if abs(lead) > 1:
            other = "the ensemble" if lead > 0 else "MAP weights"
            return ("map" if lead > 0 else "ensemble"), f": {what} than {other}, beyond one standard error"
    return "ensemble", ": MAP weights are not better on validation beyond one standard error"


def standard_errors(difference: Tensor) -> float:
    """Sum of the differences of N examples in its standard errors; 0 where they do not differ."""
    error = float(difference.std()) * math.sqrt(len(difference)) if len(difference) > 1 else 0.0
    return float(difference.sum()) / error if error > 0 else 0.0


def lead_of(difference: Tensor) -> float:
    """(b - c) / sqrt(b + c) of differences +1 (b times), -1 (c times) and 0: McNemar's statistic with its sign."""
    differing = float(difference.abs().sum())
    return float(difference.sum()) / math.sqrt(differing) if differing else 0.0
