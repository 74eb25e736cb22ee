"""Several runs over one another on a page of their own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from bitspike.errors import refuse
from bitspike.reports import figures, style
from bitspike.reports.differing import differing
from bitspike.reports.page import write_page
from bitspike.reports.rundata import RunData, number, read_run, section
from bitspike.reports.sections import Section
from bitspike.reports.tables import Table, counted_spikes
from bitspike.reports.text import amount, fixed, percent, si
from bitspike.reports.totals import totals

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# name, path in result.json, the way it is written, and whether less is better; "test": the reading of what is shipped
COLUMNS = (
    ("accuracy", ("test", "accuracy"), lambda v: percent(v, 2), False),
    ("RMSE", ("test", "rmse"), lambda v: fixed(v, 4), True),
    ("NLL as shipped", ("test", "nll"), lambda v: fixed(v, 4), True),
    ("ECE as shipped", ("test", "ece"), lambda v: fixed(v, 4), True),
    ("Brier as shipped", ("test", "brier"), lambda v: fixed(v, 4), True),
    ("weights", ("bits", "weights_stored"), amount, True),
    ("spikes per neuron", ("bits", "spikes_per_neuron"), lambda v: fixed(v, 2), True),
    ("energy", ("energy",), lambda v: si(v, "J"), True),
)


LEARNED = "What each run reached after every epoch on examples it does not learn from."
KEPT = (
    "On the dashed line a network is right as often as it says; below it is over-confident, above it under-confident. "
    "The larger a dot, the more answers it stands for: hollow ones are few, and a line joins only bins of one answer "
    "in a hundred and more."
)
WAITED = "The answer of each network if it is stopped after so many time steps, on test examples."


def compare(runs: Sequence[Path], out: Path) -> Path:
    """Write a page that draws the runs over one another to `out` and return its path.

    Refuses no runs, the same run twice, classification mixed with regression, and a page that is called as none is:
    it would take the place of a recipe or of results.
    """
    if Path(out).suffix.lower() not in (".html", ".htm"):
        refuse("--out", f"'{out}'", "a path that ends in .html")
    found = [read_run(Path(path)) for path in runs]
    if not found:
        refuse("compare", "no runs", "one or more run folders")
    twice = [path for path, n in Counter(run.path.resolve() for run in found).items() if n > 1]
    if twice:
        refuse("compare", f"{twice[0]} twice", "run folders that differ")
    kinds = {run.is_regression: run.name for run in found}
    if len(kinds) > 1:
        refuse("compare", f"regression ({kinds[True]}) and classes ({kinds[False]})", "runs of one kind")
    labels = _labels(found)
    looks = [figures.look(k) for k in range(len(found))]
    data, apart = sorted({run.data_name for run in found if run.data_name}), differing(found)
    return write_page(
        Path(out),
        "compare.html.jinja",
        labels=labels,
        key=[Swatch(label, style.VARIABLES[k], DASHES[d]) for label, (k, d) in zip(labels, looks, strict=True)],
        data=data,
        differing=apart,
        warnings=[(label, line) for label, run in zip(labels, found, strict=True) for line in run.warnings],
        table=_table(found, labels, mark_best=len(found) > 1 and not apart),
        sections=_sections(found, labels, looks),
    )


class Swatch(NamedTuple):
    """A run's name with its ink (a name of the page's) and its dashes as in SVG."""

    label: str
    ink: str
    dashes: str


DASHES = {"-": "", "--": "6 3", ":": "2 2", "-.": "6 2 2 2"}


def _labels(runs: Sequence[RunData]) -> list[str]:
    """Names that tell the runs apart: the name, with the seed, or else the folder, where names are shared."""
    names = Counter(run.name for run in runs)
    labels = [run.name if names[run.name] == 1 else f"{run.name}, seed {run.seed}" for run in runs]
    places = [run.path.resolve() for run in runs]
    shared, folders = Counter(labels), Counter(place.name for place in places)
    written = [place.name if folders[place.name] == 1 else str(place) for place in places]
    return [label if shared[label] == 1 else f"{label} ({place})" for label, place in zip(labels, written, strict=True)]


def _value(run: RunData, path: tuple[str, ...]) -> float | None:
    """One number of a run; of readings that of what is shipped, and no spikes where none were counted."""
    if path == ("energy",):
        return totals(section(run.result, "energy")).get("network")
    if path[0] == "test":
        return number(run.shipped_reading, *path[1:])
    if path[-1] == "spikes_per_neuron":
        return counted_spikes(section(run.result, "bits"))
    return number(run.result, *path)


def _table(runs: Sequence[RunData], labels: Sequence[str], mark_best: bool) -> Table:
    """One row per run; the best of each column is emphasised where the runs were tested on the same data."""
    head, columns, best = ["run"], [], set()
    for title, path, write, less in COLUMNS:
        values = [_value(run, path) for run in runs]
        present = [v for v in values if v is not None]
        if not present:
            continue
        head.append(title)
        top = min(present) if less else max(present)
        if mark_best and min(present) < max(present):
            best |= {(row, len(head) - 1) for row, v in enumerate(values) if v == top}
        columns.append([write(v) for v in values])
    rows = [[label, *(column[k] for column in columns)] for k, label in enumerate(labels)]
    for row, run in zip(rows, runs, strict=True):
        if not section(run.result, "test"):
            row[0] += " (not tested yet)"
        if run.warnings:
            row[0] += " ⚠"
    notes = ["As shipped, with its temperature where a run has one. Weights: every draw of an ensemble counted."]
    if any("–" in row for row in rows):
        notes.append("A dash: not measured, or nothing that spikes.")
    if any(run.warnings for run in runs):
        notes.append("⚠: see the warnings above.")
    if "energy" in head:
        notes.append("Energy of one answer, 45 nm arithmetic and neurons: analytic, not measured.")
    if best:
        notes.append("Bold: best of its column, by however little; one run says nothing of the next seed.")
    return Table(head, rows, " ".join(notes), best)


def _sections(runs: Sequence[RunData], labels: Sequence[str], looks: Sequence[figures.Look]) -> list[Section]:
    """Curves and calibration; a run keeps its colour and dashes in all of them."""
    named = list(zip(labels, runs, strict=True))
    look_of = dict(zip(labels, looks, strict=True))

    def drawn_of(lines: list[figures.Curve], title: str, x: str, share: bool) -> Figure:
        return figures.curves(lines, title, x, percent=share, looks=[look_of[line[0]] for line in lines], named=False)

    regression = runs[0].is_regression
    score, word = ("rmse", "Root-mean-square error") if regression else ("accuracy", "Accuracy")
    learned, kept, waited = [], [], []
    for name, title in ((score, word), ("nll", "Negative log-likelihood")):
        lines = [(label, *run.curve("validation", name)) for label, run in named]
        if shown := [line for line in lines if len(line[1])]:
            learned.append(drawn_of(shown, f"{title} on validation", "epoch", name == "accuracy"))
    shipped = [(label, b) for label, run in named if (b := run.shipped_reliability()) is not None]
    scaled = {label for label, run in named if abs(run.temperature - 1) > 1e-6}
    raw = [(label, b) for label, run in named if (b := run.reliability()) is not None and label in scaled]
    for bins, title in ((shipped, "As shipped"), (raw, "Before temperature scaling")):
        if bins:
            kept.append(figures.reliability_over(bins, title, [look_of[label] for label, _ in bins]))
    for name, title in ((score, word), ("nll" if regression else "ece", "NLL" if regression else "ECE")):
        steps = [(label, *run.over_time(name)) for label, run in named]
        if shown := [line for line in steps if len(line[1]) > 1]:
            waited.append(drawn_of(shown, title, "time steps seen", name == "accuracy"))
    made = [
        Section("learning", "How they learned", LEARNED, learned),
        Section("reliability", "Do they keep their word?", KEPT, kept),
        Section("time", "What waiting brings", WAITED, waited),
    ]
    return [section for section in made if section.drawn]
