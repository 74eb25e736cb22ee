"""LSTM and GRU against the LMUs on permuted sequential MNIST, tuned alike: results/psmnist-opponents.json.

All see images shifted by up to one pixel, learn by Adam with a one-cycle rate and batches of 100, and are validated on
10,000 images. LSTM (157 units) and GRU (181) have the LMU's number of trained weights within half a percent; the hybrid
(122,074) and the parallel network (166,090) are those of the recipes. Shares of the work, and core-hours as updates
and evaluations were timed on one core of an AVX2 processor with the other one busy:

    tune-lstm, tune-gru   rate x start (a forget bias of 1, or chrono gates of 784 steps) for one epoch, the best two
                          with two bounds on the gradient for two: ten trainings each, by NLL on validation   2.8, 2.5
    lstm, gru             the best again for each of --stages, as long as twice the epochs gain half a point   3.9, 3.4
    bits                  three settings each of the hybrid and the parallel network, coarser than the recipes' 2.6
    seeds                 LMU with two seeds, the chosen hybrid and parallel network with a second one          1.7
    unshifted             LMU and the two chosen ones on images that are not shifted                            1.3
    small-hybrid          the hybrid of the LMU paper's sizes (212 units, order 256) without own_leak, at the
                          recipe's levels and at fewer                                                          1.4

Of `bits` the best on validation is chosen among those whose activities, read by fan-out, take 3.74 bits and 1.26
significant ones at most. The LMU takes 0.4 hours, a final training of an opponent (20 epochs) nine times as much. For
the settings of the LMUs docs/findings.md tells of six trainings of up to seven epochs besides those that were kept. An
epoch is 500 updates. The curve of validation over epochs is kept of every training.

Run: python docs/psmnist_opponents.py --parts PART ... (needs BITSPIKE_DATA with MNIST). It may be stopped and gone on
with, from records where runs are gone. Processes with different parts may run side by side, but `lstm` wants
`tune-lstm`, `gru` wants `tune-gru`, and `seeds` and `unshifted` want `bits`: they make what is missing. Each call
collects what is recorded by then; without --parts nothing is trained. --results also writes results/psmnist-*.json.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from study import RECORDS, Measured, environment_of, interval, measured, recorded, spread, trained

from bitspike.errors import BitspikeError
from bitspike.metrics.paired import paired_difference
from bitspike.run.checkpoint import write_json
from bitspike.run.results import HARDWARE, OF_DATA, combined, deviation, in_short

SAME = ["training.checkpoint_seconds=60", "evaluation.batch=100"]
KINDS = {"lstm": 157, "gru": 181}
OPPONENT = ["data.shift=1", "schedule.kind=one-cycle", "schedule.end=0.001"]
RATES = ("0.001", "0.003", "0.01")
STARTS = ("forget_bias=1", "chrono=784")
CLIPS = ("1.0", "0.1")
TRIAL = ["data.options.test_size=100", "evaluation.energy_examples=20"]
FLAT = 0.005  # gain of accuracy on validation by twice the epochs, below which training has come to its end
HYBRID = "model.hybrid."
LEVELS: dict[str, dict[str, list[str]]] = {
    "hybrid": {
        "14": [f"{HYBRID}memory_limit=14"],
        "14-wide": [f"{HYBRID}memory_limit=14", f"{HYBRID}memory_range=4.4"],
        "15-rare": [f"{HYBRID}memory_limit=15", f"{HYBRID}hidden_range=1.25"],
    },
    "parallel": {
        "6": [f"{HYBRID}memory_limit=6"],
        "6-finer": [f"{HYBRID}memory_limit=6", f"{HYBRID}memory_range=3.2"],
        "6-finest": [f"{HYBRID}memory_limit=6", f"{HYBRID}memory_range=2.6"],
    },
}
MOST = {"average_by_weight": 3.74, "significant_by_weight": 1.26}
SMALL = ["model.hidden=212", "model.order=256", f"{HYBRID}own_leak=false"]
SMALL_LEVELS = {"small-hybrid": SMALL, "small-hybrid-10": [*SMALL, f"{HYBRID}memory_limit=10"]}
# Test accuracy as usually quoted; see docs/findings.md.
QUOTED = {"lstm": 0.8986, "gru": 0.9239}


class Missing(Exception):
    """A training that is not recorded, where nothing is to be trained."""


@dataclass(frozen=True)
class Training:
    """One training by its name in the study."""

    name: str
    recipe: str
    told: Sequence[str]
    seed: int = 0


@dataclass(frozen=True)
class Stopped:
    """A trial whose loss or gradients became infinite."""

    why: str


Get = Callable[[Training], Measured]


class Study:
    """Where runs and records lie; also: overrides of all trainings (for a trial of the study itself)."""

    def __init__(self, runs: Path, records: Path = RECORDS, also: Sequence[str] = ()) -> None:
        self.runs, self.records, self.also = runs, records, list(also)

    def told(self, one: Training) -> list[str]:
        """Its overrides."""
        return [*SAME, *one.told, *self.also]

    def make(self, one: Training) -> Measured:
        """Train it, or go on, or read its record."""
        out = self.runs / one.name
        return measured(trained, one.recipe, out, self.told(one), one.seed, more_of, self.records)

    def read(self, one: Training) -> Measured:
        """Its record, or `Missing`."""
        found = recorded(one.recipe, self.runs / one.name, self.told(one), one.seed, self.records)
        if found is None:
            raise Missing(one.name)
        return found

    def tried(self, get: Get, one: Training) -> Measured | Stopped:
        """A trial, which may end at an infinite loss; that is kept too."""
        file = self.records / self.runs.name / f"{one.name}-stopped.json"
        asked = {"told": self.told(one), "recipe": one.recipe, "seed": one.seed}
        if file.exists():
            found = json.loads(file.read_text())
            if {key: found[key] for key in asked} == asked:
                return Stopped(found["why"])
        try:
            return get(one)
        except BitspikeError as error:
            if not any(word in str(error) for word in ("the loss became", "non-finite")):
                raise
            file.parent.mkdir(parents=True, exist_ok=True)
            write_json(file, {**asked, "why": str(error)})
            return Stopped(str(error))


def more_of(run: Any) -> dict[str, Any]:
    """What the study keeps of a run besides: its result in short, trained weights, and validation by epoch."""
    rows = [json.loads(line) for line in (run.path / "metrics.jsonl").read_text().splitlines()]
    curve = [{"epoch": row["epoch"], **{key: row["validation"][key] for key in ("accuracy", "nll")}} for row in rows]
    weights = sum(p.numel() for p in run.model.parameters() if p.requires_grad)
    kept = {"short": in_short(run.result), "recipe_hash": run.recipe.recipe_hash()}
    return {**kept, "trained_weights": weights, "curve": curve}


def trial(kind: str, setting: tuple[str, str, str], epochs: int, name: str = "try") -> Training:
    """An opponent of a (rate, start, bound on the gradient) for so many epochs."""
    rate, start, clip = setting
    told = [*OPPONENT, f"model.hidden={KINDS[kind]}", f"optimizer.lr={rate}", f"model.{start}", f"learner.clip={clip}"]
    told += [f"training.epochs={epochs}"]
    if name == "try":
        told += [*TRIAL, f"training.validate_every={epochs}"]
    return Training(f"{kind}-{name}-{epochs}-{rate}-{start.replace('=', '-')}-{clip}", f"psmnist-{kind}", told)


def tuned(kind: str, study: Study, get: Get) -> tuple[tuple[str, str, str], list[dict[str, Any]]]:
    """The best setting and all that was tried; an infinite loss counts as the worst."""
    rows: list[dict[str, Any]] = []

    def nll(setting: tuple[str, str, str], epochs: int) -> float:
        found = study.tried(get, trial(kind, setting, epochs))
        row: dict[str, Any] = dict(zip(("rate", "start", "clip"), setting, strict=True)) | {"epochs": epochs}
        if isinstance(found, Stopped):
            rows.append({**row, "stopped": found.why})
            return math.inf
        at = found.validation
        rows.append({**row, "nll": at["nll"], "accuracy": at["accuracy"], "seconds": found.result["seconds"]})
        return at["nll"]

    after_one = {(rate, start, CLIPS[0]): nll((rate, start, CLIPS[0]), 1) for rate in RATES for start in STARTS}
    best = sorted(after_one, key=lambda setting: after_one[setting])[:2]
    after_two = {s: nll(s, 2) for s in [(rate, start, clip) for rate, start, _ in best for clip in CLIPS]}
    return min(after_two, key=lambda setting: after_two[setting]), rows


def final(kind: str, stages: Sequence[int], study: Study, get: Get) -> list[Measured]:
    """The best setting trained for each number of epochs, until the next gains less than `FLAT`."""
    setting, _ = tuned(kind, study, get)
    runs: list[Measured] = []
    for epochs in sorted(stages):
        try:
            runs.append(get(trial(kind, setting, epochs, "final")))
        except Missing:
            if not runs:
                raise
            break
        if len(runs) > 1 and runs[-1].validation["accuracy"] - runs[-2].validation["accuracy"] < FLAT:
            break
    return runs


def fits(run: Measured) -> bool:
    """Whether its activities take no more bits than `MOST`."""
    return all(run.more["short"]["bits"][key] <= most for key, most in MOST.items())


def candidates(name: str, get: Get) -> dict[str, Measured]:
    """The hybrid or the parallel network at each setting of its levels."""
    return {
        setting: get(Training(f"{name}-{setting}", f"psmnist-{name}", told)) for setting, told in LEVELS[name].items()
    }


def chosen(name: str, get: Get) -> str:
    """The setting that is best on validation among those that fit; where none does, the one of the fewest bits."""
    found = candidates(name, get)
    fitting = {setting: run for setting, run in found.items() if fits(run)}
    if not fitting:
        return min(found, key=lambda setting: found[setting].more["short"]["bits"]["significant_by_weight"])
    return max(fitting, key=lambda setting: fitting[setting].validation["accuracy"])


def seeds(name: str, get: Get) -> list[Measured]:
    """Two seeds of the LMU, or of the chosen hybrid or parallel network."""
    if name == "lmu":
        return [get(Training(f"lmu-seed-{seed}", "psmnist-lmu", (), seed)) for seed in (0, 1)]
    setting = chosen(name, get)
    told = LEVELS[name][setting]
    second = get(Training(f"{name}-{setting}-seed-1", f"psmnist-{name}", told, 1))
    return [candidates(name, get)[setting], second]


def unshifted(name: str, get: Get) -> list[Measured]:
    """The same on images as they are."""
    setting, told = ("", []) if name == "lmu" else (f"-{(s := chosen(name, get))}", LEVELS[name][s])
    return [get(Training(f"{name}{setting}-unshifted", f"psmnist-{name}", [*told, "data.shift=0"]))]


def rows_of(part: str, stages: Sequence[int], study: Study, get: Get) -> dict[str, list[Measured]]:
    """Rows of a part's trainings: name to one run for each seed."""
    kind = part.removeprefix("tune-")
    if part.startswith("tune-"):
        tuned(kind, study, get)
        return {}
    if kind in KINDS:
        runs = final(kind, stages, study, get)
        return {kind: runs[-1:]} | {f"{kind}-{run.recipe['training']['epochs']}": [run] for run in runs[:-1]}
    if part == "bits":
        return {f"{n}-{s}": [run] for n in LEVELS for s, run in candidates(n, get).items()}
    if part == "small-hybrid":
        return {n: [get(Training(n, "psmnist-hybrid", told))] for n, told in SMALL_LEVELS.items()}
    names = ("lmu", *LEVELS)
    if part == "seeds":
        return {name: seeds(name, get) for name in names}
    return {f"{name}-unshifted": unshifted(name, get) for name in names}


