"""Where spikes cost less than the ordinary network of the same bits that skips zeros: results/energy-crossover.json.

    python docs/energy_crossover.py [--sets digits mnist nmnist] [--runs runs/crossover] [--out results/...]

Binary weights. Swept: time steps, the penalty on spikes in training, and how much accuracy an early answer may lose on
validation (`evaluate_early`). digits: digits-st. mnist: 784-800-512-10 (mnist-st, ten epochs), pixels as a constant
current, or as one spike each, bright ones first (latency). nmnist: the convolutional nmnist-st on recorded events,
five folds. The loss is taken at every step. Every network is also an ordinary one that answers once: the same layers,
weights and bits, zeros skipped (`energy.account`), taken to be as accurate as the whole presentation; with one step it
is a network of binary activities, and so is one that was trained on more and answers after its first ("first"). Joules
are 45 nm arithmetic and updates of neurons, counted on all the test examples that the accuracy is of.

For a bar on accuracy, the cheapest spiking and the cheapest ordinary setting at or above it are chosen by means over
seeds on validation, and compared on test: joules as a ratio (95 %, Student over seeds), accuracy paired by seed and
example. Ten minutes, two hours and an hour of one core; goes on where it was stopped, from records where runs are gone,
and keeps the sets that the file holds. Wants BITSPIKE_DATA with MNIST and N-MNIST.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import study
import torch
from torch import Tensor

from bitspike.metrics.paired import paired_difference
from bitspike.run.checkpoint import write_json
from bitspike.studies.early import NEVER, answers_of, choose, cost_of

EVERY = "learner.loss=every-step"
# Recipe, what is changed, arms (steps, changes), penalties, cases (seed, changes).
SEEDS: list[tuple[int, list[str]]] = [(seed, []) for seed in (1, 2, 3)]
FOLDS: list[tuple[int, list[str]]] = [(fold, ["data.folds=5", f"data.fold={fold}"]) for fold in range(1, 6)]
SETS: dict[str, Any] = {
    "digits": ("digits-st", [EVERY], {"direct": ((1, 2, 4, 12), [])}, (0.0, 1.0, 3.0, 10.0), SEEDS),
    "mnist": (
        "mnist-st", [EVERY, "training.epochs=10"],
        {"direct": ((1, 2, 4), []), "latency": ((4, 8), ["encoder.name=latency"])}, (0.0, 1.0, 4.0), SEEDS,
    ),
    "nmnist": (
        "nmnist-st", [EVERY, "data.validation=0.1"], {"events": ((15,), [])}, (0.0, 1.0, 4.0), FOLDS,
    ),
}  # fmt: skip
LOSSES = (0.0, 0.001, 0.002, 0.005, 0.01)
WHOLE, FIRST = "whole", "first"
MARGIN = 0.002  # two images in a thousand: as accurate
BELOW = (0.0, 0.001, 0.002, 0.005, 0.01)  # bars, below the best ordinary network
Row = dict[str, Any]


def measured(recipe: str, out: Path, changes: list[str], seed: int) -> dict[str, Any]:
    """Rows of one network, read from its record if that is of the same recipe and seed, and what made them."""

    def made() -> dict[str, Any]:
        run = study.trained(recipe, out, changes, seed)
        environment, data = study.environment_of(run), run.environment["data"]["digests"]
        return {"rows": rows_of(run), "recipe": run.recipe.resolved(), "data": data, "environment": environment}

    settings = [WHOLE, FIRST, *LOSSES]
    asked = {"recipe_hash": study.hash_of(recipe, changes, seed), "seed": seed, "settings": settings}
    return study.kept_in(study.RECORDS / "energy-crossover" / f"{out.name}.json", asked, made)


def rows_of(run: Any) -> list[Row]:
    """Settings of one network: whole and with early answers, on validation and test."""
    parts = {part: run.batches(run.split(part)) for part in ("validation", "test")}
    answers = {part: answers_of(run, batches) for part, batches in parts.items()}
    several = len(answers["test"].over_time) > 1
    rows = []
    for loss in (WHOLE, FIRST, *LOSSES) if several else (WHOLE,):
        threshold = choose(answers["validation"], loss) if isinstance(loss, float) else 0.0 if loss == FIRST else NEVER
        row: Row = {"loss": loss, "threshold": min(threshold, 1.0)}
        for part, found in answers.items():
            stops = found.stops(threshold)
            cost = cost_of(run, parts[part], stops)
            joules = {
                name: one.joules_compute + one.joules_neurons
                for name, one in (("network", cost.network), ("skipping", cost.opponent_skipping),
                                  ("opponent", cost.opponent), ("twin", cost.twin))
            }  # fmt: skip
            right = found.right(stops)
            row[part] = {
                "accuracy": float(right.mean()), "mean_steps": float(stops.double().mean()) + 1, "joules": joules,
                "wrong": (right == 0).nonzero().flatten().tolist(), "examples": len(right),
            }  # fmt: skip
        rows.append(row)
    return rows


def swept(name: str, folder: Path) -> tuple[dict[str, list[Row]], dict[str, Any]]:
    """Rows of every setting of a set, case by case, and the record of the last network."""
    recipe, same, arms, penalties, cases = SETS[name]
    found: dict[str, list[Row]] = {}
    one: dict[str, Any] = {}
    for arm, (steps, told) in arms.items():
        for count in steps:
            for penalty in penalties:
                changes = [*same, *told, f"encoder.steps={count}", f"learner.spike_penalty={penalty}"]
                for seed, more in cases:
                    out = folder / f"{name}-{arm}-{count}-{penalty}-{seed}"
                    one = measured(recipe, out, [*changes, *more], seed)
                    for row in one["rows"]:
                        found.setdefault(f"{arm}, {count} steps, penalty {penalty:g}, {row['loss']}", []).append(row)
    return found, one


def middle(rows: list[Row], part: str, *keys: str) -> float:
    """Mean over seeds."""
    values = []
    for row in rows:
        value = row[part]
        for key in keys:
            value = value[key]
        values.append(value)
    return float(np.mean(values))


def right(rows: list[Row], folds: bool) -> Tensor:
    """Whether each test example was answered correctly, (seeds, N); of folds (1, N), each having its own examples."""
    made = [torch.ones(row["test"]["examples"]) for row in rows]
    for one, row in zip(made, rows, strict=True):
        one[row["test"]["wrong"]] = 0
    return torch.cat(made)[None] if folds else torch.stack(made)


def compared(found: dict[str, list[Row]], bar: float, folds: bool) -> dict[str, Any]:
    """The cheapest of each kind at or above `bar` on validation, on test."""
    able = {name: rows for name, rows in found.items() if middle(rows, "validation", "accuracy") >= bar}
    spiking = min(able, key=lambda name: middle(able[name], "validation", "joules", "network"))
    ordinary = {name: rows for name, rows in able.items() if name.endswith((WHOLE, FIRST))}
    other = min(ordinary, key=lambda name: middle(ordinary[name], "validation", "joules", "skipping"))
    ours, theirs = found[spiking], found[other]
    joules = [np.array([row["test"]["joules"][key] for row in rows])
              for rows, key in ((ours, "network"), (theirs, "skipping"))]  # fmt: skip
    ratio = study.gain(np.log(joules[0]).tolist(), np.log(joules[1]).tolist())
    limits = {key: None if value is None else float(np.exp(value)) for key, value in ratio.items()}
    return {
        "validation_bar": bar,
        "spiking": {"setting": spiking, "accuracy": middle(ours, "test", "accuracy"),
                    "mean_steps": middle(ours, "test", "mean_steps"), "joules": float(joules[0].mean())},
        "ordinary": {"setting": other, "accuracy": middle(theirs, "test", "accuracy"),
                     "joules": float(joules[1].mean())},
        "joules_ratio": limits,
        "accuracy_difference": study.interval(paired_difference(right(ours, folds), right(theirs, folds))),
    }  # fmt: skip


def wins(row: dict[str, Any]) -> bool:
    """Cheaper beyond the interval, and at most `MARGIN` less accurate within it."""
    high = row["joules_ratio"]["high"]
    return high is not None and high < 1 and row["accuracy_difference"]["low"] >= -MARGIN


def said(table: list[dict[str, Any]]) -> str:
    """The verdict on bars, the highest first: what the first that wins says, and how many do."""
    won = [row for row in table if wins(row)]
    less = [row for row in table if row["joules_ratio"]["high"] is not None and row["joules_ratio"]["high"] < 1]
    if not won and not less:
        return "no setting is shown to cost less than the ordinary network of the same bits that skips zeros"
    begin = "" if won else "cheaper, but equal accuracy is not shown by so few examples: "
    row = (won or less)[0]  # of the highest bar, and not of the luckiest on test
    ratio, difference = row["joules_ratio"], row["accuracy_difference"]
    return begin + (
        f"{row['spiking']['setting']}: {row['spiking']['mean_steps']:.2f} steps on average, "
        f"{100 * row['spiking']['accuracy']:.2f} % for {1e9 * row['spiking']['joules']:.0f} nJ; the ordinary network "
        f"({row['ordinary']['setting']}, zeros skipped) {100 * row['ordinary']['accuracy']:.2f} % for "
        f"{1e9 * row['ordinary']['joules']:.0f} nJ: {ratio['mean']:.2f} times the joules ({ratio['low']:.2f} to "
        f"{ratio['high']:.2f}), accuracy {100 * difference['mean']:+.2f} points ({100 * difference['low']:+.2f} to "
        f"{100 * difference['high']:+.2f}); so at {len(won or less)} of {len(table)} bars on accuracy"
    )


def of_set(name: str, folder: Path) -> dict[str, Any]:
    """One set's entry."""
    found, last = swept(name, folder)
    best = max(middle(rows, "validation", "accuracy") for setting, rows in found.items() if setting.endswith(WHOLE))
    table = [compared(found, best - below, name == "nmnist") for below in BELOW]
    for row in table:
        row["wins"] = wins(row)
    settings = {
        setting: {
            part: {
                "accuracy": study.spread([row[part]["accuracy"] for row in rows]),
                "mean_steps": middle(rows, part, "mean_steps"),
                "joules": {key: middle(rows, part, "joules", key) for key in rows[0][part]["joules"]},
            }
            for part in ("validation", "test")
        }
        for setting, rows in found.items()
    }
    content = {"verdict": said(table), "table": table, "settings": settings}
    return content | {key: last[key] for key in ("recipe", "data", "environment")}


def main() -> None:
    """See the module."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS))
    options.add_argument("--runs", type=Path, default=Path("runs/crossover"))
    options.add_argument("--out", type=Path, default=Path("results/energy-crossover.json"))
    asked = options.parse_args()
    kept = json.loads(asked.out.read_text())["sets"] if asked.out.exists() else {}
    for name in asked.sets:
        kept[name] = of_set(name, asked.runs)
        print(f"{name}: {kept[name]['verdict']}", flush=True)
        write_json(asked.out, {"sets": kept, "verdict": {key: one["verdict"] for key, one in kept.items()}})


if __name__ == "__main__":
    main()
