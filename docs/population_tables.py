"""Tables of populations against random search, for `make_tables`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import spike_tables
from spike_tables import within

# What is compared, with how many digits.
OWN = {
    "mnist-bayes": "MNIST, Bayesian weights",
    "hybrid": "digits by rows, hybrid LMU",
    "own-data": "own data, mean of three sets",
}
DOMAINS = {
    "cartpole": "CartPole-v1, mean return",
    "harder": "LunarLander-v3, mean return",
    "translation": "translation, BLEU",
    "gan": "DCGAN, score of its digits",
}


def against_random(names: Sequence[str]) -> str:
    """Scores of both, their paired difference on what members were measured on, and on test."""
    lines = [["", "pairs", "population", "random search", "difference", "on test", "ahead beyond the interval"]]
    for name in names:
        if (found := named(name)) is not None:
            digits = 3 if name in OWN else 2 if name == "gan" else 1
            lines += [row(label, one, digits) for label, one in parts(name, found)]
    return spike_tables.markdown(lines) if len(lines) > 1 else ""


def named(name: str) -> Any:
    """A study's results; the harder task stands in CartPole's file."""
    if name == "harder":
        found = spike_tables.read("population-cartpole")
        return None if found is None else found.get("harder")
    return spike_tables.read(f"population-{name}")


def parts(name: str, found: Any) -> list[tuple[str, Any]]:
    """A study and the sets that it is the mean of."""
    label = (OWN | DOMAINS)[name]
    return [(label, found), *((f"– {one}", each) for one, each in found.get("sets", {}).items())]


def row(label: str, found: Any, digits: int) -> list[str]:
    """One line; the last cell says on which examples the interval lies above 0."""
    middle = [f"{sum(found[arm]) / len(found[arm]):.{digits}f}" for arm in ("pbt", "random")]
    differences = [found["difference"], found["test"]["difference"]]
    cells = [within(one, f"+.{digits}f") for one in differences]
    where = zip(("validation", "test"), differences, strict=True)
    ahead = [name for name, one in where if one["low"] > 0]
    return [label, str(len(found["pbt"])), *middle, *cells, " and ".join(ahead) or "not shown"]


def schedules(names: Sequence[str]) -> str:
    """Schedules trained from scratch with a seed they were not chosen for, beside their last values held constant."""
    lines = [["", "schedule", "last values held", "difference", "population minus the recipe's own schedule"]]
    for name in names:
        if (found := named(name)) is None:
            continue
        for label, one in parts(name, found):
            part = one["schedule"]
            middle = [f"{sum(part[arm]) / len(part[arm]):.3f}" for arm in ("replayed", "held")]
            usual = one.get("ahead_of_scheduled")
            cells = [within(part["difference"], "+.3f"), "" if usual is None else within(usual, "+.3f")]
            lines.append([label, *middle, *cells])
    return spike_tables.markdown(lines) if len(lines) > 1 else ""


def fronts(_: Sequence[str]) -> str:
    """Hypervolumes of fronts, and how many networks they hand back."""
    found = spike_tables.read("population-pareto")
    if found is None:
        return ""
    lines = [["", "population", "random search", "ahead in", "difference", "on test", "networks, least and most"]]
    for name in ("digits", "mnist"):
        if (one := found.get(name)) is None:
            continue
        whole = one["reference"][0] * one["reference"][1]
        middle = [f"{sum(one[arm]) / len(one[arm]) / whole:.3f}" for arm in ("pbt", "random")]
        count = f"{one['ahead']} of {len(one['pbt'])}"
        cells = [within(each, "+.3f", 1 / whole) for each in (one["difference"], one["test"]["difference"])]
        held = one["networks"]
        sizes = "; ".join(f"{min(held[arm])}–{max(held[arm])}" for arm in ("pbt", "random"))
        lines.append([name, *middle, count, *cells, sizes])
    return spike_tables.markdown(lines)


MAKERS: dict[str, Any] = {"populations": against_random, "schedules": schedules, "fronts": fronts}
