"""Figures of a run's page with the sentence that tells how to read each; None where the data is missing.

Those of its examples are in `examples`; `page` puts all in order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from bitspike.errors import refuse
from bitspike.reports import figures, pictures
from bitspike.reports.rundata import RunData, number
from bitspike.reports.style import BLUE, VERMILION, svg
from bitspike.reports.tables import Table
from bitspike.reports.text import NONE, fixed, percent, whole

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from bitspike.reports.moving import Moving

MOST_TENSORS = 6


@dataclass(frozen=True)
class Section:
    """One numbered figure of the page: its panels. `wide` spans the page and scrolls on a phone.

    table: its numbers, below the panels, behind the words `folded` where there are any. films: moving pictures.
    """

    key: str
    title: str
    caption: str
    drawn: Sequence[Figure]
    wide: bool = False
    table: Table | None = None
    folded: str = ""
    films: Sequence[Moving] = ()

    @cached_property
    def panels(self) -> list[str]:
        """Its panels as inline SVG; the key makes their ids unique on the page."""
        return [svg(figure, f"{self.key}-{k}") for k, figure in enumerate(self.drawn, start=1)]


def learning(run: RunData) -> Section | None:
    """Loss and accuracy (or rmse) over epochs."""
    kept, best = number(run.result, "kept_epoch"), number(run.result, "best_epoch")
    mark = kept if kept is not None and kept < len(run.epochs) else best
    losses = _curves(run, ("training loss", "train", "loss"), ("validation loss", "validation", "loss"))
    if not any(label.startswith("validation") for label, _, _ in losses):
        losses += _curves(run, ("validation NLL", "validation", "nll"))
    name, title = ("rmse", "Root-mean-square error") if run.is_regression else ("accuracy", "Accuracy")
    scores = _curves(run, ("training", "train", name), ("validation", "validation", name))
    drawn = []
    for lines, heading, percents in ((losses, "Loss", False), (scores, title, name == "accuracy")):
        if lines:
            looks = [(VERMILION if label.startswith("validation") else BLUE, "-") for label, _, _ in lines]
            lines = [(label.removesuffix(" loss"), at, values) for label, at, values in lines]
            heading = f"{heading} on {lines[0][0]}" if len(lines) == 1 else heading
            drawn.append(figures.curves(lines, heading, "epoch", percent=percents, mark=mark, looks=looks))
    if not drawn:
        return None
    caption = (
        "Training: examples it learns from. Validation: examples it does not learn from. "
        "If training goes on improving while validation does not, it has begun to learn by heart."
    )
    if mark is not None:
        caption += f" The dotted line marks epoch {mark:.0f}, "
        caption += "the one that was kept." if mark == kept else "the best on validation."
    return Section("learning", "How it learned", caption, drawn)


def _curves(run: RunData, *wanted: tuple[str, str, str]) -> list[figures.Curve]:
    found = [(label, *run.curve(split, name)) for label, split, name in wanted]
    return [curve for curve in found if len(curve[1])]


def reliability(run: RunData) -> Section | None:
    """Reliability diagrams of what is shipped and, where a temperature changes it, of what it was before."""
    drawn = []
    raw, scaled = run.reliability(), run.reliability("reliability_scaled")
    changed = scaled is not None and raw is not None and abs(run.temperature - 1) > 1e-6
    if shipped := run.shipped_reliability():
        title = f"As shipped, ECE {fixed(number(run.shipped_reading, 'ece'))}"
        drawn.append(figures.reliability(shipped, title))
    if changed and raw is not None:
        title = f"Before temperature scaling, ECE {fixed(number(run.result, 'test', 'ece'))}"
        drawn.append(figures.reliability(raw, title))
    if not drawn:
        return None
    caption = (
        "Each dot gathers the test answers given with about the same confidence; its height is the share of them "
        "that is right, its area how many they are. On the dashed line the network keeps its word; below it is "
        f"over-confident, above it under-confident (shaded: by how much). Whiskers are 95 % Wilson intervals; a hollow "
        f"dot has fewer than {figures.FEW} answers and says little. The bars below count the answers."
    )
    if changed:
        caption += f" One temperature, {run.temperature:.2f}, fitted on validation, is shipped with the network."
    return Section("reliability", "Does it keep its word?", caption, drawn)


def time_steps(run: RunData) -> Section | None:
    """Accuracy and ECE (or rmse) after each time step."""
    drawn = []
    before = ", before its temperature" if abs(run.temperature - 1) > 1e-6 else ""
    titles = (("accuracy", "Accuracy"), ("ece", f"Calibration error (ECE){before}"))
    if run.is_regression:
        titles = (("rmse", "Root-mean-square error"), ("nll", "Negative log-likelihood"))
    for name, title in titles:
        at, values = run.over_time(name)
        if len(at) > 1:
            line = [(title, at, values)]
            drawn.append(figures.curves(line, title, "time steps seen", percent=name == "accuracy"))
    if not drawn:
        return None
    caption = (
        "A spiking network answers after every time step and may be stopped at any of them. "
        "Where the curve is flat, later steps cost energy and bring nothing."
    )
    return Section("time", "What waiting brings", caption, drawn)


def plane(run: RunData) -> Section | None:
    """Class probabilities over a two-dimensional input."""
    x, probability = run.array("grid_x", 2), run.array("grid_probability", 2)
    if x is None or probability is None or x.shape[1] != 2 or probability.shape[1] < 2:
        return None
    if len(x) != len(probability):
        came = f"{len(probability)} rows for {len(x)} points"
        refuse(f"{run.path / 'predictions.npz'} grid_probability", came, "one row per grid_x")
    drawn = [pictures.predictive_map(x, run.tempered(probability), run.classes(probability.shape[1]))]
    caption = (
        "Colour shows the likeliest class at each point, and strength how sure the network is: "
        "full colour is certainty, none is a guess. Doubt should lie between the classes and far from all data."
    )
    return Section("plane", "What it believes, everywhere", caption, drawn)


def weights(run: RunData) -> Section | None:
    """Histograms of p(w = +1) over training, by weight tensor; for Bayesian weights only."""
    epochs, edges = run.history.get("epochs"), run.history.get("edges")
    counts = {key.removeprefix("counts/"): n for key, n in run.history.items() if key.startswith("counts/")}
    if epochs is None or edges is None or not counts or len(epochs) == 0:
        return None
    for name, axis in (("epochs", epochs), ("edges", edges)):
        if (np.diff(axis.astype(float)) <= 0).any() or len(axis) < (2 if name == "edges" else 1):
            refuse(f"{run.path / 'history.npz'} {name}", "numbers that do not rise", "rising ones")
    for name, found in counts.items():
        if found.shape != (len(epochs), len(edges) - 1):
            wanted = f"({len(epochs)}, {len(edges) - 1})"
            refuse(f"{run.path / 'history.npz'} counts/{name}", f"shape {found.shape}", wanted)
    largest = sorted(counts, key=lambda name: -int(counts[name][0].sum()))[:MOST_TENSORS]
    drawn = [pictures.weight_history(epochs, edges, {name: counts[name] for name in counts if name in largest})]
    caption = (
        "Each weight is +1 with a probability of its own: in the middle it is undecided, at 0 or 1 certain. "
        "The stronger the ink, the more of the tensor's weights have that probability after that epoch."
    )
    if len(largest) < len(counts):
        caption += f" Shown are the {len(largest)} largest of {len(counts)} weight tensors."
    return Section("weights", "How the weights made up their minds", caption, drawn, wide=len(largest) > 1)


def confusion(run: RunData) -> Section | None:
    """Confusion matrix with class names; of many classes, its commonest mistakes and a key to the numbers."""
    rows = run.result.get("confusion")
    if not rows:
        return None
    try:
        counts = np.array(rows, dtype=float)
    except (TypeError, ValueError, OverflowError):
        counts = np.empty(0)
    if counts.ndim != 2 or counts.shape[0] != counts.shape[1]:
        refuse(f"{run.path / 'result.json'} confusion", "rows of unequal length", "a square table of counts")
    if not ((counts >= 0) & (counts < 1e15)).all():
        refuse(f"{run.path / 'result.json'} confusion", "an entry that is no count", "a square table of counts")
    classes = run.classes(len(counts))
    wrong = counts * (1 - np.eye(len(counts)))
    total = counts.sum()
    share = percent(float(wrong.sum() / total)) if total else NONE
    caption = (
        f"Rows: what it was. Columns: what the network answered. {whole(float(wrong.sum()))} of {whole(float(total))} "
        f"answers ({share}) are off the diagonal."
    )
    if wrong.any():
        true, answered = np.unravel_index(int(wrong.argmax()), wrong.shape)
        often = int(wrong[true, answered])
        times = "once" if often == 1 else "twice" if often == 2 else f"{often} times"
        caption += f" The commonest mistake: {classes[true]} taken for {classes[answered]}, {times}."
    key = None
    if len(classes) > figures.NAMED:
        caption += " The classes are numbered; the key is below."
        rows = [[str(k + 1), c, whole(counts[k, k]), whole(counts[k].sum())] for k, c in enumerate(classes)]
        key = Table(["number", "class", "right", "of"], rows)
    drawn, wide = [figures.confusion(counts, classes)], len(counts) > 16
    return Section("confusion", "What it takes for what", caption, drawn, wide, key, "Key to the classes")
