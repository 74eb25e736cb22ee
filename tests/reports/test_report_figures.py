"""Figures hold the numbers they were given."""

from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest

from bitspike.reports import figures, pictures, text
from bitspike.reports.rundata import Reliability
from bitspike.reports.style import BLUE, VARIABLES, VERMILION, svg

BINS = Reliability(
    np.array([0.0, 0.5, 0.75, 1.0]),
    np.array([0.0, 10.0, 30.0]),
    np.array([math.nan, 0.5, 0.9]),
    np.array([math.nan, 0.6, 0.95]),
)


def test_curves_draw_each_line_and_the_mark() -> None:
    x = np.array([1.0, 2.0, 3.0])
    axes = figures.curves([("a", x, x / 4), ("b", x, x / 5)], "T", "epoch", percent=True, mark=2).axes[0]
    np.testing.assert_array_equal(axes.lines[0].get_xydata(), np.stack([x, x / 4], axis=1))
    np.testing.assert_array_equal(axes.lines[1].get_ydata(), x / 5)
    assert list(axes.lines[2].get_xdata()) == [2, 2]
    # Each name at the end of its line, outside the axes, with room between them.
    assert axes.get_legend() is None
    places = {text.get_text(): text.get_position() for text in axes.texts}
    assert places["a"][0] == places["b"][0] > 1
    assert places["a"][1] - places["b"][1] >= 0.08


def test_a_look_with_a_meaning_is_kept() -> None:
    x = np.array([1.0, 2.0])
    lines = [("a", x, x), ("validation", x, x + 1)]
    axes = figures.curves(lines, "T", "epoch", looks=[(BLUE, "-"), (VERMILION, "--")]).axes[0]
    assert [(line.get_color(), line.get_linestyle()) for line in axes.lines] == [(BLUE, "-"), (VERMILION, "--")]
    assert [text.get_color() for text in axes.texts] == [BLUE, VERMILION]
    assert list(figures.curves([("alone", x, x)], "T", "epoch").axes[0].texts) == []


def test_curves_over_decades_are_logarithmic() -> None:
    x = np.array([1.0, 2.0])
    wide, narrow = ([("a", x, np.array(y))] for y in ([0.01, 1.0], [0.5, 1.0]))
    assert figures.curves(wide, "T", "epoch").axes[0].get_yscale() == "log"
    assert figures.curves(narrow, "T", "epoch").axes[0].get_yscale() == "linear"
    crossing = [("a", x, np.array([-1.0, 100.0]))]
    assert figures.curves(crossing, "T", "epoch").axes[0].get_yscale() == "linear"


def test_reliability_leaves_empty_bins_out_and_counts_all_answers() -> None:
    upper, lower = figures.reliability(BINS, "T").axes
    # No line but the diagonal: a dot to a bin, its area the share of answers, hollow where they are few.
    assert len(upper.lines) == 1
    (many,) = upper.collections[2:]
    np.testing.assert_array_equal(many.get_offsets(), [[0.6, 0.5], [0.95, 0.9]])
    np.testing.assert_allclose(many.get_sizes(), [12 + 130 * 0.25, 12 + 130 * 0.75])
    right, wrong = lower.containers
    np.testing.assert_allclose([bar.get_height() for bar in right], [0, 5, 27])
    np.testing.assert_allclose([bar.get_height() for bar in wrong], [0, 5, 3])
    np.testing.assert_allclose([bar.get_width() for bar in wrong], [0.5, 0.25, 0.25])


def test_confusion_writes_counts_and_shades_mistakes() -> None:
    axes = figures.confusion(np.array([[9.0, 1.0], [0.0, 5.0]]), ["$a", "b"]).axes[0]
    assert sorted((t.get_position(), t.get_text()) for t in axes.texts) == [((0, 0), "9"), ((1, 0), "1"), ((1, 1), "5")]
    mistakes, right = (image.get_array()[..., 3] for image in axes.images)
    assert mistakes[1, 0] == mistakes[0, 0] == right[0, 1] == 0
    assert 0 < mistakes[0, 1] < right[1, 1]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["$a", "b"]


def test_regression_bands_are_sorted_by_x() -> None:
    x, mean, spread = np.array([2.0, 0.0, 1.0]), np.array([20.0, 0.0, 10.0]), np.array([1.0, 1.0, 2.0])
    axes = figures.spread_over_x(x, mean, spread, mean + 1).axes[0]
    np.testing.assert_array_equal(axes.lines[1].get_xydata(), [[0, 0], [1, 10], [2, 20]])
    outer = axes.collections[0].get_paths()[0].vertices
    assert {(1.0, 6.0), (1.0, 14.0)} <= {tuple(map(float, v)) for v in outer}


