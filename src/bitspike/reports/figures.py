"""Curves, calibration, confusion and predictions: plain arrays in, a matplotlib Figure out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from bitspike.reports.rundata import Array, Reliability
from bitspike.reports.style import (
    BLUE,
    CYCLE,
    DASHES,
    GREY,
    INK,
    MUTED,
    PANEL,
    RULE,
    VERMILION,
    panel,
    percent_axis,
    short,
    styled,
    whole_ticks,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Curve = tuple[str, Array, Array]


@styled
def curves(
    lines: Sequence[Curve],
    title: str,
    x: str,
    *,
    percent: bool = False,
    mark: float | None = None,
    colours: Sequence[str] = (),
) -> Figure:
    """Labelled lines (label, x (E,), y (E,)) over epochs or time steps; `mark` draws a dotted upright.

    colours: one per line, where a colour has a meaning of its own; else they only tell the lines apart.
    """
    figure, axes = panel()
    for k, (label, at, values) in enumerate(lines):
        marker = "o" if len(at) <= 12 else ""
        style = DASHES[k // len(CYCLE) % len(DASHES)]
        colour = colours[k] if colours else CYCLE[k % len(CYCLE)]
        axes.plot(at, values, style, color=colour, label=short(label, 40), marker=marker, markersize=3.2)
    if mark is not None:
        axes.axvline(mark, color=MUTED, linewidth=0.8, linestyle=(0, (1, 2)))
    values = np.concatenate([y for _, _, y in lines])
    if not percent and values.min() > 0 and values.max() > 30 * values.min():
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.yaxis.set_minor_formatter(lambda value, _: "")
    if percent:
        percent_axis(axes)
    if len(lines) > 1 or colours:
        _legend(axes, len(lines))
    axes.set_title(title)
    axes.set_xlabel(x)
    whole_ticks(axes)
    return figure


def _legend(axes: Axes, entries: int) -> None:
    """Inside where there is room; below the axes when there are many entries."""
    if entries <= 4:
        axes.legend(loc="best")
    else:
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=2)


def wilson(share: Array, count: Array, z: float = 1.96) -> tuple[Array, Array]:
    """Wilson's interval for a share seen in `count` trials (Wilson, 1927): lower and upper end."""
    middle = (share + z**2 / (2 * count)) / (1 + z**2 / count)
    half = z / (1 + z**2 / count) * np.sqrt(share * (1 - share) / count + z**2 / (4 * count**2))
    return middle - half, middle + half