PARTS = ("tune-lstm", "tune-gru", "bits", "lstm", "gru", "seeds", "unshifted", "small-hybrid")


def row(runs: list[Measured]) -> dict[str, Any]:
    """What the results hold of the runs of one setting."""
    short = [run.more["short"] for run in runs]
    test = {key: [run.result["test"][key] for run in runs] for key in ("accuracy", "nll", "ece")}
    found: dict[str, Any] = {
        "seeds": [run.recipe["seed"] for run in runs],
        "test": {key: spread(values) if len(values) > 1 else {"mean": values[0]} for key, values in test.items()},
        "accuracy": test["accuracy"],
        "validation_accuracy": [run.validation["accuracy"] for run in runs],
        "trained_weights": runs[0].more["trained_weights"],
        "epochs": [each["epochs"] for each in short],
        "seconds": [run.result["seconds"] for run in runs],
        "curves": [run.more["curve"] for run in runs],
        "shift": runs[0].recipe["data"]["shift"],
    }
    if "levels" in short[0]["bits"]:
        found["bits"] = [{k: v for k, v in each["bits"].items() if isinstance(v, float)} for each in short]
        found["fits"] = all(map(fits, runs))
    return found | {"recipe": runs[0].recipe}


def minus(runs: list[Measured], others: list[Measured]) -> dict[str, Any]:
    """Paired difference of accuracy on test over the seeds that both have."""
    by_seed = [{run.recipe["seed"]: run.right for run in each} for each in (runs, others)]
    both = sorted(by_seed[0].keys() & by_seed[1].keys())
    a, b = (torch.stack([each[seed] for seed in both]) for each in by_seed)
    return interval(paired_difference(a, b))


