"""Curves, calibration, confusion and predictions: plain arrays in, a matplotlib Figure out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from bitspike.reports import style
from bitspike.reports.checked import Array
from bitspike.reports.rundata import Reliability
from bitspike.share import wilson

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Curve = tuple[str, Array, Array]
Look = tuple[str, str]  # colour and dashes
# Bins of fewer answers are drawn hollow: they say little.
FEW = 10


def look(k: int) -> Look:
    """The colour and dashes of the k-th of several lines: the same wherever it is drawn."""
    return style.CYCLE[k % len(style.CYCLE)], style.DASHES[k // len(style.CYCLE) % len(style.DASHES)]


@style.styled
def curves(
    lines: Sequence[Curve],
    title: str,
    x: str,
    *,
    percent: bool = False,
    mark: float | None = None,
    looks: Sequence[Look] = (),
    named: bool = True,
) -> Figure:
    """Lines (label, x (E,), y (E,)) over epochs or time steps; `mark` draws a dotted upright.

    looks: one per line, where it has a meaning of its own. named: several lines have their labels at their ends.
    """
    figure, axes = style.panel()
    looks = looks or [look(k) for k in range(len(lines))]
    for (label, at, values), (colour, dashes) in zip(lines, looks, strict=True):
        marker = "o" if len(at) <= 12 else ""
        axes.plot(at, values, dashes, color=colour, label=label, marker=marker, markersize=3.2)
    if mark is not None:
        axes.axvline(mark, color=style.MUTED, linewidth=0.8, linestyle=(0, (1, 2)))
    values = np.concatenate([y for _, _, y in lines])
    if not percent and values.min() > 0 and values.max() > 30 * values.min():
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.yaxis.set_minor_formatter(lambda value, _: "")
    if percent:
        style.percent_axis(axes)
    axes.set_title(title)
    axes.set_xlabel(x)
    style.whole_ticks(axes)
    axes.set(xlim=axes.get_xlim(), ylim=axes.get_ylim())
    if named and len(lines) > 1:
        style.ends(axes, [(label, y[-1], colour) for (label, _, y), (colour, _) in zip(lines, looks, strict=True)])
    said = [f"{label} from {_say(y[0], percent)} to {_say(y[-1], percent)}" for label, _, y in lines]
    return style.tell(figure, f"{title} over {x}s: {'; '.join(said)}".replace("seens", "seen"))


def _say(value: float, percent: bool = False) -> str:
    return f"{100 * value:.1f} %" if percent else f"{value:.4g}"


@style.styled
def reliability(bins: Reliability, title: str) -> Figure:
    """Accuracy against confidence, a dot to a bin; below, how many answers are in each."""
    figure = style.blank(style.PANEL[0], 4.5)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[3.2, 1])
    upper.plot([0, 1], [0, 1], color=style.GREY, linewidth=0.9, linestyle=(0, (4, 3)))
    filled = bins.count > 0
    said, right, count = bins.confidence[filled], bins.accuracy[filled], bins.count[filled]
    many = count >= FEW
    low, high = np.minimum(said, right)[many], np.maximum(said, right)[many]
    upper.vlines(said[many], low, high, color=style.VERMILION, linewidth=4, alpha=0.35)
    _dots(upper, bins, style.BLUE)
    upper.set(xlim=(0, 1.02), ylim=(0, 1.03), ylabel="right")
    upper.grid(axis="both")
    style.percent_axis(upper)
    upper.set_title(title)

    width = np.diff(bins.edges)
    hit = np.where(bins.count > 0, np.nan_to_num(bins.accuracy) * bins.count, 0)
    miss = bins.count - hit
    lower.bar(bins.edges[:-1], hit, width, align="edge", color=style.BLUE, alpha=0.75, edgecolor="none", label="right")
    lower.bar(bins.edges[:-1], miss, width, bottom=hit, align="edge", color=style.VERMILION, alpha=0.85, label="wrong")
    lower.set(xlabel="confidence", ylabel="answers")
    lower.grid(axis="y")
    # Names beside the bars, not on them.
    lower.text(1.015, 0.75, "wrong", color=style.VERMILION, transform=lower.transAxes, va="center", fontsize=8.5)
    lower.text(1.015, 0.35, "right", color=style.BLUE, transform=lower.transAxes, va="center", fontsize=8.5)
    style.percent_axis(lower, "x")
    bars = zip(said, right, count, strict=True)
    each = [f"says {_say(c, True)}, right {_say(a, True)} of {n:.0f}" for c, a, n in bars]
    return style.tell(figure, f"{title}. Answers by confidence: {'; '.join(each)}")


def _dots(axes: Axes, bins: Reliability, colour: str, intervals: bool = True) -> None:
    """A dot to a bin that has answers, its area their share, with its Wilson interval; hollow where they are few."""
    filled = bins.count > 0
    said, right, count = bins.confidence[filled], bins.accuracy[filled], bins.count[filled]
    if intervals:
        low, high = wilson(right, count)
        axes.vlines(said, low, high, color=colour, linewidth=0.9)
    areas = 12 + 130 * count / count.sum()
    edge: Any = {"edgecolors": colour, "linewidths": 0.9}
    for some, face in ((count >= FEW, colour), (count < FEW, style.PAPER)):
        if some.any():
            axes.scatter(said[some], right[some], areas[some], color=face, zorder=3, clip_on=False, **edge)


@style.styled
def reliability_over(runs: Sequence[tuple[str, Reliability]], title: str, looks: Sequence[Look] = ()) -> Figure:
    """Accuracy against confidence of several runs; a dot's area grows with the share of answers in its bin."""
    figure, axes = style.panel(style.PANEL[0], 4.2)
    axes.plot([0, 1], [0, 1], color=style.GREY, linewidth=0.9, linestyle=(0, (4, 3)))
    looks = looks or [look(k) for k in range(len(runs))]
    for (_, bins), (colour, dashes) in zip(runs, looks, strict=True):
        many = bins.count >= max(FEW, 0.01 * bins.count.sum())
        axes.plot(bins.confidence[many], bins.accuracy[many], dashes, color=colour, linewidth=1.0)
        _dots(axes, bins, colour, intervals=len(runs) <= 2)
    axes.set(xlim=(0, 1.02), ylim=(0, 1.03), xlabel="confidence", ylabel="right")
    axes.grid(axis="both")
    style.percent_axis(axes)
    style.percent_axis(axes, "x")
    axes.set_title(title)
    said = []
    for label, bins in runs:
        share = bins.count / bins.count.sum()
        gap = float(np.nansum(share * np.abs(np.nan_to_num(bins.accuracy) - np.nan_to_num(bins.confidence))))
        said.append(f"{label} is off by {_say(gap, True)} on average")
    return style.tell(figure, f"{title}: right against confidence. {'; '.join(said)}")


