"""Tables of calibration with few data and under shift, for `make_tables`."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean, stdev
from typing import Any

import spike_tables
from event_tables import spread
from spike_tables import points, within

ARMS = {
    "st x 1": "straight-through",
    "st x 2": "- two averaged",
    "st x 5": "- five",
    "st x 10": "- ten",
    "bayes, MAP": "Bayesian, most probable",
    "bayes, 1 draw": "- one draw",
    "bayes, 2 draws": "- two draws",
    "bayes, 10 draws": "- ten draws",
    "bayes, by the step": "- one pass, a new draw at each step",
    "bayes, learned by the step": "- the same, learned so",
}
AGAINST = {
    "bayes_minus_st": "ten draws minus one network",
    "bayes_minus_st_x_10": "ten draws minus ten networks",
    "bayes_2_minus_st_x_2": "two draws minus two networks",
    "by_the_step_minus_st": "one pass, drawn by the step, minus one network",
    "learned_by_the_step_minus_st": "the same, learned so",
}


def few(names: Sequence[str]) -> str:
    """One metric of networks by training images; names: view and metric of `docs/small_data.py`, spaces as _."""
    view, metric = (name.replace("_", " ") for name in names)
    key = metric.replace(" ", "_")

    def cells(size: dict[str, Any], arm: str) -> str:
        values = [seed[view][key] for seed in size["arms"][arm]]
        found = {"mean": fmean(values), "std": stdev(values)}
        return spread(found, 100, 1) if key == "accuracy" else spread(found, 1, 3)

    return _by_size(ARMS, "weights", cells)


def few_differences(names: Sequence[str]) -> str:
    """Paired differences of one reading; names: its words."""
    reading = " ".join(names)

    def cells(size: dict[str, Any], arm: str) -> str:
        found = size[arm][reading]
        return points(found) if reading == "accuracy" else within(found, "+.3f")

    return _by_size(AGAINST, "difference", cells)


def _by_size(rows: dict[str, str], head: str, cell: Any) -> str:
    """A row for each arm, a column for each size; empty where nothing was measured."""
    found = spike_tables.read("small-data")
    if found is None:
        return ""
    sizes = found["curve"]
    lines = [[head, *(f"{int(size):,}" for size in sizes)]]
    lines += [[label, *(cell(one, arm) for one in sizes.values())] for arm, label in rows.items()]
    return spike_tables.markdown(lines)


MAKERS: dict[str, Any] = {"few": few, "few-differences": few_differences}