def test_raster_shows_every_spike_of_a_small_layer() -> None:
    spikes = np.array([[1, 0, 0], [0, 1, 1]], dtype=np.uint8)
    sample = pictures.Sample("3", np.eye(2), {"input": spikes}, np.array([[0.5, 0.5], [0.1, 0.9]]))
    image, shown, belief = pictures.raster([sample], ["a", "b"]).axes
    np.testing.assert_array_equal(image.images[0].get_array(), np.eye(2))
    np.testing.assert_array_equal(shown.images[0].get_array()[..., 3], spikes.T)
    assert shown.images[0].get_extent() == [0.5, 2.5, 0, 3]
    assert belief.texts[0].get_text() == "b"
    np.testing.assert_array_equal(belief.lines[1].get_ydata(), [0.5, 0.9])


def test_raster_thins_large_layers_evenly() -> None:
    spikes = np.zeros((4, 1000), dtype=np.uint8)
    spikes[:, [0, 999]] = 1
    (axes,) = pictures.raster([pictures.Sample("x", None, {"input": spikes})], []).axes
    drawn = axes.images[0].get_array()[..., 3]
    assert drawn.shape == (pictures.MOST_UNITS, 4)
    assert drawn[0].all()
    assert drawn[-1].all()


def test_weight_history_is_a_share_per_epoch() -> None:
    counts = np.array([[2.0, 6.0], [0.0, 4.0]])
    axes = pictures.weight_history(np.array([1, 2]), np.array([0, 0.5, 1]), {"w": counts}).axes[0]
    np.testing.assert_allclose(axes.images[0].get_array()[..., 3] ** 2, [[0.25, 0.0], [0.75, 1.0]])
    assert axes.images[0].get_extent() == [0.5, 2.5, 0, 1]


@pytest.mark.parametrize("epochs", [[5], [1, 2, 4]])
def test_weight_history_of_any_epochs(epochs: list[int]) -> None:
    counts = {f"w{k}": np.ones((len(epochs), 2)) for k in range(4)}
    made = pictures.weight_history(np.array(epochs), np.array([0, 0.5, 1]), counts)
    assert [axes.get_title(loc="left") for axes in made.axes[:4]] == ["w0", "w1", "w2", "w3"]


def test_predictive_map_orders_the_grid_and_fades_with_doubt() -> None:
    x = np.array([[1.0, 1.0], [0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    p = np.array([[0.0, 1.0], [1.0, 0.0], [0.5, 0.5], [0.75, 0.25]])
    first, second = pictures.predictive_map(x, p, ["a", "b"]).axes[0].images
    np.testing.assert_allclose(first.get_array()[..., 3], [[0.9, 0.0], [0.45, 0.0]], atol=1e-7)
    np.testing.assert_allclose(second.get_array()[..., 3], [[0.0, 0.0], [0.0, 0.9]], atol=1e-7)
    assert [image.get_gid() for image in (first, second)] == ["ink-blue", "ink-vermilion"]


def test_predictive_map_of_scattered_points() -> None:
    x = np.random.default_rng(0).random((7, 2))
    axes = pictures.predictive_map(x, np.full((7, 3), 1 / 3), ["a", "b", "c"]).axes[0]
    np.testing.assert_array_equal(axes.collections[0].get_offsets(), x)


def test_svg_is_well_formed_with_its_own_ids_and_the_pages_colours() -> None:
    drawn = svg(figures.reliability(BINS, "ünï <&> 漢"), "one")
    root = ET.fromstring(re.sub("xlink:", "", drawn))
    assert root.tag == "svg"
    assert "ünï <&> 漢" in "".join(root.itertext())
    ids = [element.attrib["id"] for element in root.iter() if "id" in element.attrib]
    assert ids
    assert all(name.startswith("one-") for name in ids)
    assert "var(--blue)" in drawn
    assert not any(colour in drawn for colour in VARIABLES)


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        (1.234e-6, "1.23 µJ"),
        (9.999e-7, "1.00 µJ"),
        (0.0, "0 J"),
        (None, "–"),
        (1500.0, "1.50 kJ"),
        (45.6e-9, "45.6 nJ"),
    ],
)
def test_si(value: float | None, wanted: str) -> None:
    assert text.si(value, "J").replace("\u202f", " ") == wanted


def test_words() -> None:
    assert text.percent(0.97222) == "97.2\u202f%"
    assert text.whole(1797) == "1,797"
    assert text.fixed(-0.5) == "−0.500"
    assert text.duration(3725) == "1\u202fh 2\u202fmin"
    assert text.duration(59.9) == "1\u202fmin 0\u202fs"
    assert text.ratio(1.0, 3.0) == "3 times less"
    assert text.ratio(3.0, 1.0) == "3 times more"
    assert text.ratio(1.0, 1.01) == "about the same"
    assert text.ratio(None, 1.0) == ""
    assert text.amount(81920).replace("\u202f", " ") == "10.2 kB"
