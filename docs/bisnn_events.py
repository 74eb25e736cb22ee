"""BiSNN's main experiment: signed events, accuracy and calibration of real, binary and Bayesian weights.

The online local rule on two dense layers of 256 neurons (recipes mnist-dvs-full, mnist-dvs-st, mnist-dvs-bayes):
filmed MNIST with three seeds, and the 1,100 recordings of N-MNIST by five folds. Writes results/bisnn-events.json:
accuracy, NLL and ECE, before and after one temperature fitted on validation; of Bayesian weights the ensemble of ten
draws, the most probable weights, and one pass whose weights are drawn anew at each step, as they are while it learns.
The rate of each is climbed to on validation (accuracy, then NLL) with the first seed or fold: from a first one, by
factors of the root of ten, for as long as it gets better.

Run: python docs/bisnn_events.py (needs BITSPIKE_DATA; five hours of one core). It may be stopped and gone on with;
calls with different --sets or --precisions share the work, and a last one with all of them collects.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch
from study import Measured, drawn_by_the_step, environment_of, gain, interval, measured, spread, trained

from bitspike import metrics
from bitspike.metrics.paired import paired_difference
from bitspike.metrics.temperature import choose_temperature
from bitspike.run.checkpoint import write_json

PRECISIONS = ("full", "st", "bayes")
NMNIST = ["data.set=nmnist", "data.options={}", "data.validation=0.1", "encoder.steps=15", "encoder.dt=20",
          "learner.burn_in=4", "training.epochs=40", "data.folds=5"]  # fmt: skip
SETS: dict[str, tuple[list[str], list[tuple[int, list[str]]]]] = {
    "nmnist": (NMNIST, [(0, [f"data.fold={fold}"]) for fold in range(1, 6)]),
    "mnist-dvs-sim": ([], [(seed, []) for seed in (1, 2, 3)]),
}
METRICS = ("accuracy", "nll", "ece")
PAIRS = (("bayes", "st"), ("bayes", "full"), ("st", "full"), ("by the step", "bayes"), ("by the step", "st"))
START = {"full": 10.0, "st": 500.0, "bayes": 150.0}  # rates that the climb begins with


def rate_at(precision: str, power: int) -> float:
    """10^(power / 2) times the first rate."""
    return float(START[precision] * 10 ** (power / 2))


def learned(name: str, precision: str, number: int, power: int, folder: Path) -> Measured:
    """Case `number` of a set at 10^(power / 2) times the first rate."""
    changes, cases = SETS[name]
    recipe, (seed, more) = f"mnist-dvs-{precision}", cases[number]
    told = [*changes, *more, f"optimizer.lr={rate_at(precision, power):.3g}"]
    out = folder / f"{name}-{precision}-{number}{f'-rate{power:+d}' if power else ''}"
    return measured(trained, recipe, out, told, seed, by_the_step if precision == "bayes" else None)


def by_the_step(run: Any) -> dict[str, Any]:
    """Metrics on test of one pass under a draw of its own at each step, with a temperature of its own."""
    parts = {part: run.split(part) for part in ("validation", "test")}
    with drawn_by_the_step(run):
        found = {part: run.predict(split.x, samples=1, scaled=False).double() for part, split in parts.items()}
    temperature = choose_temperature(found["validation"], parts["validation"].y).value
    raw = metrics.classification(found["test"], parts["test"].y)
    scaled = metrics.classification(metrics.apply_temperature(found["test"], temperature), parts["test"].y)
    right = found["test"].argmax(-1) == parts["test"].y
    kept: dict[str, Any] = {name: raw[name] for name in METRICS} | {
        f"scaled_{name}": scaled[name] for name in METRICS[1:]
    }
    return kept | {"temperature": temperature, "right": right[parts["test"].index.argsort()].int().tolist()}


def climbed(name: str, precision: str, folder: Path) -> dict[int, tuple[float, float]]:
    """Accuracy and -NLL on validation by the power of the rate; none beside the best is better."""
    tried: dict[int, tuple[float, float]] = {}

    def at(power: int) -> tuple[float, float]:
        if power not in tried:
            found = learned(name, precision, 0, power, folder).validation
            tried[power] = found["accuracy"], -found["nll"]
        return tried[power]

    best = 0
    for way in (-1, 1):
        while at(best + way) > at(best):
            best += way
    return tried


def summary(runs: list[Measured]) -> dict[str, Any]:
    """What the shipped answers reach, raw and scaled, and both answers of Bayesian weights."""
    found: dict[str, Any] = {name: spread([run.result["test"][name] for run in runs]) for name in METRICS}
    found |= {f"scaled_{name}": spread([run.result["test"]["scaled"][name] for run in runs]) for name in METRICS[1:]}
    found["shipped"] = [run.result["shipped"]["answer"] for run in runs]
    for answer in ("test_map", "test_ensemble"):
        if all(answer in run.result for run in runs):
            found[answer] = {name: spread([run.result[answer][name] for run in runs]) for name in METRICS}
    if all(run.more is not None for run in runs):
        names = (*METRICS, *(f"scaled_{name}" for name in METRICS[1:]))
        found["test_one_pass_by_the_step"] = {name: spread([run.more[name] for run in runs]) for name in names}
    return found | {"recipe": runs[0].recipe}


def calibrated(arms: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Differences of NLL and ECE, raw and scaled, paired by seed or fold (Student's intervals)."""

    def values(arm: str, metric: str) -> list[float]:
        one = arms["bayes"]["test_one_pass_by_the_step"] if arm == "by the step" else arms[arm]
        found: list[float] = one[metric]["values"]
        return found

    names = ("nll", "ece", "scaled_nll", "scaled_ece")
    return {
        f"{one} minus {other}": {name: gain(values(one, name), values(other, name)) for name in names}
        for one, other in PAIRS
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sets", nargs="*", default=list(SETS), choices=list(SETS))
    parser.add_argument("--precisions", nargs="*", default=list(PRECISIONS), choices=PRECISIONS)
    parser.add_argument("--runs", type=Path, default=Path("runs/bisnn-events"))
    parser.add_argument("--out", type=Path, default=Path("results/bisnn-events.json"))
    asked = parser.parse_args()
    content: dict[str, Any] = {"sets": {}}
    for name in asked.sets:
        arms, answers = {}, {}
        for precision in asked.precisions:
            tried = climbed(name, precision, asked.runs)
            power = max(tried, key=lambda key: tried[key])
            runs = [learned(name, precision, number, power, asked.runs) for number in range(len(SETS[name][1]))]
            rates = {
                f"{START[precision] * 10 ** (key / 2):.3g}": {"accuracy": a, "nll": -b}
                for key, (a, b) in sorted(tried.items())
            }
            arms[precision] = summary(runs) | {"validation_by_rate": rates}
            each = [run.right for run in runs]
            answers[precision] = torch.cat(each)[None] if name == "nmnist" else torch.stack(each)
            if precision == "bayes":
                each = [torch.tensor(run.more["right"], dtype=torch.float64) for run in runs]
                answers["by the step"] = torch.cat(each)[None] if name == "nmnist" else torch.stack(each)
            print(name, precision, {key: arms[precision][key] for key in METRICS}, flush=True)
        if set(asked.precisions) != set(PRECISIONS):
            continue
        differences = {
            f"{one} minus {other}": interval(paired_difference(answers[one], answers[other])) for one, other in PAIRS
        }
        content["sets"][name] = {"arms": arms, "accuracy": differences, "calibration": calibrated(arms)}
        content["sets"][name]["data"] = runs[0].environment["data"]["digests"]
    if len(content["sets"]) < len(SETS):
        return
    environment = environment_of(runs[0])
    write_json(asked.out, content | {"environment": environment})


if __name__ == "__main__":
    main()
