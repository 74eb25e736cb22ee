"""Pictures of docs/population.md from results/population-*.json; what was not measured yet has none.

    python docs/population_pictures.py

population-front.svg: networks of every front, as they are on test. population-schedules.svg: rates that populations
came to, one line a pair. population-domains.svg: the best member by its age, one line a pair.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import spike_tables
from matplotlib import pyplot as plt
from population_tables import DOMAINS, OWN, named

from bitspike.reports.style import BLUE, CYCLE, RC, VERMILION

PICTURES = Path(__file__).parent / "pictures"
ARMS = {"pbt": ("population", BLUE, "o"), "random": ("random search", VERMILION, "x")}
Panel = Callable[[Any], None]


def draw(name: str, panels: Sequence[Panel]) -> None:
    """Write a picture of one row of panels with one legend below; none without panels."""
    if not panels:
        return
    with plt.rc_context({**RC, "text.parse_math": True, "svg.hashsalt": name, "figure.facecolor": "white"}):
        figure, axes = plt.subplots(1, len(panels), figsize=(4.0 * len(panels), 3.5), squeeze=False)
        for panel, axis in zip(panels, axes[0], strict=True):
            panel(axis)
            axis.grid(True)
        handles = {label: h for axis in axes[0] for h, label in zip(*axis.get_legend_handles_labels(), strict=True)}
        figure.legend(handles.values(), handles.keys(), loc="lower center", ncols=4, fontsize=8)
        figure.tight_layout(rect=(0, 0.1, 1, 1))
        figure.savefig(PICTURES / f"{name}.svg", metadata={"Date": None})
        plt.close(figure)
    print(f"{name}.svg")


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
    draw("population-front", [front(name, pareto[name]) for name in ("digits", "mnist") if name in pareto])
    searched = {"mnist-bayes": ("optimizer.lr", "latent_optimizer.lr"), "hybrid": ("optimizer.lr",)}
    found = {name: named(name) for name in (*searched, *DOMAINS)}
    draw("population-schedules", [rates(OWN[name], found[name], paths)
                                  for name, paths in searched.items() if found[name] is not None])  # fmt: skip
    draw("population-domains", [learning(title, found[name])
                                for name, title in DOMAINS.items() if found[name] is not None])  # fmt: skip


if __name__ == "__main__":
    main()
