"""The page of early answers (early.json)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bitspike.errors import refuse
from bitspike.reports.measurement import Measurement, Progress, reading
from bitspike.reports.rundata import RunData, number
from bitspike.reports.sections import Section
from bitspike.reports.style import BLUE, INK, VERMILION, panel, percent_axis, styled, tell
from bitspike.reports.text import percent
from bitspike.reports.totals import NAMES, cheapest
from bitspike.tables.measurement import Early as Options

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_ROWS = 10_000


class Early(Measurement):
    """Each example stops where the network is sure enough."""

    file = Options.file

    def __init__(self, loss: float = 0.005, threshold: float | None = None) -> None:
        self.loss, self.threshold = loss, threshold

    def measure(self, run: Any, part: str, data: Path | None = None, progress: Progress = None) -> dict[str, Any]:
        """See `studies.early`."""
        from bitspike.studies.early import evaluate_early

        return evaluate_early(run, part, loss=self.loss, threshold=self.threshold, data=data, progress=progress)

    def lines(self, found: dict[str, Any]) -> Iterator[str]:
        """Steps, accuracy beside that of whole presentations, energy beside networks without spikes."""
        whole, difference, threshold = found["whole"], found["difference"], found["threshold"]
        where = f"where the answer is {threshold:.3f} sure" if threshold <= 1 else "no earlier stop keeps to the loss"
        yield (
            f"{found['examples']:,} {found['split']} examples, stopped after {found['mean_steps']:.2f} of "
            f"{found['steps']} steps on average ({where})"
        )
        ends = " to ".join(f"{100 * difference[end]:+.2f}" for end in ("low", "high"))
        said = f"{100 * difference['mean']:+.2f} points, {ends}"
        yield reading("accuracy", f"{percent(found['accuracy'], 2)}; whole {percent(whole['accuracy'], 2)} ({said})")
        for key in ("nll", "ece"):
            yield reading(key, f"{found[key]:.4f}; whole {whole[key]:.4f}")
        joules = {name: f"{1e9 * value:,.1f} nJ" for name, value in found["cost"].items()}
        beside = "; ".join(f"{what} {joules[name]}" for name, what in NAMES.items() if name in joules)
        yield reading("energy", f"{joules['network']}; whole {joules['whole']}; {beside}")
        less = ", at less accuracy than whole" if difference["high"] < 0 else ""
        yield reading("cheapest", _winner(found["cost"]) + less)

    @classmethod
    def check(cls, found: dict[str, Any], place: str) -> None:
        """Refuse what cannot be drawn."""
        for key in ("mean_steps", "accuracy", "threshold", "steps"):
            if number(found, key) is None:
                refuse(f"{place} {key}", type(found.get(key)).__name__, "a number")
        joules, whole = found.get("cost"), found.get("whole")
        if not isinstance(joules, dict) or any(number(joules, key) is None for key in ("network", "whole")):
            refuse(f"{place} cost", "another form", "network and whole")
        if not isinstance(whole, dict) or number(whole, "accuracy") is None:
            refuse(f"{place} whole", "another form", "an accuracy")
        rows, shares = found.get("curve"), found.get("stopped_at")
        wanted = ("mean_steps", "accuracy")
        if not isinstance(rows, list) or not 0 < len(rows) <= MOST_ROWS or not all(
            isinstance(row, dict) and all(number(row, key) is not None for key in wanted) for row in rows
        ):  # fmt: skip
            refuse(f"{place} curve", "rows of another form", f"a list of rows with {' and '.join(wanted)}")
        if not isinstance(shares, list) or not 0 < len(shares) <= MOST_ROWS or not all(
            number({"": share}, "") is not None for share in shares
        ):  # fmt: skip
            refuse(f"{place} stopped_at", "another form", "a share for each step")

    @classmethod
    def sections(cls, run: RunData, found: dict[str, Any]) -> list[Section]:
        """Accuracy over mean steps, and who stops when."""
        joules = found["cost"]
        caption = (
            "Left: each example stops at the first step at which the answer is sure enough; from a low threshold to "
            "one that is never reached. Dashed: whole presentations. Ringed: the threshold chosen on validation, with "
            f"which {found['mean_steps']:.2f} of {found['steps']:g} steps reach {percent(found['accuracy'], 2)} for "
            f"{1e9 * joules['network']:,.1f} nJ (whole: {percent(found['whole']['accuracy'], 2)}, "
            f"{1e9 * joules['whole']:,.1f} nJ; 45 nm arithmetic and neurons, analytic). Cheapest: {_winner(joules)}. "
            "Right: how many stop at each step."
        )
        return [Section("early", "Answers before the last step", caption, [_over_steps(found), _stops(found)])]


def _winner(joules: dict[str, float]) -> str:
    other = cheapest(joules)
    if other is None or joules["network"] < joules[other]:
        return "this network"
    return f"the network {NAMES[other]}, {1e9 * joules[other]:,.1f} nJ"


@styled
def _over_steps(found: dict[str, Any]) -> Figure:
    figure, axes = panel()
    rows = found["curve"]
    at, accuracy = ([row[key] for row in rows] for key in ("mean_steps", "accuracy"))
    axes.plot(at, accuracy, color=BLUE, marker="o", markersize=3)
    axes.axhline(found["whole"]["accuracy"], color=INK, linewidth=0.9, linestyle=(0, (4, 3)))
    axes.plot([found["mean_steps"]], [found["accuracy"]], "o", markersize=9, markerfacecolor="none", color=VERMILION)
    percent_axis(axes)
    title = "Accuracy over mean steps"
    axes.set(xlabel="mean steps", title=title)
    return tell(figure, f"{title}: {percent(found['accuracy'], 2)} at {found['mean_steps']:.2f} steps")


@styled
def _stops(found: dict[str, Any]) -> Figure:
    figure, axes = panel()
    shares = np.asarray(found["stopped_at"], dtype=float)
    axes.bar(np.arange(1, len(shares) + 1), shares, color=BLUE)
    percent_axis(axes)
    title = "Examples that stop at a step"
    axes.set(xlabel="step", title=title)
    return tell(figure, f"{title}: {percent(float(shares[0]), 1)} after the first")
