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
from bitspike.coding.decoding import DECODERS, decode
from bitspike.errors import BitspikeError
from bitspike.learners import OnlineLearner
from bitspike.run.assemble import load_data
from bitspike.run.batches import Batches
from bitspike.run.checkpoint import write_json
from bitspike.weights import redraw, use_map

RULES = ("full", "st", "bayes")


def members(run: bitspike.Run, batches: Batches, samples: int) -> tuple[list[torch.Tensor], torch.Tensor]:
    """The read-outs (T, N, 1) of every draw (samples = 0: MAP) and the targets."""
    learner = run.learner
    assert isinstance(learner, OnlineLearner)
    learner.model.eval()
    use_map(learner.model, samples == 0)
    drawn = []
    targets = torch.cat([y for _, y in batches.evaluation()])
    with torch.no_grad():
        for k in range(max(1, samples)):
            redraw(learner.model, learner.seed, "ensemble", k)
            drawn.append(torch.cat([learner.readouts(events) for events, _ in batches.evaluation()], 1).double())
    use_map(learner.model, False)
    return drawn, targets


def readings(path: Path) -> list[dict[str, Any]]:
    """Accuracy, NLL and ECE of one run under every decoder, raw and temperature-scaled."""
    run = bitspike.load(path)
    dataset = load_data(run.recipe)
    parts = [
        Batches(run.recipe, run.encoder, split, torch.device("cpu"), torch.float32)
        for split in (dataset.validation, dataset.test)
    ]
    start = run.recipe.learner.burn_in
    rows = []
    for samples, shown in ((run.draws, "ensemble"), (0, "map")) if run.learner.bayesian else ((1, "single"),):
        (held_members, held_y), (test_members, y) = (members(run, batches, samples) for batches in parts)
        for decoder in DECODERS:
            held, test = (
                torch.stack([decode(r, decoder, start=start)[-1] for r in drawn]).mean(0)
                for drawn in (held_members, test_members)
            )
            temperature = metrics.fit_temperature(held, held_y)
            raw = metrics.classification(test, y)
            scaled = metrics.classification(metrics.apply_temperature(test, temperature), y)
            row: dict[str, Any] = {"seed": run.recipe.seed, "decoder": decoder, "weights": shown}
            row["confidence"] = float(test.max(-1).values.mean())
            row |= {key: raw[key] for key in ("accuracy", "nll", "ece")}
            row |= {"temperature": temperature, "scaled_nll": scaled["nll"], "scaled_ece": scaled["ece"]}
            rows.append(row)
    return rows


def main() -> None:
    """Measure all runs and print the means over seeds."""
    content: dict[str, Any] = {}
    for rule in RULES:
        runs = sorted(path.parent for path in Path("runs").glob(f"two-moons-{rule}-seed-*/result.json"))
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
