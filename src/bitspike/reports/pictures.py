"""What the network sees and does: spike rasters, belief over the plane, and weights becoming certain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from bitspike.reports import style
from bitspike.reports.checked import Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_UNITS = 96


# Channels of an input up to which each is a trace of its own; more are a heat map.
TRACES = 4


@dataclass(frozen=True)
class Sample:
    """One presented example: its class, its image (H, W) if it is one, spikes (T, units) by layer, the class
    probabilities after each step (T, C) if they are known, and the real input (T, channels) if there is one."""

    label: str
    image: Array | None
    spikes: Mapping[str, Array]
    belief: Array | None = None
    given: Array | None = None


@style.styled
def raster(samples: Sequence[Sample], classes: Sequence[str]) -> Figure:
    """One row per sample: image, real input, then a raster (unit over time step) per layer, then the belief."""
    first = samples[0]
    columns = ["shown"] * (first.image is not None) + ["input"] * (first.given is not None)
    columns += [name for name in first.spikes if name not in columns] + ["probability"] * (first.belief is not None)
    ratios = [0.75 if column == "shown" else 1.5 for column in columns]
    figure = style.blank(8.8, 1.35 * len(samples) + 0.5)
    grid = figure.subplots(len(samples), len(columns), squeeze=False, width_ratios=ratios)
    reach = ranges([sample.given for sample in samples if sample.given is not None], first.image is not None)
    for row, sample in zip(grid, samples, strict=True):
        for axes, column in zip(row, columns, strict=True):
            axes.grid(False)
            if column == "shown" and sample.image is not None:
                _image(axes, sample.image)
            elif column == "input" and sample.given is not None:
                _given(axes, sample.given, *reach)
            elif column == "probability" and sample.belief is not None:
                _belief(axes, sample.belief, classes)
            elif column in sample.spikes:
                _spikes(axes, sample.spikes[column])
        row[0].set_ylabel(
            style.short(sample.label, 12), rotation=0, ha="right", va="center", fontsize=11, color=style.INK
        )
    for axes, column in zip(grid[0], columns, strict=True):
        axes.set_title(column)
    for axes, column in zip(grid[-1], columns, strict=True):
        if column != "shown":
            axes.set_xlabel("time step")
    for axes in grid[:-1].ravel():
        axes.tick_params(labelbottom=False)
    fired = {name: float(np.mean([(s.spikes[name] != 0).mean() for s in samples])) for name in first.spikes}
    steps = len(next(iter(first.spikes.values())))
    said = (
        f"{len(samples)} test examples ({', '.join(style.short(s.label, 24) for s in samples)}) over {steps} time steps"
    )
    said += "".join(f"; {name}: {100 * share:.1f} % of places and steps not zero" for name, share in fired.items())
    return style.tell(figure, said)


def ranges(given: Sequence[Array], common: bool) -> tuple[Array, Array]:
    """The least and the largest value of each channel of inputs (T, channels), or of all of them where `common`.

    A few traces that are of like size share an axis.
    """
    if not given:
        return np.zeros(0), np.ones(0)
    low, high = np.min([x.min(axis=0) for x in given], axis=0), np.max([x.max(axis=0) for x in given], axis=0)
    width = (high - low)[high > low]
    alike = len(low) <= TRACES and (len(width) == 0 or high.max() - low.min() <= 10 * width.min())
    if common or alike:
        low, high = np.full_like(low, low.min()), np.full_like(high, high.max())
    return low, high


def _given(axes: Axes, given: Array, low: Array, high: Array) -> None:
    """A real input (T, channels): its traces, or where there are many a heat map, each from low to high (channels,)."""
    steps, width = np.arange(1, len(given) + 1), np.where(high > low, high - low, 1)
    share = (given - low) / width
    if given.shape[1] <= TRACES:
        shared = bool((low == low[0]).all() and (high == high[0]).all())
        for k in range(given.shape[1]):
            shown = given[:, k] if shared else share[:, k]
            axes.plot(steps, shown, color=style.CYCLE[k], linewidth=1.0, marker="." if len(given) == 1 else "")
        bottom, top = (low[0], low[0] + width[0]) if shared else (0.0, 1.0)
        room = 0.06 * (top - bottom)
        axes.set(xlim=(0.5, len(given) + 0.5), ylim=(bottom - room, top + room))
        axes.tick_params(axis="y", labelsize=7)
        axes.locator_params(axis="y", nbins=3)
        if not shared:
            axes.set_yticks([])
    else:
        _heat(axes, share.T, len(given))
        axes.set_yticks([])
    style.whole_ticks(axes)


def _heat(axes: Axes, strength: Array, steps: int) -> None:
    """(units, T) from -1 to 1: blue where it is positive, vermilion where it is negative."""
    extent = (0.5, steps + 0.5, 0, len(strength))
    for sign, colour in ((1, style.BLUE), (-1, style.VERMILION)):
        if sign > 0 or (strength < 0).any():
            style.ink_image(axes, np.maximum(sign * strength, 0), colour, aspect="auto", origin="lower", extent=extent)


def _image(axes: Axes, image: Array) -> None:
    axes.imshow(image, cmap="gray", interpolation="none")
    axes.set_anchor("N")
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)


def _spikes(axes: Axes, spikes: Array) -> None:
    """Spikes (T, units) as an image: time to the right, unit numbers upwards; whole numbers by their size."""
    units = spikes.shape[1]
    some = np.unique(np.linspace(0, units - 1, min(units, MOST_UNITS)).round().astype(int))
    shown = spikes[:, some].T.astype(float)
    _heat(axes, shown / max(1.0, float(np.abs(shown).max())), len(spikes))
    axes.set_yticks([])
    axes.spines["left"].set_visible(True)
    style.whole_ticks(axes)


def _belief(axes: Axes, belief: Array, classes: Sequence[str]) -> None:
    """Class probabilities (T, C) over time; the two that end highest are coloured and named."""
    steps = np.arange(1, len(belief) + 1)
    order = np.argsort(belief[-1])[::-1]
    for k in order[2:]:
        axes.plot(steps, belief[:, k], color=style.MUTED, linewidth=0.7, alpha=0.35)
    first, second = order[:2]
    for k, colour in ((second, style.VERMILION), (first, style.BLUE)):
        axes.plot(steps, belief[:, k], color=colour, linewidth=1.3)
    apart = belief[-1, first] - belief[-1, second] > 0.15
    for k, colour in ((first, style.BLUE), (second, style.VERMILION)):
        if k == first or apart:
            name = style.short(classes[k], 14)
            place = axes.get_yaxis_transform()
            axes.text(1.02, belief[-1, k], name, color=colour, transform=place, va="center", fontsize=8.5)
    axes.set(ylim=(-0.03, 1.03), yticks=[0, 1])
    style.whole_ticks(axes)


@dataclass(frozen=True)
class Read:
    """A series (T, channels) that was read, and at its end the true value, the predicted one and its spread."""

    given: Array
    truth: float
    mean: float
    spread: float


@style.styled
def series(examples: Sequence[Read], ahead: int | None) -> Figure:
    """Each series, and the answer `ahead` steps after it; None: beside it, on an axis of its own."""
    across = 1 if len(examples) == 1 else 2
    down = -(-len(examples) // across)
    figure = style.blank(8.8, 1.75 * down + 0.4)
    parts = 1 if ahead else 2
    ratios = ([4.0] if ahead else [4.0, 1.0]) * across
    grid = figure.subplots(down, across * parts, squeeze=False, width_ratios=ratios)
    low, high = min(e.mean - 2 * e.spread for e in examples), max(e.mean + 2 * e.spread for e in examples)
    low, high = min(low, *(e.truth for e in examples)), max(high, *(e.truth for e in examples))
    room = 0.08 * (high - low or 1)
    for cells in grid.ravel()[len(examples) * parts :]:
        cells.set_axis_off()
    for k, example in enumerate(examples):
        cells = grid.ravel()[k * parts : (k + 1) * parts]
        steps, channels = np.arange(1, len(example.given) + 1), example.given.shape[1]
        for channel in range(min(channels, TRACES)):
            ink = style.MUTED if channels == 1 else style.CYCLE[channel]
            cells[0].plot(steps, example.given[:, channel], color=ink, linewidth=1)
        cells[0].grid(False)
        at = len(steps) + ahead if ahead else 0
        for times, width in ((2, 1.0), (1, 3.0)):
            cells[-1].vlines(at, example.mean - times * example.spread, example.mean + times * example.spread,
                             color=style.BLUE, linewidth=width)  # fmt: skip
        cells[-1].plot([at], [example.mean], "o", color=style.BLUE, markersize=4)
        cells[-1].plot([at], [example.truth], "o", color=style.VERMILION, markersize=8, markerfacecolor="none")
        if parts == 2:
            cells[1].set(xticks=[], xlim=(-1, 1), ylim=(low - room, high + room), title="answer" if k < across else "")
            cells[1].grid(False)
        if k >= len(examples) - across:
            cells[0].set_xlabel("time step")
        style.whole_ticks(cells[0])
    said = "; ".join(f"true {e.truth:.4g}, predicted {e.mean:.4g} ± {e.spread:.2g}" for e in examples)
    return style.tell(figure, f"{len(examples)} series of {len(examples[0].given)} steps with their answers: {said}")


@style.styled
def weight_history(epochs: Array, edges: Array, counts: Mapping[str, Array]) -> Figure:
    """Heat map per weight tensor: share of its weights (ink) with each p(w = +1) (up) over epochs (right).

    epochs (E,), edges (K+1,) in [0, 1], counts: {tensor: (E, K)}. Epochs are equally wide, bins too.
    """
    across = min(3, len(counts))
    down = -(-len(counts) // across)
    figure = style.blank(4.4 if across == 1 else 8.8, 2.4 * down + 0.35)
    grid = figure.subplots(down, across, squeeze=False, sharex=True, sharey=True)
    shares = {name: n / np.maximum(n.sum(axis=1, keepdims=True), 1) for name, n in counts.items()}
    most = max(float(share.max()) for share in shares.values()) or 1.0
    half = 0.5 * (epochs[-1] - epochs[0]) / max(1, len(epochs) - 1) if len(epochs) > 1 else 0.5
    extent = (epochs[0] - half, epochs[-1] + half, edges[0], edges[-1])
    for axes in grid.ravel()[len(counts) :]:
        axes.set_axis_off()
    for axes, (name, share) in zip(grid.ravel(), shares.items(), strict=False):
        axes.grid(False)
        # The root, so that rare probabilities are seen too.
        style.ink_image(axes, np.sqrt(share.T / most), style.BLUE, aspect="auto", origin="lower", extent=extent)
        axes.set_title(style.short(name, 28))
        axes.set(yticks=[0, 0.5, 1], ylim=(0, 1))
        style.whole_ticks(axes)
    for axes in grid[:, 0]:
        axes.set_ylabel("p(w = +1)")
    for axes in grid[-1]:
        axes.set_xlabel("epoch")
    sure = {name: float(share[-1][(edges[:-1] < 0.1) | (edges[1:] > 0.9)].sum()) for name, share in shares.items()}
    said = "".join(f"; {style.short(name, 40)}: {100 * part:.0f} %" for name, part in sure.items())
    words = f"Probabilities p(w = +1) of weights over epochs; full ink is {100 * most:.3g} % of a tensor's weights"
    return style.tell(figure, f"{words}. Surer than 90 % at the end{said}")


@style.styled
def predictive_map(x: Array, probability: Array, classes: Sequence[str]) -> Figure:
    """Belief over the plane: x (M, 2), probability (M, C); colour the likeliest class, strength its probability."""
    figure, axes = style.panel(4.4, 4.2)
    axes.grid(False)
    count = probability.shape[1]
    best = probability.argmax(axis=1)
    strength = 0.9 * np.clip((probability.max(axis=1) * count - 1) / max(1, count - 1), 0, 1)
    first, second = np.unique(x[:, 0]), np.unique(x[:, 1])
    square = len(first) * len(second) == len(x)
    order = np.lexsort((x[:, 0], x[:, 1]))
    for k, colour in enumerate(style.CYCLE):
        mine = best % len(style.CYCLE) == k
        if square and mine.any():
            extent = (first[0], first[-1], second[0], second[-1])
            paint = np.where(mine, strength, 0)[order].reshape(len(second), len(first))
            style.ink_image(axes, paint, colour, origin="lower", extent=extent, aspect="auto")
        elif mine.any():
            axes.scatter(x[mine, 0], x[mine, 1], color=colour, alpha=strength[mine], s=6, linewidths=0)
    handles = [axes.scatter([], [], color=style.CYCLE[k % len(style.CYCLE)], s=22) for k in range(min(count, 8))]
    names = [style.short(name, 16) for name in classes[: len(handles)]]
    title = "likelier class" if count == 2 else "likeliest class"
    place: Any = {"loc": "lower center", "bbox_to_anchor": (0.5, 1.0), "ncols": min(4, len(handles))}
    axes.legend(handles, names, handletextpad=0.1, title=title, **place)
    axes.set(xlabel="x₁", ylabel="x₂")
    shares = [f"{style.short(classes[k], 24)} on {100 * (best == k).mean():.0f} %" for k in range(min(count, 8))]
    doubt = f"{100 * (strength < 0.45).mean():.0f} % of it is nearer to a guess than to certainty"
    return style.tell(figure, f"Likeliest class over the plane: {', '.join(shares)}; {doubt}")