def collected(
    parts: Sequence[str], stages: Sequence[int], study: Study
) -> tuple[dict[str, Any], dict[str, list[Measured]]]:
    """What is recorded of some parts: the content of the results, and the runs of each row."""
    runs: dict[str, list[Measured]] = {}
    tuning: dict[str, Any] = {}
    for part in parts:
        try:
            if part.startswith("tune-"):
                kind = part.removeprefix("tune-")
                setting, tried = tuned(kind, study, study.read)
                at_end = setting[0] in (RATES[0], RATES[-1])
                tuning[kind] = {"chosen": list(setting), "rate_at_the_end": at_end, "trials": tried}
            runs |= rows_of(part, stages, study, study.read)
        except Missing:
            continue
    content: dict[str, Any] = {"rows": {name: row(each) for name, each in runs.items()}, "tuning": tuning}
    content["quoted"], content["most_bits"] = QUOTED, MOST
    if all(f"{n}-{s}" in runs for n in LEVELS for s in LEVELS[n]):
        content["chosen"] = {name: chosen(name, study.read) for name in LEVELS}
    if "lmu" in runs:
        for name, each in runs.items():
            if name != "lmu":
                content["rows"][name]["minus_lmu"] = minus(each, runs["lmu"])
    for kind in KINDS:
        known = sorted((name for name in runs if name.startswith(f"{kind}-")), key=lambda n: int(n.rpartition("-")[2]))
        if kind in runs and known:
            at = [runs[name][0].validation["accuracy"] for name in (known[-1], kind)]
            content["rows"][kind]["gained_by_more_epochs"] = at[1] - at[0]
            content["rows"][kind]["flat"] = at[1] - at[0] < FLAT
    if runs:
        first = next(iter(runs.values()))[0]
        content |= {"data": first.environment["data"]["digests"], "environment": environment_of(first)}
    return content, runs


