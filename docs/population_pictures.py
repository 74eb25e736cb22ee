"""Pictures of docs/population.md from results/population-*.json; what was not measured yet has none.

    python docs/population_pictures.py

population-front.svg: networks of every front, as they are on test. population-schedules.svg: rates that populations
came to, one line a pair. population-domains.svg: the best member by its age, one line a pair.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import spike_tables
from panels import Panel, draw
from population_tables import DOMAINS, OWN, named

from bitspike.reports.style import BLUE, CYCLE, VERMILION

ARMS = {"pbt": ("population", BLUE, "o"), "random": ("random search", VERMILION, "x")}


def front(name: str, found: Any) -> Panel:
    """Networks of all pairs: NLL on test against energy of an inference."""

    def panel(axis: Any) -> None:
        for arm, (label, colour, marker) in ARMS.items():
            points = [network["test"] for networks in found["fronts"][arm] for network in networks]
            nll, joules = zip(*points, strict=True)
            axis.scatter([1e9 * j for j in joules], nll, s=18, color=colour, marker=marker, label=label, linewidths=1)
        axis.set(xlabel="energy, nJ", ylabel="NLL on test", title=name, yscale="log")

    return panel


def rates(title: str, found: Any, paths: Sequence[str]) -> Panel:
    """The schedules of some hyperparameters, a line a pair."""

    def panel(axis: Any) -> None:
        for colour, path in zip(CYCLE, paths, strict=False):
            for number, stretches in enumerate(found["schedules"]):
                values = [stretch["values"][path] for stretch in stretches]
                ends = [stretch["begin"] for stretch in stretches] + [stretches[-1]["end"]]
                axis.stairs(values, ends, baseline=None, color=colour, alpha=0.8, label=None if number else path)
        axis.set(xlabel="updates", title=title, yscale="log")

    return panel


def learning(title: str, found: Any) -> Panel:
    """The best score of a population among members of an age, a line a pair."""

    def panel(axis: Any) -> None:
        for arm, (label, colour, _) in {"population": ARMS["pbt"], "random": ARMS["random"]}.items():
            for number, curve in enumerate(found["curves"][arm]):
                best: dict[int, float] = {}
                for _, updates, score, _ in curve:
                    if score is not None:
                        best[updates] = max(score, best.get(updates, score))
                line = dict(sorted(best.items()))
                axis.plot(list(line), list(line.values()), color=colour, alpha=0.8, label=None if number else label)
        axis.set(xlabel="updates of a member", title=title)

    return panel


def main() -> None:
    """See the module."""
    pareto = spike_tables.read("population-pareto") or {}
    searched = {"mnist-bayes": ("optimizer.lr", "latent_optimizer.lr"), "hybrid": ("optimizer.lr",)}
    found = {name: one for name in (*searched, *DOMAINS) if (one := named(name)) is not None}
    pictures = {
        "front": [front(name, pareto[name]) for name in ("digits", "mnist") if name in pareto],
        "schedules": [rates(OWN[name], found[name], searched[name]) for name in searched if name in found],
        "domains": [learning(DOMAINS[name], found[name]) for name in DOMAINS if name in found],
    }
    for name, panels in pictures.items():
        if panels:
            draw(f"population-{name}", panels)
            print(f"population-{name}.svg")


if __name__ == "__main__":
    main()
