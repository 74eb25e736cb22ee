"""Where a schedule may help networks of our own: a population of eight against random search at equal updates.

    python docs/population_own_nets.py [--studies mnist-bayes hybrid own-data] [--runs 5] [--work runs/own-nets]
                                       [--out results]

- mnist-bayes: the recipe's network, three epochs; rates of both optimisers, surrogate, leak, rho and prior.
- hybrid: digits-rows-hybrid; the rate, and how the quantisers' steps grow (where they start, for how long they stay).
- own-data: the recipes that `bitspike init` writes for three small sets, their own schedule of rates kept.

A pair has one seed: the same first values, members, updates and measurements, only that nobody copies in random search.
Where the rate is searched it is constant between copies; random search under the recipe's own schedule of rates stands
beside it ("scheduled"), since a person would have that for nothing. Scores are the winners' mean log-probability of the
right class (value) on validation, more being better; `test` is what the same networks reach as they are shipped, and
what is to be believed: copies are chosen on validation again and again, random search's winner once. Then
each population's schedule is trained from scratch with a seed that it was not chosen for, and so are the values that it
ended with, held constant. Writes population-mnist-bayes.json, population-hybrid.json and population-own-data.json; goes
on where it was stopped, from records in results/studies where runs are gone. Three hours of one core, five where it has
no AVX-512 (four of them MNIST); wants BITSPIKE_DATA with MNIST and the folder series.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import own_data_table
import spike_tables
import study

import bitspike
from bitspike.run.checkpoint import write_json

Dimension = tuple[str, float, float]
RATES: dict[str, Dimension] = {
    "optimizer.lr": ("log-uniform", 1e-4, 0.1),
    "latent_optimizer.lr": ("log-uniform", 1e-2, 10.0),
}
NEURON: dict[str, Dimension] = {
    "model.neuron.surrogate.width": ("log-uniform", 0.25, 4.0),
    "model.neuron.tau": ("uniform", 1.0, 4.0),
}
BAYES: dict[str, Dimension] = {"learner.rho": ("log-uniform", 1e-10, 1e-6), "weights.prior": ("uniform", 0.2, 0.8)}
SLIDE: dict[str, Dimension] = {
    "optimizer.lr": ("log-uniform", 1e-4, 0.1),
    "model.hybrid.memory_start": ("log-uniform", 8.0, 1024.0),
    "model.hybrid.hidden_start": ("log-uniform", 4.0, 1024.0),
    "model.hybrid.hold": ("uniform", 0.05, 0.9),
}
OWN = NEURON | {"optimizer.lr": RATES["optimizer.lr"], "latent_optimizer.lr_sum": ("log-uniform", 20.0, 5000.0)}
RANDOM = ["population.strategy=random", "population.exploit={}", "population.burn_in=0"]
FRESH = 100  # added to a seed where a schedule is trained from scratch


def population(space: dict[str, Dimension], every: int, burn_in: int) -> str:
    """Eight members, the worst quarter copies one of the best."""
    dimensions = ", ".join(
        f"'{path}' = {{kind = '{kind}', low = {low}, high = {high}}}" for path, (kind, low, high) in space.items()
    )
    return (f"population={{size = 8, mode = 'synchronous', every = {every}, burn_in = {burn_in}, metric = 'nll', "
            f"exploit = {{fraction = 0.25}}, space = {{{dimensions}}}}}")  # fmt: skip


def score(run: Any) -> float:
    """Mean log-probability on validation of the winner of a population, or at the end of a training."""
    at = run.path / "population.json"
    if at.exists():
        return -float(json.loads(at.read_text())["winner"]["score"])
    last = json.loads((run.path / "metrics.jsonl").read_text().splitlines()[-1])
    return -float(last["validation"]["nll"])


def tested(run: Any) -> float:
    """The same on test, of the answer that is shipped."""
    test = run.result["test"]
    return -float(test["scaled"]["nll"] if "scaled" in test else test["nll"])


def pairs(recipe: str, work: Path, runs: int, overrides: list[str], scheduled: list[str] | None) -> dict[str, Any]:
    """Population and random search, seed by seed; `scheduled` are the overrides of the recipe's own schedule."""
    arms = {"pbt": overrides, "random": overrides + RANDOM}
    if scheduled is not None:
        arms["scheduled"] = scheduled + RANDOM
    found = [pair(recipe, work, arms, seed) for seed in range(runs)]
    scores = {arm: [one["arms"][arm]["score"] for one in found] for arm in arms}
    tests = {arm: [one["arms"][arm]["test"] for one in found] for arm in arms}
    schedule = {what: [one[what] for one in found] for what in ("replayed", "held")}
    against = {arm: study.gain(scores["pbt"], scores[arm]) for arm in arms if arm != "pbt"}
    return {
        **scores,
        "difference": against["random"],
        **({"ahead_of_scheduled": against["scheduled"]} if scheduled is not None else {}),
        "test": tests | {"difference": study.gain(tests["pbt"], tests["random"])},
        "schedule": schedule | {"difference": study.gain(schedule["replayed"], schedule["held"])},
        "schedules": [one["schedule"] for one in found],
        "seeds": list(range(runs)),
        "recipe": bitspike.load_recipe(recipe, [*overrides, *names_of_files(recipe)]).resolved(),
        "data": found[0]["data"],
        "environment": found[0]["environment"],
    }


