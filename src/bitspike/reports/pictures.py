"""What the network sees and does: spike rasters, belief over the plane, and weights becoming certain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bitspike.reports.rundata import Array
from bitspike.reports.style import BLUE, CYCLE, INK, MUTED, VERMILION, panel, short, styled, whole_ticks

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure

MOST_UNITS = 96


@dataclass(frozen=True)
class Sample:
    """One presented example: its class, its image (H, W) if it is one, spikes (T, units) by layer, and the
    class probabilities after each step (T, C) if they are known."""

    label: str
    image: Array | None
    spikes: Mapping[str, Array]
    belief: Array | None = None


def _fading(colour: str) -> Colormap:
    """From transparent to a colour, so that light and dark pages both show through."""
    from matplotlib.colors import LinearSegmentedColormap, to_rgb

    red, green, blue = to_rgb(colour)
    return LinearSegmentedColormap.from_list("fading", [(red, green, blue, 0.0), (red, green, blue, 1.0)])


def _some(units: int, most: int = MOST_UNITS) -> Array:
    """Evenly spaced unit numbers, at most `most` of them."""
    return np.unique(np.linspace(0, units - 1, min(units, most)).round().astype(int))


@styled
def raster(samples: Sequence[Sample], classes: Sequence[str]) -> Figure:
    """One row per sample: image, then a raster (unit over time step) per layer, then the belief over time."""
    from matplotlib.figure import Figure

    layers = list(samples[0].spikes)
    images = samples[0].image is not None
    beliefs = samples[0].belief is not None
    columns = ["image"] * images + layers + ["belief"] * beliefs
    ratios = [0.75 if column == "image" else 1.5 for column in columns]
    figure = Figure(figsize=(8.8, 1.35 * len(samples) + 0.5), layout="constrained")
    grid = figure.subplots(len(samples), len(columns), squeeze=False, width_ratios=ratios)
    for row, sample in zip(grid, samples, strict=True):
        cells = dict(zip(columns, row, strict=True))
        for column, axes in cells.items():
            axes.grid(False)
            if column == "image" and sample.image is not None:
                _image(axes, sample.image)
            elif column == "belief" and sample.belief is not None:
                _belief(axes, sample.belief, classes)
            elif column in sample.spikes:
                _spikes(axes, sample.spikes[column])
        row[0].set_ylabel(short(sample.label, 12), rotation=0, ha="right", va="center", fontsize=11, color=INK)
    for axes, column in zip(grid[0], columns, strict=True):
        axes.set_title({"image": "shown", "belief": "probability"}.get(column, column))
    for axes, column in zip(grid[-1], columns, strict=True):
        if column != "image":
            axes.set_xlabel("time step")
    for axes in grid[:-1].ravel():
        axes.tick_params(labelbottom=False)
    return figure


def _bare(axes: Axes) -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    for edge in axes.spines.values():
        edge.set_visible(False)


def _image(axes: Axes, image: Array) -> None:
    axes.imshow(image, cmap="gray", interpolation="none")
    axes.set_anchor("N")
    _bare(axes)


def _spikes(axes: Axes, spikes: Array) -> None:
    """Spikes (T, units) as an image: time to the right, unit numbers upwards."""
    shown = spikes[:, _some(spikes.shape[1])].T.astype(float)
    steps = spikes.shape[0]
    axes.imshow(
        np.minimum(shown, 1),
        cmap=_fading(BLUE),
        vmin=0,
        vmax=1,
        aspect="auto",
        origin="lower",
        interpolation="none",
        extent=(0.5, steps + 0.5, 0, shown.shape[0]),
    )
    axes.set_yticks([])
    axes.spines["left"].set_visible(True)
    whole_ticks(axes)


def _belief(axes: Axes, belief: Array, classes: Sequence[str]) -> None:
    """Class probabilities (T, C) over time; the two that end highest are coloured and named."""
    steps = np.arange(1, len(belief) + 1)
    order = np.argsort(belief[-1])[::-1]
    for k in order[2:]:
        axes.plot(steps, belief[:, k], color=MUTED, linewidth=0.7, alpha=0.35)
    first, second = order[:2]
    for k, colour in ((second, VERMILION), (first, BLUE)):
        axes.plot(steps, belief[:, k], color=colour, linewidth=1.3)
    apart = belief[-1, first] - belief[-1, second] > 0.15
    for k, colour in ((first, BLUE), (second, VERMILION)):
        if k == first or apart:
            name = short(classes[k], 10)
            place = axes.get_yaxis_transform()
            axes.text(1.02, belief[-1, k], name, color=colour, transform=place, va="center", fontsize=8.5)
    axes.set(ylim=(-0.03, 1.03), yticks=[0, 1])
    whole_ticks(axes)


@styled
def weight_history(epochs: Array, edges: Array, counts: Mapping[str, Array]) -> Figure:
    """Heat map per weight tensor: share of its weights (colour) with each p(w = +1) (up) over epochs (right).

    epochs (E,), edges (K+1,) in [0, 1], counts: {tensor: (E, K)}.
    """
    from matplotlib.colors import PowerNorm
    from matplotlib.figure import Figure

    across = min(3, len(counts))
    down = -(-len(counts) // across)
    figure = Figure(figsize=(4.4 if across == 1 else 8.8, 2.4 * down + 0.35), layout="constrained")
    grid = figure.subplots(down, across, squeeze=False, sharex=True, sharey=True)
    shares = {name: n / np.maximum(n.sum(axis=1, keepdims=True), 1) for name, n in counts.items()}
    norm = PowerNorm(0.5, 0, max(float(share.max()) for share in shares.values()) or 1)
    middle = (epochs[1:] + epochs[:-1]) / 2
    first = epochs[0] - (epochs[1] - epochs[0]) / 2 if len(epochs) > 1 else epochs[0] - 0.5
    last = epochs[-1] + (epochs[-1] - epochs[-2]) / 2 if len(epochs) > 1 else epochs[0] + 0.5
    at = np.concatenate([[first], middle, [last]])
    for axes in grid.ravel()[len(counts) :]:
        axes.set_axis_off()
    for axes, (name, share) in zip(grid.ravel(), shares.items(), strict=False):
        mesh = axes.pcolormesh(at, edges, share.T, cmap=_fading(BLUE), norm=norm, rasterized=True)
        axes.set_title(short(name, 28))
        axes.set(yticks=[0, 0.5, 1], ylim=(0, 1))
        whole_ticks(axes)
    for axes in grid[:, 0]:
        axes.set_ylabel("p(w = +1)")
    for axes in grid[-1]:
        axes.set_xlabel("epoch")
    bar = figure.colorbar(mesh, ax=grid, shrink=0.9, aspect=28, pad=0.015)
    bar.outline.set_visible(False)
    bar.ax.set_title("share", fontsize=8.5, color=MUTED)
    bar.ax.yaxis.set_major_formatter(lambda share, _: f"{100 * share:.3g}\u202f%")
    return figure


@styled
def predictive_map(x: Array, probability: Array, classes: Sequence[str]) -> Figure:
    """Belief over the plane: x (M, 2), probability (M, C); colour the likeliest class, strength its probability."""
    from matplotlib.colors import to_rgb

    figure, axes = panel(4.4, 4.2)
    axes.grid(False)
    count = probability.shape[1]
    best = probability.argmax(axis=1)
    sure = (probability.max(axis=1) * count - 1) / (count - 1)
    colours = np.array([to_rgb(CYCLE[k % len(CYCLE)]) for k in range(count)])
    paint = np.concatenate([colours[best], 0.9 * np.clip(sure, 0, 1)[:, None]], axis=1)
    first, second = np.unique(x[:, 0]), np.unique(x[:, 1])
    if len(first) * len(second) == len(x):
        order = np.lexsort((x[:, 0], x[:, 1]))
        extent = (first[0], first[-1], second[0], second[-1])
        axes.imshow(
            paint[order].reshape(len(second), len(first), 4),
            origin="lower",
            extent=extent,
            aspect="auto",
            interpolation="none",
        )
    else:
        axes.scatter(x[:, 0], x[:, 1], c=paint, s=6, linewidths=0, rasterized=True)
    handles = [axes.scatter([], [], color=CYCLE[k % len(CYCLE)], s=22) for k in range(min(count, 8))]
    axes.legend(
        handles,
        [short(classes[k], 16) for k in range(len(handles))],
        loc="lower center",
        bbox_to_anchor=(0.5, 1.0),
        ncols=min(4, len(handles)),
        handletextpad=0.1,
        title="likelier class" if count == 2 else "likeliest class",
    )
    axes.set(xlabel="x₁", ylabel="x₂")
    return figure
