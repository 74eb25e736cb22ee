"""BiSNN's main experiment: signed events, accuracy and calibration of real, binary and Bayesian weights.

The online local rule on two dense layers of 256 neurons (recipes mnist-dvs-full, mnist-dvs-st, mnist-dvs-bayes):
filmed MNIST with three seeds, and the 1,100 recordings of N-MNIST by five folds. Writes results/bisnn-events.json:
accuracy, NLL and ECE, before and after one temperature fitted on validation; of Bayesian weights the ensemble of ten
draws and the most probable weights.

Run: python docs/bisnn_events.py (needs BITSPIKE_DATA; two hours of one core). It may be stopped and gone on with.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch
from study import interval, right, spread, trained

from bitspike.metrics.paired import paired_difference
from bitspike.run.checkpoint import write_json

PRECISIONS = ("full", "st", "bayes")
NMNIST = ["data.set=nmnist", "data.options={}", "data.validation=0.1", "encoder.steps=15", "encoder.dt=20",
          "learner.burn_in=4", "training.epochs=40", "data.folds=5"]  # fmt: skip
SETS: dict[str, tuple[list[str], list[tuple[int, list[str]]]]] = {
    "nmnist": (NMNIST, [(0, [f"data.fold={fold}"]) for fold in range(1, 6)]),
    "mnist-dvs-sim": ([], [(seed, []) for seed in (1, 2, 3)]),
}
METRICS = ("accuracy", "nll", "ece")


def summary(runs: list[Any]) -> dict[str, Any]:
    """What the shipped answers reach, raw and scaled, and both answers of Bayesian weights."""
    found: dict[str, Any] = {name: spread([run.result["test"][name] for run in runs]) for name in METRICS}
    found |= {f"scaled_{name}": spread([run.result["test"]["scaled"][name] for run in runs]) for name in METRICS[1:]}
    found["shipped"] = [run.result["shipped"]["answer"] for run in runs]
    for answer in ("test_map", "test_ensemble"):
        if all(answer in run.result for run in runs):
            found[answer] = {name: spread([run.result[answer][name] for run in runs]) for name in METRICS}
    return found | {"recipe": runs[0].recipe.resolved()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sets", nargs="*", default=list(SETS), choices=list(SETS))
    parser.add_argument("--runs", type=Path, default=Path("runs/bisnn-events"))
    parser.add_argument("--out", type=Path, default=Path("results/bisnn-events.json"))
    asked = parser.parse_args()
    content: dict[str, Any] = {"sets": {}}
    for name in asked.sets:
        changes, cases = SETS[name]
        arms, answers = {}, {}
        for precision in PRECISIONS:
            runs = [
                trained(f"mnist-dvs-{precision}", asked.runs / f"{name}-{precision}-{number}", [*changes, *more], seed)
                for number, (seed, more) in enumerate(cases)
            ]
            arms[precision] = summary(runs)
            each = [right(run) for run in runs]
            answers[precision] = torch.cat(each)[None] if name == "nmnist" else torch.stack(each)
            print(name, precision, {key: arms[precision][key] for key in METRICS}, flush=True)
        differences = {
            f"{one} minus {other}": interval(paired_difference(answers[one], answers[other]))
            for one, other in (("bayes", "st"), ("bayes", "full"), ("st", "full"))
        }
        content["sets"][name] = {"arms": arms, "accuracy": differences}
        content["sets"][name]["data"] = runs[0].environment["data"]["digests"]
    environment = {key: value for key, value in runs[0].environment.items() if key not in ("data", "seed")}
    write_json(asked.out, content | {"environment": environment})


if __name__ == "__main__":
    main()
