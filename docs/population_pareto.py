"""The front of NLL against energy: a population that spreads along it against random search at equal updates.

    python docs/population_pareto.py [--runs 5] [--sets digits mnist] [--work runs/pareto] [--out results]

Pairs of one seed: population and random search have the same first values, members, updates and reference, and both
hand back their front. Hypervolume is measured on validation, where the front was found, and again on test, of the same
networks as they are shipped. How often and how many members copy, and digits' schedule of rates, were chosen on seeds
10 to 12, which are not among these, and so was MNIST's reference, on seed 10.
Writes population-pareto.json; goes on where it was stopped, from records in results/studies where runs are gone.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import study

import bitspike
from bitspike.population.front import hypervolume
from bitspike.reports.totals import totals
from bitspike.run.checkpoint import write_json

LEAST = 6  # networks of a front
RANDOM = ["population.strategy=random", "population.exploit={}", "population.burn_in=0"]
DIMENSIONS = {
    "optimizer.lr": ("log-uniform", 1e-4, 0.1),
    "latent_optimizer.lr": ("log-uniform", 1e-3, 1.0),
    "model.neuron.tau": ("uniform", 1.0, 4.0),
    "model.neuron.theta": ("log-uniform", 0.25, 16.0),
    "model.neuron.surrogate.width": ("log-uniform", 0.25, 4.0),
}
SPACE = ", ".join(f"'{path}' = {{kind = '{kind}', low = {low}, high = {high}}}"
                  for path, (kind, low, high) in DIMENSIONS.items())  # fmt: skip
SETS: dict[str, tuple[str, list[str]]] = {
    "digits": ("tune-digits-front", []),
    "mnist": ("mnist-st", [
        "model.layers=['128', '128']", "training.epochs=3", "evaluation.energy_examples=200",
        f"population={{size = 16, mode = 'synchronous', every = 65, burn_in = 645, objectives = ['nll', 'energy'], "
        f"reference = [1.0, 120e-9], exploit = {{fraction = 0.25}}, space = {{{SPACE}}}}}",
    ]),
}  # fmt: skip


def tuned(recipe: str, out: Path, overrides: list[str], seed: int) -> dict[str, Any]:
    """The front of the population in folder `out`: read from its record, or the run is, gone on with, or evolved."""

    def made() -> dict[str, Any]:
        run = study.evolved(recipe, out, overrides, seed)
        front: dict[str, Any] = json.loads((out / "population.json").read_text())["front"]
        results = [
            json.loads((out / "front" / str(row["member"]) / "result.json").read_text()) for row in front["networks"]
        ]
        tested = [(r["test"]["nll"], totals(r["energy"])["network"]) for r in results]
        return front | {"test": hypervolume(tested, front["reference"]), "tested": tested,
                        "accuracy": [result["test"]["accuracy"] for result in results],
                        "data": run.environment["data"]["digests"],
                        "environment": study.environment_of(run)}  # fmt: skip

    asked = {"recipe_hash": study.hash_of(recipe, overrides, seed), "seed": seed}
    return study.kept_in(study.RECORDS / "pareto" / f"{out.name}.json", asked, made)


def of_set(name: str, runs: int, work: Path) -> dict[str, Any]:
    """Pairs of one data set."""
    recipe, more = SETS[name]
    found: dict[str, list[dict[str, Any]]] = {"pbt": [], "random": []}
    for seed in range(runs):
        for strategy, extra in (("pbt", []), ("random", RANDOM)):
            found[strategy].append(tuned(recipe, work / f"{name}-{strategy}-{seed}", more + extra, seed))
    scores = {strategy: [front["hypervolume"] for front in fronts] for strategy, fronts in found.items()}
    tests = {strategy: [front["test"] for front in fronts] for strategy, fronts in found.items()}
    return {
        **scores,
        "difference": study.gain(scores["pbt"], scores["random"]),
        "ahead": sum(a > b for a, b in zip(scores["pbt"], scores["random"], strict=True)),
        "networks": {strategy: [len(front["networks"]) for front in fronts] for strategy, fronts in found.items()},
        "test": tests | {"difference": study.gain(tests["pbt"], tests["random"])},
        "reference": found["pbt"][0]["reference"],
        "seeds": list(range(runs)),
        "recipe": bitspike.load_recipe(recipe, more).resolved(),
        "data": found["pbt"][0]["data"],
        "environment": found["pbt"][0]["environment"],
        "fronts": {strategy: [
            [{"validation": row["point"], "test": list(point), "accuracy": accuracy}
             for row, point, accuracy in zip(front["networks"], front["tested"], front["accuracy"], strict=True)]
            for front in fronts] for strategy, fronts in found.items()},
    }  # fmt: skip


def record(found: dict[str, Any]) -> dict[str, Any]:
    """The study's file; `pbt`, `random` and `difference` are of digits."""
    # `holds` counts pairs; whether they differ beyond chance is what the interval says.
    enough = {name: min(one["networks"]["pbt"]) >= LEAST for name, one in found.items()}
    ahead = {name: one["ahead"] >= 0.8 * len(one["pbt"]) for name, one in found.items()}
    said = "; ".join(
        f"{name}: hypervolume ahead of random search's in {one['ahead']} of {len(one['pbt'])} pairs, by "
        f"{within(one['difference'])}, on test {within(one['test']['difference'])}, "
        f"{min(one['networks']['pbt'])} to {max(one['networks']['pbt'])} networks on a front"
        for name, one in found.items()
    )
    first = next(iter(found.values()))
    return {
        "headline": said,
        "pbt": first["pbt"],
        "random": first["random"],
        "difference": first["difference"],
        "holds": all(enough.values()) and all(ahead.values()),
        **found,
    }


def within(difference: dict[str, Any]) -> str:
    """A difference with its interval, which one pair has not."""
    mean, low, high = (difference[key] for key in ("mean", "low", "high"))
    return f"{mean:+.3g} (one pair)" if low is None else f"{mean:+.3g} ({low:+.3g} to {high:+.3g})"


def main() -> None:
    """See the module."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--runs", type=int, default=5)
    options.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS))
    options.add_argument("--work", type=Path, default=Path("runs/pareto"))
    options.add_argument("--out", type=Path, default=Path("results"))
    asked = options.parse_args()
    found = record({name: of_set(name, asked.runs, asked.work) for name in asked.sets})
    asked.out.mkdir(parents=True, exist_ok=True)
    write_json(asked.out / "population-pareto.json", found)
    print(found["headline"])


if __name__ == "__main__":
    main()
