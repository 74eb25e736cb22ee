"""Answers that do not wait for the last time step: each example stops where the network is sure enough.

    stop(i) = the first step t with  max_c p_t(c | i) >= threshold,  else the last step T

p_t (t = 1 ... T) is the answer after step t of what is shipped, at its temperature. The threshold is the one of fewest
steps on average that, on validation, loses no more than `loss` of the accuracy of whole presentations, a standard error
included: with b of N examples right only when whole and c only when stopped, (b - c + sqrt(b + c)) / N <= loss. What
was chosen there is then measured on another split, with the energy of passes that end at each example's stop (the
comparison with the threshold is not counted); networks without spikes, which answer once, see the whole presentation.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bitspike import metrics
from bitspike.energy import Energy, estimate_energy
from bitspike.errors import refuse
from bitspike.metrics.paired import paired_difference
from bitspike.run.batches import Batches
from bitspike.run.evaluation import predictions
from bitspike.run.finished import Run
from bitspike.run.outputs import summary

THRESHOLDS = 400  # that are tried, at equal shares of what confidences there were
APART = 1.03  # mean steps of what is kept for the page: so many times those of the one before
NEVER = 2.0  # a threshold that no answer reaches


@dataclass(frozen=True)
class Answers:
    """Probabilities over time (T, N, C), float64, and the classes (N,)."""

    over_time: Tensor
    targets: Tensor

    @property
    def confidence(self) -> Tensor:
        """max_c p_t(c), (T, N)."""
        return self.over_time.amax(-1)

    def stops(self, threshold: float) -> Tensor:
        """The step from 0 that each example stops at, (N,)."""
        sure = self.confidence >= threshold
        sure[-1] = True
        return sure.int().argmax(0)

    def at(self, stops: Tensor) -> Tensor:
        """The answers (N, C) at these steps."""
        return self.over_time[stops, torch.arange(len(stops))]

    def right(self, stops: Tensor) -> Tensor:
        """Whether these are right, float64 (N,)."""
        return (self.at(stops).argmax(-1) == self.targets).double()


def choose(held: Answers, loss: float) -> float:
    """The threshold of fewest mean steps within `loss` of the accuracy of whole presentations; NEVER: none is."""
    whole = held.right(held.stops(NEVER))
    best, fewest = NEVER, float("inf")
    for threshold in _tried(held):
        stops = held.stops(threshold)
        steps = float(stops.double().mean())
        lost = whole - held.right(stops)
        # Of equal ones the surest.
        if float(lost.sum() + lost.abs().sum().sqrt()) <= loss * len(lost) and steps <= fewest:
            best, fewest = threshold, steps
    return best


def _tried(held: Answers) -> list[float]:
    # torch's quantile takes 16 million values at most.
    found = np.quantile(held.confidence.numpy(), np.linspace(0, 1, THRESHOLDS), method="nearest")
    return [*np.unique(found).tolist(), NEVER]


def evaluate_early(
    run: Run,
    part: str = "test",
    *,
    loss: float = 0.005,
    threshold: float | None = None,
    data: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Plain values, as early.json holds them, of a split; loss: of accuracy on validation, a standard
    error included. threshold: use this one instead of one that is chosen there. One above 1 was chosen
    where only whole presentations keep to the loss: an answer may be certain, and wrong."""
    _check(run)
    held = answers_of(run, run.batches(run.split("validation", data)))
    if len(held.over_time) < 2:
        refuse("--measure early", "a network that answers once", "one with an answer after each of several steps")
    batches = run.batches(run.split(part, data))
    answers = held if part == "validation" else answers_of(run, batches)
    if threshold is None:
        threshold = choose(held, loss)
    elif not 0 < threshold <= 1:
        refuse("--measure early threshold", threshold, "a probability above 0, to 1")
    stops, last = answers.stops(threshold), answers.stops(NEVER)
    bins, targets = run.recipe.evaluation.bins, answers.targets
    difference = paired_difference(answers.right(stops)[None], answers.right(last)[None])
    held_stops = held.stops(threshold)
    return {
        "split": part,
        "examples": len(targets),
        "steps": len(answers.over_time),
        "loss": loss,
        "threshold": threshold,
        "mean_steps": float(stops.double().mean()) + 1,
        "stopped_at": (torch.bincount(stops, minlength=len(answers.over_time)) / len(stops)).tolist(),
        **summary("classification", answers.at(stops), targets, bins),
        "whole": summary("classification", answers.at(last), targets, bins),
        "difference": {"mean": difference.difference, "low": difference.low, "high": difference.high},
        "chosen_on_validation": {
            "examples": len(held.targets),
            "mean_steps": float(held_stops.double().mean()) + 1,
            "accuracy": float(held.right(held_stops).mean()),
            "whole_accuracy": float(held.right(held.stops(NEVER)).mean()),
        },
        "curve": _curve(answers),
        "cost": _joules(run, batches, stops, last, progress),
    }  # fmt: skip


def _check(run: Run) -> None:
    form = run.environment["data"]["form"]
    asked = "--measure early"
    if run.form.task != "classification":
        refuse(asked, f"a run of {run.form.task}", "one of classes, whose answer says how sure it is")
    if form.get("per_step") or form.get("lengths"):
        what = "a class for each step" if form.get("per_step") else "sequences of different lengths"
        refuse(asked, f"a run of {what}", "one whose examples have one answer at a last step of all")


def answers_of(run: Run, batches: Batches) -> Answers:
    """What is shipped, after each step."""
    outputs, targets = predictions(run.learner, batches, run.draws)
    return Answers(metrics.apply_temperature(outputs, run.temperature), targets)


def _curve(answers: Answers) -> list[dict[str, float]]:
    """Accuracy over mean steps, from answers after the first step to whole presentations."""
    rows: list[dict[str, float]] = []
    for threshold in _tried(answers):
        stops = answers.stops(threshold)
        steps = float(stops.double().mean()) + 1
        if not rows or threshold == NEVER or steps >= APART * rows[-1]["mean_steps"]:
            accuracy = float(answers.right(stops).mean())
            rows.append({"threshold": threshold, "mean_steps": steps, "accuracy": accuracy})
    return rows


def _joules(
    run: Run, batches: Batches, stops: Tensor, last: Tensor, progress: Callable[[int, int], None] | None
) -> dict[str, float]:
    """Arithmetic and neurons' updates, 45 nm: "network" with early stops, "whole" without, and beside them others."""

    def told(before: int) -> Callable[[int], None]:
        return lambda done: progress(before + done, 2 * len(stops)) if progress is not None else None

    short, whole = cost_of(run, batches, stops, told(0)), cost_of(run, batches, last, told(len(stops)))
    sides = {
        "network": short.network, "whole": whole.network, "opponent": whole.opponent,
        "skipping": whole.opponent_skipping, "twin": whole.twin,
    }  # fmt: skip
    return {name: cost.joules_compute + cost.joules_neurons for name, cost in sides.items()}


def cost_of(run: Run, batches: Batches, stops: Tensor, told: Callable[[int], None] = lambda done: None) -> Energy:
    """The account of passes that end at each example's stop."""

    def passes() -> Any:
        done = 0
        for step in stops.unique().tolist():
            for rows in (stops == step).nonzero().flatten().split(run.recipe.evaluation.batch):
                yield batches.events(rows, 0)[0][: step + 1]
                done += len(rows)
                told(done)

    members, one = max(1, run.draws), min(1, run.draws)
    return estimate_energy(
        run.model, passes(), run=lambda x: run.learner.predict(x, one), time_first=True, draws=members
    )
