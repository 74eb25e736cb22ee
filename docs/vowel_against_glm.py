"""Winner-take-all circuits against Bernoulli neurons on signed events: results/vowel-against-glm.json.

The same filmed digits (mnist-dvs-sim, 2,000 recordings to learn from, 2,000 to test on), steps, passes, topology and
number of hidden circuits: VOWEL's circuits of two symbols, and Bernoulli neurons learned by their own rule with merged
input, and with one input for each sign. Digits move to one side for a second, so that signs tell something: logistic
regression on root counts of pixels has 92.6 % with signs and 89.1 % without (on a whole circle 85.4 and 84.9 %).

The rate of each, at each size, is climbed to on validation with one seed and one pass, from 0.0005 to lower or to
higher ones for as long as it gets better; then three seeds learn for three passes. The opponent is the better GLM on
validation. Differences are paired by seed and recording, with bootstrap intervals over both. Beside them, each arm
without any hidden circuit.

Run: python docs/vowel_against_glm.py (needs BITSPIKE_DATA with MNIST; about half an hour of one core for 16 circuits,
an hour for 64, four for 256). It may be stopped and started again; calls with different --circuits or --seeds share
the work, and a last one with all of them collects.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch
from study import Measured, environment_of, interval, measured, spread, trained

from bitspike.metrics.paired import paired_difference
from bitspike.run.checkpoint import write_json

SAME = [
    "data.options.path=line", "data.options.period=2000", "data.options.duration=1000", "encoder.steps=40",
    "model.topology=no-return", "training.checkpoint_seconds=120", "evaluation.energy_examples=20",
]  # fmt: skip
ARMS: dict[str, tuple[str, list[str]]] = {
    "vowel": ("mnist-dvs-vowel", []),
    "glm, signed": ("mnist-dvs-glm", []),
    "glm, unsigned": ("mnist-dvs-glm", ["encoder.rule=or", "encoder.polarity=merge"]),
}
RATES = ("0.00002", "0.00005", "0.0001", "0.0002", "0.0005", "0.001", "0.002", "0.005", "0.01")
FIRST = 4  # 0.0005, that the climb begins with


def size_of(run: Any) -> dict[str, int]:
    """Circuits, inputs and parameters."""
    model = run.model
    weights = int(model.mask.sum()) * model.symbols * model.weight.shape[1]
    return {"circuits": model.circuits, "inputs": model.inputs, "parameters": weights + model.own.numel()}


def arm(name: str, circuits: int, seeds: list[int], folder: Path) -> dict[str, Any]:
    """Choose the rate, then train all seeds."""
    recipe, changes = ARMS[name]
    changes = [*SAME, *changes, f"model.hidden={circuits}"]
    stem = f"{name.replace(', ', '-')}-{circuits}"

    def after_a_pass(rate: str) -> float:
        told = [*changes, f"learner.rate={rate}", "training.epochs=1", "data.options.test_size=100"]
        return measured(trained, recipe, folder / f"{stem}-try-{rate}", told).validation["accuracy"]

    tried: dict[str, float] = {}

    def at(number: int) -> float:
        if not 0 <= number < len(RATES):
            raise SystemExit(f"vowel_against_glm: {stem} is best at the end of the rates")
        rate = RATES[number]
        if rate not in tried:
            tried[rate] = after_a_pass(rate)
        return tried[rate]

    best = FIRST
    for way in (-1, 1):
        while at(best + way) > at(best):
            best += way
    rate = RATES[best]
    told = [*changes, f"learner.rate={rate}"]
    runs: list[Measured] = [
        measured(trained, recipe, folder / f"{stem}-{rate}-seed-{seed}", told, seed, size_of) for seed in seeds
    ]
    return {
        "right": torch.stack([run.right for run in runs]),
        "validation": float(np.mean([run.validation["accuracy"] for run in runs])),
        "stored": {
            "accuracy": spread([run.result["test"]["accuracy"] for run in runs]),
            "nll": spread([run.result["test"]["nll"] for run in runs]),
            "ece": spread([run.result["test"]["ece"] for run in runs]),
            "validation_accuracy": [run.validation["accuracy"] for run in runs],
            "rates_tried": tried,
            "rate": float(rate),
            **runs[0].more,
            "seconds": [run.result["seconds"] for run in runs],
            "recipe": runs[0].recipe,
        },
        "run": runs[0],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--circuits", nargs="*", type=int, default=[16, 64, 256])
    parser.add_argument("--seeds", nargs="*", type=int, default=[1, 2, 3])
    parser.add_argument("--arms", nargs="*", default=list(ARMS), choices=list(ARMS))
    parser.add_argument("--runs", type=Path, default=Path("runs/vowel-against-glm"))
    parser.add_argument("--out", type=Path, default=Path("results/vowel-against-glm.json"))
    asked = parser.parse_args()
    if len(asked.seeds) < 2 or len(asked.arms) < len(ARMS):
        for circuits in asked.circuits:
            for name in asked.arms:
                print(name, circuits, arm(name, circuits, asked.seeds, asked.runs)["stored"]["accuracy"], flush=True)
        return
    content: dict[str, Any] = {"circuits": {}}
    for circuits in asked.circuits:
        found = {name: arm(name, circuits, asked.seeds, asked.runs) for name in ARMS}
        opponent = max((name for name in found if name != "vowel"), key=lambda name: found[name]["validation"])
        minus = {
            name: interval(paired_difference(found["vowel"]["right"], found[name]["right"]))
            for name in found
            if name != "vowel"
        }
        content["circuits"][str(circuits)] = {
            "vowel": found["vowel"]["stored"]["accuracy"]["mean"],
            "glm": found[opponent]["stored"]["accuracy"]["mean"],
            "opponent": opponent,
            "difference": minus[opponent],
            "minus": minus,
            "arms": {name: one["stored"] for name, one in found.items()},
        }
        print(circuits, opponent, content["circuits"][str(circuits)]["difference"], flush=True)
        content["without_hidden"] = {name: arm(name, 0, asked.seeds, asked.runs)["stored"] for name in ARMS}
        run = found["vowel"]["run"]
        environment = environment_of(run)
        content |= {"seeds": asked.seeds, "data": run.environment["data"]["digests"], "environment": environment}
        write_json(asked.out, content)


if __name__ == "__main__":
    main()