# Classes up to which names stand at the axes; beyond, numbers with a key.
NAMED = 40


@style.styled
def confusion(counts: Array, classes: Sequence[str]) -> Figure:
    """Counts (C, C), rows true and columns answered; shade: share of the row. Every class is labelled."""
    size = len(classes)
    side = min(9.0, max(4.3, 0.9 + 0.17 * size))
    figure, axes = style.panel(side + 0.1, side)
    axes.grid(False)
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    # A rare mistake must still be seen: the root lifts small shares, and only off the diagonal.
    right = np.eye(size, dtype=bool)
    style.ink_image(axes, np.where(right, 0, 0.9 * np.sqrt(share)), style.VERMILION)
    style.ink_image(axes, np.where(right, 0.85 * share, 0), style.BLUE)
    for edge in axes.spines.values():
        edge.set(visible=True, color=style.RULE)
    shown = [style.short(name, 16) for name in classes]
    if size > NAMED:
        shown = [str(k) for k in range(1, size + 1)]
    # Numbers of very many classes stand for those between them as well.
    step = 1 if size <= 100 else -(-size // 50)
    at = list(range(0, size, step))
    crowded = sum(len(shown[k]) + 2 for k in at) > 50
    axes.set_xticks(at, [shown[k] for k in at], rotation=90 if crowded else 0)
    axes.set_yticks(at, [shown[k] for k in at])
    axes.tick_params(length=0, labelsize=8.5 if size <= 12 else max(4.0, min(7.5, 300 / size)))
    axes.set(xlabel="answered", ylabel="true")
    letters = 8.5 if size <= 12 else 6
    if size <= NAMED:
        for (row, column), count in np.ndenumerate(counts):
            if count:
                ink = style.PAPER if share[row, column] > (0.6 if row == column else 0.35) else style.INK
                axes.text(column, row, f"{count:.0f}", ha="center", va="center", fontsize=letters, color=ink)
    total, hits = counts.sum(), np.trace(counts)
    said = f"Confusion of {size} classes: {hits:.0f} of {total:.0f} answers right"
    wrong = np.argsort(-np.where(right, 0, counts).ravel(), kind="stable")[:5]
    pairs = [(*divmod(int(k), size), counts.ravel()[k]) for k in wrong if not right.ravel()[k] and counts.ravel()[k]]
    said += "".join(f"; {classes[true]} taken for {classes[as_]}: {n:.0f}" for true, as_, n in pairs)
    return style.tell(figure, said)


@style.styled
def spread_over_x(
    x: Array, mean: Array, spread: Array, truth: Array, learned: tuple[Array, Array] | None = None, name: str = "x"
) -> Figure:
    """One-dimensional regression: mean (N,) with one and two spreads around it, and the true values, over x (N,).

    learned: x and y of the training points, (n,) each.
    """
    figure, axes = style.panel(8.8, 3.6)
    order = np.argsort(x)
    x, mean, spread, truth = x[order], mean[order], spread[order], truth[order]
    wide = mean + 2 * spread
    for times, alpha in ((2, 0.13), (1, 0.2)):
        low, high = mean - times * spread, mean + times * spread
        axes.fill_between(x, low, high, color=style.BLUE, alpha=alpha, linewidth=0, label=f"± {times} spread")
    axes.plot(x, truth, ".", color=style.VERMILION, markersize=3, label="true")
    axes.plot(x, mean, color=style.BLUE, label="predicted")
    labels = [("predicted", mean[-1], style.BLUE), ("± 2 spreads", wide[-1], style.BLUE)]
    labels.append(("true", truth[-1], style.VERMILION))
    said = f"Prediction over {len(x)} values of {name}: root-mean-square error {_say(_rms(mean - truth))}"
    said += f", mean spread {_say(float(spread.mean()))}"
    if learned is not None:
        how: Any = {"markersize": 3.6, "markerfacecolor": style.PAPER, "markeredgewidth": 0.8}
        axes.plot(*learned, "o", color=style.INK, label="training", **how)
        said += f"; {len(learned[0])} training points between {_say(learned[0].min())} and {_say(learned[0].max())}"
    axes.set(xlabel=name, ylabel="y")
    axes.set(xlim=axes.get_xlim(), ylim=axes.get_ylim())
    if learned is not None:
        labels.append(("○ training points", float(np.median(learned[1])), style.INK))
    style.ends(axes, labels, least=0.075)
    return style.tell(figure, said)


def _rms(errors: Array) -> float:
    return float(np.sqrt(np.mean(np.square(errors))))


@style.styled
def predicted_against_true(mean: Array, spread: Array, truth: Array, title: str) -> Figure:
    """Predicted against true value, all (N,), with the spread as whiskers; at most 500 points are drawn."""
    figure, axes = style.panel(style.PANEL[0], 4.0)
    some = np.linspace(0, len(truth) - 1, min(len(truth), 500)).astype(int)
    thin: Any = {"markersize": 2.5, "elinewidth": 0.6, "alpha": 0.6}
    axes.errorbar(truth[some], mean[some], spread[some], fmt="o", color=style.BLUE, **thin)
    limits = [min(truth.min(), mean.min()), max(truth.max(), mean.max())]
    axes.plot(limits, limits, color=style.GREY, linewidth=0.9, linestyle=(0, (4, 3)))
    axes.set(xlabel="true", ylabel="predicted")
    axes.grid(axis="both")
    axes.set_title(title)
    return style.tell(figure, f"{title}: {len(truth)} values, root-mean-square error {_say(_rms(mean - truth))}")