def names_of_files(recipe: str) -> list[str]:
    """Overrides that leave a recipe of own data the names of its files, which are the same on every machine."""
    options = bitspike.load_recipe(recipe).resolved()["data"]["options"]
    paths = {key: options[key] for key in ("path", "test_path") if options.get(key)}
    return [f"data.options.{key}='{Path(path).name}'" for key, path in paths.items()]


def pair(recipe: str, work: Path, arms: dict[str, list[str]], seed: int) -> dict[str, Any]:
    """What the arms come to with one seed, and the population's schedule and last values with another."""

    def made() -> dict[str, Any]:
        runs = {arm: study.evolved(recipe, work / f"{arm}-{seed}", told, seed) for arm, told in arms.items()}
        best, again, held = runs["pbt"], work / f"replayed-{seed}", work / f"held-{seed}"
        done = (again / "result.json").exists()
        replayed = bitspike.load(again) if done else bitspike.replay(best, again, seed=seed + FRESH, overwrite=True)
        return {
            "arms": {arm: {"score": score(run), "test": tested(run)} for arm, run in runs.items()},
            "replayed": tested(replayed),
            "held": tested(study.trained(str(best.path / "recipe.toml"), held, [], seed + FRESH)),
            "schedule": json.loads((best.path / "population.json").read_text()).get("schedule"),
            "data": best.environment["data"]["digests"],
            "environment": study.environment_of(best),
        }

    hashes = {arm: study.hash_of(recipe, [*told, *names_of_files(recipe)], seed) for arm, told in arms.items()}
    return study.kept_in(study.RECORDS / "own-nets" / f"{work.name}-{seed}.json", {"recipe_hashes": hashes}, made)


def said(name: str, found: dict[str, Any]) -> str:
    """The headline."""
    middle = {arm: sum(found[arm]) / len(found[arm]) for arm in ("pbt", "random")}
    words = f"{name}, {len(found['pbt'])} pairs, log-probability on validation: {middle['pbt']:.4g} against random "
    words += f"search's {middle['random']:.4g}, difference {within(found['difference'])}"
    if "ahead_of_scheduled" in found:
        words += f"; against random search under the recipe's own schedule {within(found['ahead_of_scheduled'])}"
    words += f"; on test, against random search {within(found['test']['difference'])}"
    return f"{words}, schedule against its last values held {within(found['schedule']['difference'])}"


def within(difference: dict[str, Any]) -> str:
    """A difference with its interval."""
    if difference["low"] is None:
        return f"{difference['mean']:+.3g} (one pair)"
    return spike_tables.within(difference, "+.3g")


def finished(name: str, found: dict[str, Any]) -> dict[str, Any]:
    """With headline, and whether the population is ahead beyond the interval."""
    low = found["difference"]["low"]
    return {"headline": said(name, found), **found, "holds": low is not None and low > 0}


def mnist_bayes(runs: int, work: Path) -> dict[str, Any]:
    """Three epochs of 430 batches, 30 turns."""
    told = ["training.epochs=3", population(RATES | NEURON | BAYES, 43, 215)]
    flat = [*told, "schedule={kind = 'constant'}"]
    return finished("MNIST, Bayesian weights, three epochs", pairs("mnist-bayes", work, runs, flat, told))


def hybrid(runs: int, work: Path) -> dict[str, Any]:
    """40 epochs of 21 batches, 40 turns."""
    told = [population(SLIDE, 21, 105)]
    flat = [*told, "schedule={kind = 'constant'}"]
    return finished("digits by rows, hybrid LMU", pairs("digits-rows-hybrid", work, runs, flat, told))


def own_data(runs: int, work: Path) -> dict[str, Any]:
    """Three sets of a person's own, each with the recipe of `bitspike init`."""
    work.mkdir(parents=True, exist_ok=True)
    sets = {}
    for name in ("wine", "GunPoint", "JapaneseVowels"):
        recipe = own_data_table.written(name, work)
        sets[name] = pairs(str(recipe), work / name, runs, [population(OWN, 25, 125)], None)
        print(said(name, sets[name]), flush=True)
    both = means(list(sets.values()), "pbt", "random")
    tests = means([one["test"] for one in sets.values()], "pbt", "random")
    schedule = means([one["schedule"] for one in sets.values()], "replayed", "held")
    whole = both | {"test": tests, "schedule": schedule, "seeds": list(range(runs)), "sets": sets}
    return finished(f"mean of {', '.join(sets)}, recipes of init", whole)


def means(found: list[dict[str, Any]], one: str, other: str) -> dict[str, Any]:
    """Means over sets, seed by seed, of what stands under two names, and the difference of these."""
    both = {name: [sum(values) / len(found) for values in zip(*(each[name] for each in found), strict=True)]
            for name in (one, other)}  # fmt: skip
    return both | {"difference": study.gain(both[one], both[other])}


STUDIES = {"mnist-bayes": mnist_bayes, "hybrid": hybrid, "own-data": own_data}


def main() -> None:
    """See the module."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--studies", nargs="+", choices=STUDIES, default=list(STUDIES))
    options.add_argument("--runs", type=int, default=5)
    options.add_argument("--work", type=Path, default=Path("runs/own-nets"))
    options.add_argument("--out", type=Path, default=Path("results"))
    asked = options.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    for name in asked.studies:
        found = STUDIES[name](asked.runs, asked.work / name)
        write_json(asked.out / f"population-{name}.json", found)
        print(found["headline"], flush=True)


if __name__ == "__main__":
    main()
