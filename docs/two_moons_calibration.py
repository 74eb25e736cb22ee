"""Which decoder makes BiSNN's calibration claim hold on two-moons? Written to results/two-moons-calibration.json.

Needs the runs of `bitspike train two-moons-{full,st,bayes} --seeds 3`. Every decoder reads the same trained
networks on the same 2,000 test points; the temperature is fitted on the validation draw.
Run: python docs/two_moons_calibration.py
"""

from __future__ import annotations

import statistics
import sys
from pathlib import Path
from typing import Any

import torch

import bitspike
from bitspike import metrics
from bitspike.errors import BitspikeError
from bitspike.learners.decoding import DECODERS
from bitspike.run.assemble import load_data
from bitspike.run.batches import Batches
from bitspike.run.checkpoint import write_json
from bitspike.run.evaluation import predictions

RULES = ("full", "st", "bayes")


def readings(path: Path) -> list[dict[str, Any]]:
    """Accuracy, NLL and ECE of one run under every decoder, raw and temperature-scaled."""
    run = bitspike.load(path)
    dataset = load_data(run.recipe)
    parts = [
        Batches(run.recipe, run.encoder, split, torch.device("cpu"), torch.float32)
        for split in (dataset.validation, dataset.test)
    ]
    rows = []
    for decoder in DECODERS:
        run.learner.decoder = decoder  # type: ignore[attr-defined]
        for samples, shown in ((run.draws, "ensemble"), (0, "map")) if run.learner.bayesian else ((1, "single"),):
            (held, held_y), (test, y) = (predictions(run.learner, batches, samples) for batches in parts)
            temperature = metrics.fit_temperature(held[-1], held_y)
            raw = metrics.classification(test[-1], y)
            scaled = metrics.classification(metrics.apply_temperature(test[-1], temperature), y)
            row: dict[str, Any] = {"seed": run.recipe.seed, "decoder": decoder, "weights": shown}
            row["confidence"] = float(test[-1].max(-1).values.mean())
            row |= {key: raw[key] for key in ("accuracy", "nll", "ece")}
            row |= {"temperature": temperature, "scaled_nll": scaled["nll"], "scaled_ece": scaled["ece"]}
            rows.append(row)
    return rows


def main() -> None:
    """Measure all runs and print the means over seeds."""
    content: dict[str, Any] = {}
    for rule in RULES:
        runs = sorted(Path("runs").glob(f"two-moons-{rule}-seed-*"))
        if not runs:
            sys.exit(f"no runs: `bitspike train two-moons-{rule} --seeds 3` makes them")
        content[rule] = [row for path in runs for row in readings(path)]
    write_json(Path("results/two-moons-calibration.json"), content)
    columns = ("accuracy", "confidence", "nll", "ece", "temperature", "scaled_nll", "scaled_ece")
    print(f"| rule | weights | decoder | {' | '.join(columns)} |")
    print("|" + " --- |" * (3 + len(columns)))
    for rule, rows in content.items():
        for weights, decoder in dict.fromkeys((row["weights"], row["decoder"]) for row in rows):
            chosen = [row for row in rows if (row["weights"], row["decoder"]) == (weights, decoder)]
            means = [statistics.fmean(row[column] for row in chosen) for column in columns]
            print(f"| {rule} | {weights} | {decoder} | " + " | ".join(f"{m:.3f}" for m in means) + " |")


if __name__ == "__main__":
    try:
        main()
    except BitspikeError as error:
        sys.exit(str(error))
