"""The paper's three domains, small: a population of four against random search with the same members and updates.

    python docs/population_domains.py [--domains cartpole translation gan] [--runs 3] [--work runs/domains]
                                      [--out results]

Each run is the example's own command (`examples/population/`), so that it goes on where it was stopped; what it came to
is kept in results/studies. Random search is the best of four members that keep their first values, which are those of
the population. The score compared is that of the best member at the end on what members were measured on, `test` what
it reaches on what nobody has seen. Writes
population-cartpole.json (with the harder task under "harder"), population-translation.json and population-gan.json.
Hours: about 5 minutes a member of CartPole, 10 of the harder task, 15 of translation, 8 of the DCGAN, on a core of its
own. Wants the extra `domains`, and BITSPIKE_DATA with MNIST and multi30k.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import study

from bitspike.run.checkpoint import read_json, write_json

EXAMPLES = Path(__file__).parents[1] / "examples" / "population"
SOLVED = 475.0
# File, what its command is told, what its score is called.
TASKS: dict[str, tuple[str, list[str], str]] = {
    "cartpole": ("cartpole", ["--updates", "160", "--every", "8"], "mean return of CartPole-v1"),
    "harder": ("cartpole", ["--task", "LunarLander-v3", "--updates", "300", "--every", "15"],
               "mean return of LunarLander-v3"),
    "translation": ("translation", ["--updates", "3000", "--every", "300"], "BLEU, German to English, Multi30k"),
    "gan": ("gan", ["--updates", "6000", "--every", "400"], "score of DCGAN's digits"),
}  # fmt: skip
REPLAY = 12_000  # updates of the best schedule, stretched


def run(task: str, strategy: str, seed: int, work: Path, more: list[str]) -> dict[str, Any]:
    """What one command came to: its record, or it is run, which refuses a folder that was asked for otherwise."""
    file, told, _ = TASKS[task]
    out = work / f"{task}-{strategy}-{seed}"

    def made() -> dict[str, Any]:
        command = [sys.executable, str(EXAMPLES / f"{file}.py"), "--strategy", strategy, "--out", str(out)]
        print(f"{out}", flush=True)
        subprocess.run([*command, "--seed", str(seed), *told, *more], check=True)
        return dict(read_json(out / "result.json"))

    asked = {"strategy": strategy, "told": told, "seed": seed}
    return study.kept_in(study.RECORDS / "domains" / f"{out.name}.json", asked, made)


def of_task(task: str, runs: int, work: Path, more: list[str]) -> dict[str, Any]:
    """Pairs of one task."""
    results: dict[str, list[dict[str, Any]]] = {"population": [], "random": []}
    for seed in range(runs):
        for strategy, found in results.items():
            found.append(run(task, strategy, seed, work, more))
    scores = {strategy: [one["score"] for one in found] for strategy, found in results.items()}
    tests = {strategy: [one["test"] for one in found] for strategy, found in results.items()}
    difference = study.gain(scores["population"], scores["random"])
    holds = difference["low"] is not None and difference["low"] > 0
    tested = study.gain(tests["population"], tests["random"])
    middle = {strategy: sum(values) / len(values) for strategy, values in scores.items()}
    return {
        "headline": f"{TASKS[task][2]}, {runs} pairs: {middle['population']:.4g} against random search's "
        f"{middle['random']:.4g}; difference {said(difference)}"
        + ("" if holds else ": not ahead beyond it") + f"; on test {said(tested)}",
        "pbt": scores["population"],
        "random": scores["random"],
        "difference": difference,
        "holds": holds,
        "test": {"pbt": tests["population"], "random": tests["random"],
                 "difference": tested},
        "seconds": {strategy: [one["seconds"] for one in found] for strategy, found in results.items()},
        "schedules": [one["schedule"] for one in results["population"]],
        "curves": {strategy: [one["curve"] for one in found] for strategy, found in results.items()},
        "asked": results["population"][0]["asked"],
        "seeds": list(range(runs)),
        **({"data": results["population"][0]["data"]} if "data" in results["population"][0] else {}),
        "environment": results["population"][0]["environment"],
    }  # fmt: skip


def said(difference: dict[str, Any]) -> str:
    """A difference with its interval, which one pair has not."""
    mean, low, high = (difference[key] for key in ("mean", "low", "high"))
    return f"{mean:.3g} (one pair)" if low is None else f"{mean:.3g}, 95 % interval {low:.3g} to {high:.3g}"


def cartpole(runs: int, work: Path) -> dict[str, Any]:
    """CartPole, and whether a policy solves it; the harder task beside it."""
    found = of_task("cartpole", runs, work, [])
    # Of several networks the one that was best where they were measured, not the one that the test likes most.
    best = found["test"]["pbt"][max(range(runs), key=lambda seed: found["pbt"][seed])]
    solved = f"; solved ({best:.4g} of 500)" if best >= SOLVED else f"; not solved ({best:.4g}, wanted {SOLVED:g})"
    return found | {"headline": found["headline"] + solved, "solved": best >= SOLVED,
                    "harder": of_task("harder", runs, work, [])}  # fmt: skip


def translation(runs: int, work: Path) -> dict[str, Any]:
    """Translation, and the best schedule again, for longer."""
    found = of_task("translation", runs, work, [])
    best = max(range(runs), key=lambda seed: found["pbt"][seed])
    schedule = run("translation", "population", best, work, [])["schedule"]

    def made() -> dict[str, Any]:
        sys.path.insert(0, str(EXAMPLES))
        from translation import Translator, replayed

        member = Translator(Path(os.environ.get("BITSPIKE_DATA", ".")) / "multi30k", best)
        return {"curve": replayed(member, schedule, REPLAY)}

    asked = {"schedule": schedule, "updates": REPLAY, "seed": best}
    curve = study.kept_in(study.RECORDS / "domains" / "translation-replayed.json", asked, made)["curve"]
    _, reached = curve[-1]
    return found | {"headline": f"{found['headline']}; replayed for longer, BLEU {reached:.2f} on test 2016",
                    "replay": curve}  # fmt: skip


def gan(runs: int, work: Path) -> dict[str, Any]:
    """The DCGAN; one classifier scores all."""
    return of_task("gan", runs, work, ["--classifier", str(work / "gan-classifier")])


DOMAINS = {"cartpole": cartpole, "translation": translation, "gan": gan}


def main() -> None:
    """See the module."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--domains", nargs="+", choices=DOMAINS, default=list(DOMAINS))
    options.add_argument("--runs", type=int, default=3)
    options.add_argument("--work", type=Path, default=Path("runs/domains"))
    options.add_argument("--out", type=Path, default=Path("results"))
    asked = options.parse_args()
    asked.work.mkdir(parents=True, exist_ok=True)
    asked.out.mkdir(parents=True, exist_ok=True)
    for name in asked.domains:
        found = DOMAINS[name](asked.runs, asked.work)
        write_json(asked.out / f"population-{name}.json", found)
        print(found["headline"], flush=True)


if __name__ == "__main__":
    main()
