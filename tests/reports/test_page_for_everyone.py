"""Pages can be read by day, by night, on a phone, in print and aloud."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from bitspike.reports import compare, examples, figures, report
from bitspike.reports.rundata import read_run
from bitspike.reports.style import BLUE, CYCLE, DARK, LIGHT, PAPER, PRINT, VARIABLES, ink_image, panel, svg
from bitspike.reports.text import percent, ships, summary

MakeRun = Callable[..., Path]
TEXT_INKS = [name for name in VARIABLES.values() if name not in ("rule", "paper")]


class Tree(HTMLParser):
    """Each tag with its attributes and the tags it stands in."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.seen: list[tuple[str, dict[str, str | None], list[str]]] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.seen.append((tag, found, list(self.open)))
        if tag not in ("meta", "br", "link"):
            self.open.append(f"{tag}.{found.get('class') or ''}")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs), list(self.open)))

    def handle_endtag(self, tag: str) -> None:
        self.open.pop()


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory, write: MakeRun) -> str:
    return report(write(tmp_path_factory.mktemp("page") / "run")).read_text(encoding="utf-8")


def luminance(ink: str) -> float:
    """Relative luminance of "#rrggbb" (WCAG 2.2)."""
    parts = [int(ink[k : k + 2], 16) / 255 for k in (1, 3, 5)]
    red, green, blue = (x / 12.92 if x <= 0.04045 else ((x + 0.055) / 1.055) ** 2.4 for x in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(a: str, b: str) -> float:
    low, high = sorted((luminance(a), luminance(b)))
    return (high + 0.05) / (low + 0.05)


def test_contrast_by_hand() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize("inks", [LIGHT, DARK, PRINT], ids=["light", "dark", "print"])
def test_every_ink_can_be_read_as_text(inks: dict[str, str]) -> None:
    assert set(VARIABLES.values()) <= set(inks)
    low = {name: round(contrast(inks[name], inks["paper"]), 2) for name in TEXT_INKS}
    assert min(low.values()) >= 4.5, low


def test_no_ink_is_fixed_outside_the_variables(page: str) -> None:
    declared = re.sub(r"--[a-z]+: #[0-9a-f]{6};", "", page)
    assert re.findall(r"#[0-9a-fA-F]{3,8}\b(?=[;\"' )])", re.sub(r"base64,[^\"]*", "", declared)) == []
    assert "fill: white" not in page
    inks = set(re.findall(r"var\(--([a-z]+)\)", page))
    assert inks <= set(LIGHT) | {"serif", "sans", "mono"}
    assert "@media screen and (prefers-color-scheme: dark)" in page


def test_a_picture_of_one_ink_follows_the_page() -> None:
    figure, axes = panel()
    ink_image(axes, np.array([[0.0, 1.0]]), BLUE)
    drawn = svg(figure, "x")
    (mask,) = re.findall(r'<mask id="(x-[^"]*)"', drawn)
    assert f'fill="var(--blue)" mask="url(#{mask})"' in drawn


def test_figures_say_what_they_show(page: str) -> None:
    heads = re.findall(
        r'<svg [^>]*?role="img" aria-labelledby="([^"]*)"[^>]*><title id="([^"]*)">([^<]*)</title>', page
    )
    assert len(heads) == page.count("<svg")
    assert all(by == name for by, name, _ in heads)
    said = " ".join(text for _, _, text in heads)
    assert "Accuracy over epochs: training from 60.0 % to 80.0 %; validation from 50.0 % to 70.0 %" in said
    assert "Confusion of 3 classes" in said
    assert "2 test examples" in said


def test_tables_and_wide_figures_scroll_within_themselves(page: str) -> None:
    tree = Tree(page)
    tables = [parents for tag, _, parents in tree.seen if tag == "table"]
    assert tables
    assert all(parents[-1] == "div.scroll" for parents in tables)
    scrolls = [found for tag, found, _ in tree.seen if tag == "div" and found.get("class") == "scroll"]
    assert all(found.get("tabindex") == "0" and found.get("aria-label") for found in scrolls)
    wide = len(re.findall(r'<figure [^>]*class="wide"', page))
    tall = sum(len(re.findall("<th ", head)) > 3 for head in re.findall(r"<thead>.*?</thead>", page))
    assert page.count('<p class="hint">') == wide + tall > 0
    assert ".hint { display: block; }" in page.split("max-width: 44rem) {")[-1]


def test_print_shows_what_is_folded(page: str) -> None:
    tree = Tree(page)
    assert sum(tag == "details" for tag, _, _ in tree.seen) >= 6
    # What a summary opens stands beside its details, hidden on a screen only.
    inside = [parents for tag, found, parents in tree.seen if tag == "div" and found.get("class") == "inside"]
    assert len(inside) == sum(tag == "details" for tag, _, _ in tree.seen)
    assert not any(parent.startswith("details") for parents in inside for parent in parents)
    assert "@media screen { details:not([open]) + .inside { display: none; } }" in page
    assert "--paper: #ffffff" in page.split("@media print")[1]


def test_the_lead_says_what_is_shipped(make_run: MakeRun) -> None:
    run = make_run()
    result = json.loads((run / "result.json").read_text())
    bins = {"edges": [0.0, 0.5, 1.0], "count": [41, 19], "accuracy": [1.0, 0.5], "confidence": [0.3, 0.8]}
    scaled = {**bins, "confidence": [0.3, 0.95]}
    result |= {"reliability": bins, "reliability_scaled": scaled}
    (run / "result.json").write_text(json.dumps(result))
    found = read_run(run)
    assert (
        f"On average it says {percent((41 * 0.3 + 19 * 0.95) / 60)} and is right {percent(50.5 / 60)} of the time."
        in summary(found)
    )
    assert ships(found).startswith("Shipped with temperature 1.30")
    result["shipped"] = {"answer": "map", "draws": 1, "temperature": 1.3, "why": "the MAP weights: right more often."}
    (run / "result.json").write_text(json.dumps(result))
    found = read_run(run)
    assert "±1 weights, the most probable of a learnt distribution" in summary(found)
    assert ships(found) == "Shipped: the MAP weights: right more often."


def test_warnings_come_first_and_opponents_stand_beside(make_run: MakeRun) -> None:
    run = make_run()
    for name in ("predictions.npz", "history.npz", "metrics.jsonl"):
        (run / name).unlink()
    result = json.loads((run / "result.json").read_text())
    kept = {name: result[name] for name in ("test", "test_map", "epochs")}
    kept["warnings"] = ["logistic regression is right on 95.0% of the <b>"]
    kept["baselines"] = {"majority": {"accuracy": 0.35, "nll": 1.1}, "logistic": {"accuracy": 0.95, "nll": 0.2}}
    (run / "result.json").write_text(json.dumps(kept))
    page = report(run).read_text(encoding="utf-8")
    assert page.index("Logistic regression is right on 95.0% of the &lt;b&gt;.") < page.index('<p class="lead">')
    text = page.replace("\u202f", " ")
    assert "logistic regression 95.0 %; always the commonest class 35.0 %" in text
    assert re.search(r'<th scope="row">logistic regression</th><td>95.00 %</td><td>0.2000</td>', text)
    # Readings of what is shipped are those with its temperature.
    assert re.search(r'<th scope="row">as shipped</th><td>91.23 %</td><td>0.2400</td>', text)
    assert re.search(r'<th scope="row">without its temperature \(1.30\)</th><td>91.23 %</td><td>0.2568</td>', text)


def test_a_run_keeps_its_colour_and_counts_no_spikes_it_has_not(make_run: MakeRun, tmp_path: Path) -> None:
    runs = [make_run(name, seed=seed) for seed, name in enumerate("abc")]
    # The first has no curve over epochs: the second keeps its colour all the same.
    (runs[0] / "metrics.jsonl").unlink()
    result = json.loads((runs[1] / "result.json").read_text())
    result["bits"] |= {"average": 0.0, "spikes_per_neuron": 0.0}
    result["warnings"] = ["a majority vote does better"]
    (runs[1] / "result.json").write_text(json.dumps(result))
    page = compare(runs, tmp_path / "c.html").read_text(encoding="utf-8")
    key = re.findall(r"stroke: var\(--([a-z]+)\); stroke-width: 2.5[^/]*/></svg>(tiny-bayes, seed \d)", page)
    assert {label: ink for ink, label in key} == {
        f"tiny-bayes, seed {k}": VARIABLES[CYCLE[k]] for k in range(3)
    }  # fmt: skip
    learning = re.search(r'<figure id="learning".*?<figcaption>', page, re.DOTALL)
    time = re.search(r'<figure id="time".*?<figcaption>', page, re.DOTALL)
    assert learning
    assert time
    lines = r"fill: none; stroke: var\(--(blue|vermilion|green)\); stroke-width: 1.7"
    assert set(re.findall(lines, learning[0])) == {"vermilion", "green"}
    assert set(re.findall(lines, time[0])) == {"blue", "vermilion", "green"}
    assert "<legend" not in page
    cells = re.findall(r"<td[^>]*>([^<]*)</td>", page)
    assert cells.count("–") == 1
    assert "0.00" not in cells
    assert "tiny-bayes, seed 1 ⚠" in page
    assert page.index("a majority vote does better") < page.index("<table>")


def test_the_same_set_with_other_test_examples_is_no_ranking(make_run: MakeRun, tmp_path: Path) -> None:
    runs = [make_run("a"), make_run("b", seed=1)]
    with np.load(runs[1] / "predictions.npz") as stored:
        arrays = dict(stored)
    arrays["index"] = arrays["index"] + 7
    arrays["raster_index"] = arrays["raster_index"] + 7
    np.savez(runs[1] / "predictions.npz", **arrays)
    for run in runs:
        (run / "metrics.jsonl").unlink()
    page = compare(runs, tmp_path / "c.html").read_text(encoding="utf-8")
    assert "tested on different examples of digits" in page
    assert 'class="best"' not in page
    assert page.index("Not a ranking") < page.index("<table>")


@pytest.mark.parametrize(("size", "shown"), [(27, "name 26"), (60, "60")])
def test_every_class_has_its_label(size: int, shown: str) -> None:
    axes = figures.confusion(np.eye(size), [f"name {k}" for k in range(size)]).axes[0]
    for labels in (axes.get_xticklabels(), axes.get_yticklabels()):
        assert len({label.get_text() for label in labels}) == size
        assert labels[-1].get_text() == shown


def test_real_inputs_are_drawn_as_numbers(make_run: MakeRun) -> None:
    run = make_run()
    with np.load(run / "predictions.npz") as stored:
        arrays = dict(stored)
    del arrays["raster_images"]
    given = np.linspace(-3, 5, 4 * 9 * 2).reshape(4, 9, 2)
    np.savez(run / "predictions.npz", **arrays, raster_inputs=given)
    samples, _ = examples._samples(read_run(run))
    assert list(samples[0].spikes) == ["layer 1"]
    assert samples[1].given is not None
    np.testing.assert_allclose(samples[1].given, given[:, :, 1])
    # Few channels are traces, many a heat map of each in its own range.
    axes = examples.pictures.raster(samples, ["a", "b", "c"]).axes[0]
    assert axes.get_title(loc="left") == "input"
    strength = axes.images[0].get_array()
    assert strength is not None
    assert strength[..., 3].min() == 0
    few = [
        examples.pictures.Sample("a", None, {"layer 1": s.spikes["layer 1"]}, None, given[:, :2, 0]) for s in samples
    ]
    traces = examples.pictures.raster(few, []).axes[0].lines
    np.testing.assert_allclose(traces[1].get_ydata(), given[:, 1, 0])


def test_a_series_is_drawn_with_its_answer(make_run: MakeRun) -> None:
    run = make_run(kind="regression")
    with np.load(run / "predictions.npz") as stored:
        arrays = {name: stored[name] for name in ("prediction", "targets")}
    given = np.random.default_rng(0).random((30, 1, 2))
    numbers = {"index": np.arange(60), "raster_index": np.array([3, 5])}
    np.savez(run / "predictions.npz", **arrays, **numbers, raster_inputs=given)
    read = [examples.pictures.Read(given[:, :, 0], 1.5, 1.25, 0.1)]
    axes = examples.pictures.series(read, 15).axes[0]
    np.testing.assert_allclose(axes.lines[0].get_ydata(), given[:, 0, 0])
    assert [tuple(float(v[0]) for v in line.get_data()) for line in axes.lines[1:]] == [(45, 1.25), (45, 1.5)]
    section = examples.series(read_run(run))
    assert section is not None
    assert "2 series of 30 steps with their answers: true " in section.panels[0]


def test_training_points_are_circles_on_the_curve(make_run: MakeRun) -> None:
    x = np.linspace(0, 1, 5)
    axes = figures.spread_over_x(x, x, x + 0.1, x, (x[:2], x[:2] + 1)).axes[0]
    assert axes.lines[2].get_markerfacecolor() == PAPER
    np.testing.assert_allclose(axes.lines[2].get_xydata(), [[0, 1], [0.25, 1.25]])