@styled
def reliability(bins: Reliability, title: str) -> Figure:
    """Accuracy against confidence with the distance to the diagonal; below, how many answers are in each bin."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(PANEL[0], 4.5), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[3.2, 1])
    filled = bins.count > 0
    said, right, count = bins.confidence[filled], bins.accuracy[filled], bins.count[filled]
    low, high = wilson(right, count)
    upper.plot([0, 1], [0, 1], color=GREY, linewidth=0.9, linestyle=(0, (4, 3)))
    upper.vlines(said, np.minimum(said, right), np.maximum(said, right), color=VERMILION, linewidth=4, alpha=0.35)
    upper.vlines(said, low, high, color=BLUE, linewidth=0.9)
    upper.plot(said, right, color=BLUE, marker="o", markersize=4, linewidth=1.2)
    upper.set(xlim=(0, 1), ylim=(0, 1.02), ylabel="right")
    upper.grid(axis="both")
    percent_axis(upper)
    upper.set_title(title)

    width = np.diff(bins.edges)
    hit = np.where(bins.count > 0, np.nan_to_num(bins.accuracy) * bins.count, 0)
    lower.bar(bins.edges[:-1], hit, width, align="edge", color=BLUE, alpha=0.75, edgecolor="none", label="right")
    lower.bar(
        bins.edges[:-1], bins.count - hit, width, bottom=hit, align="edge", color=VERMILION, alpha=0.85, label="wrong"
    )
    lower.set(xlabel="confidence", ylabel="answers")
    lower.grid(axis="y")
    lower.legend(loc="upper left", ncols=2)
    percent_axis(lower, "x")
    return figure


@styled
def reliability_over(runs: Sequence[tuple[str, Reliability]], title: str) -> Figure:
    """Accuracy against confidence of several runs; a dot's area grows with the share of answers in its bin."""
    figure, axes = panel(PANEL[0], 4.2)
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=0.9, linestyle=(0, (4, 3)))
    for k, (label, bins) in enumerate(runs):
        filled = bins.count > 0
        said, right = bins.confidence[filled], bins.accuracy[filled]
        style, colour = DASHES[k // len(CYCLE) % len(DASHES)], CYCLE[k % len(CYCLE)]
        axes.plot(said, right, style, color=colour, linewidth=1.2, label=short(label, 40))
        axes.scatter(said, right, 6 + 70 * bins.count[filled] / bins.count.sum(), color=colour, linewidths=0)
    axes.set(xlim=(0, 1.02), ylim=(0, 1.02), xlabel="confidence", ylabel="right")
    axes.grid(axis="both")
    percent_axis(axes)
    percent_axis(axes, "x")
    axes.set_title(title)
    _legend(axes, len(runs))
    return figure


@styled
def confusion(counts: Array, classes: Sequence[str]) -> Figure:
    """Counts (C, C), rows true and columns answered; shade: share of the row."""
    size = len(classes)
    figure, axes = panel(PANEL[0], 4.3)
    axes.grid(False)
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    # A rare mistake must still be seen: the root lifts small shares, and only off the diagonal.
    paint = np.empty((size, size, 4))
    paint[:] = _rgba(VERMILION, 0.9 * np.sqrt(share))
    paint[np.arange(size), np.arange(size)] = _rgba(BLUE, 0.85 * np.diag(share))
    axes.imshow(paint, interpolation="nearest")
    for edge in axes.spines.values():
        edge.set(visible=True, color=RULE)
    step = max(1, int(np.ceil(size / 25)))
    shown = range(0, size, step)
    classes = [short(name, 16) for name in classes]
    crowded = sum(len(classes[k]) + 2 for k in shown) > 50
    axes.set_xticks(list(shown), [classes[k] for k in shown], rotation=90 if crowded else 0)
    axes.set_yticks(list(shown), [classes[k] for k in shown])
    axes.tick_params(length=0, labelsize=8.5 if size <= 12 else 6.5)
    axes.set(xlabel="answered", ylabel="true")
    if size <= 20:
        for (row, column), count in np.ndenumerate(counts):
            if count:
                strong = share[row, column] > (0.6 if row == column else 0.4)
                axes.text(
                    column,
                    row,
                    f"{count:.0f}",
                    ha="center",
                    va="center",
                    fontsize=8.5 if size <= 12 else 6,
                    color="white" if strong else INK,
                )
    return figure


def _rgba(colour: str, alpha: Array) -> Array:
    from matplotlib.colors import to_rgb

    return np.concatenate([np.broadcast_to(to_rgb(colour), (*alpha.shape, 3)), alpha[..., None]], axis=-1)


@styled
def spread_over_x(x: Array, mean: Array, spread: Array, truth: Array) -> Figure:
    """One-dimensional regression: mean (N,) with one and two spreads around it, and the true values, over x (N,)."""
    figure, axes = panel(8.8, 3.6)
    order = np.argsort(x)
    x, mean, spread, truth = x[order], mean[order], spread[order], truth[order]
    for times, alpha in ((2, 0.13), (1, 0.2)):
        low, high = mean - times * spread, mean + times * spread
        axes.fill_between(x, low, high, color=BLUE, alpha=alpha, linewidth=0, label=f"± {times} spread")
    axes.plot(x, truth, ".", color=VERMILION, markersize=3, label="true")
    axes.plot(x, mean, color=BLUE, label="predicted")
    axes.set(xlabel="x", ylabel="y")
    axes.legend(loc="best")
    return figure


@styled
def predicted_against_true(mean: Array, spread: Array, truth: Array, title: str) -> Figure:
    """Predicted against true value, all (N,), with the spread as whiskers; at most 500 points are drawn."""
    figure, axes = panel(PANEL[0], 4.0)
    some = np.linspace(0, len(truth) - 1, min(len(truth), 500)).astype(int)
    axes.errorbar(truth[some], mean[some], spread[some], fmt="o", color=BLUE, markersize=2.5, elinewidth=0.6, alpha=0.6)
    ends = [min(truth.min(), mean.min()), max(truth.max(), mean.max())]
    axes.plot(ends, ends, color=GREY, linewidth=0.9, linestyle=(0, (4, 3)))
    axes.set(xlabel="true", ylabel="predicted")
    axes.grid(axis="both")
    axes.set_title(title)
    return figure