def as_results(runs: list[Measured]) -> dict[str, Any]:
    """The runs of one recipe as `bitspike results` writes them, from their records."""
    entries, first = [run.more["short"] for run in runs], runs[0]
    given, data = first.environment, first.environment["data"]
    return {
        "recipe": first.recipe,
        "recipe_hash": first.more["recipe_hash"],
        "version": given["version"],
        "device": given["device"],
        "hardware": {key: given[key] for key in HARDWARE if key in given},
        "data": {key: data[of] for key, of in OF_DATA.items()},
        "seeds": [run.recipe["seed"] for run in runs],
        "runs": entries,
        "mean": combined(entries),
        "std": combined(entries, deviation),
    }


def main(given: Sequence[str] | None = None) -> None:
    """Train the parts asked for, then collect."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--parts", nargs="*", default=[], choices=PARTS)
    parser.add_argument("--stages", nargs="*", type=int, default=[20], help="epochs of the opponents' final trainings")
    parser.add_argument("--runs", type=Path, default=Path("runs/psmnist-opponents"))
    parser.add_argument("--records", type=Path, default=RECORDS)
    parser.add_argument("--set", nargs="*", default=[], help="overrides, for a trial of these parts alone")
    parser.add_argument("--out", type=Path, default=Path("results/psmnist-opponents.json"))
    parser.add_argument("--results", action="store_true", help="also write psmnist-NAME.json beside --out")
    asked = parser.parse_args(given)
    study = Study(asked.runs, asked.records, asked.set)
    for part in asked.parts:
        for name, runs in rows_of(part, asked.stages, study, study.make).items():
            print(part, name, [run.result["test"]["accuracy"] for run in runs], flush=True)
    content, found = collected(asked.parts if asked.set else PARTS, asked.stages, study)
    if not found and not content["tuning"]:
        print("psmnist_opponents: nothing is recorded yet")
        return
    write_json(asked.out, content)
    for name in ("hybrid", "parallel", "lmu", "lstm", "gru") if asked.results else ():
        if name in found:
            write_json(asked.out.parent / f"psmnist-{name}.json", as_results(found[name]))


if __name__ == "__main__":
    main()
