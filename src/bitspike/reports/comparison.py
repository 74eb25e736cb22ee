"""Several runs over one another on a page of their own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from bitspike.errors import refuse
from bitspike.reports import figures
from bitspike.reports.page import write_page
from bitspike.reports.plates import Plate, plate
from bitspike.reports.rundata import RunData, number, read_run, section
from bitspike.reports.tables import Table
from bitspike.reports.text import amount, fixed, percent, si

# name, path in result.json, the way it is written, and whether less is better (None: neither)
COLUMNS = (
    ("accuracy", ("test", "accuracy"), lambda v: percent(v, 2), False),
    ("RMSE", ("test", "rmse"), lambda v: fixed(v, 4), True),
    ("NLL", ("test", "nll"), lambda v: fixed(v, 4), True),
    ("ECE", ("test", "ece"), lambda v: fixed(v, 4), True),
    ("Brier", ("test", "brier"), lambda v: fixed(v, 4), True),
    ("scaled ECE", ("test", "scaled", "ece"), lambda v: fixed(v, 4), True),
    ("weights", ("bits", "weights_stored"), amount, True),
    ("spikes per neuron", ("bits", "spikes_per_neuron"), lambda v: fixed(v, 2), True),
    ("energy", ("energy", "network", "joules_compute"), lambda v: si(v, "J"), True),
)


def compare(runs: Sequence[Path], out: Path) -> Path:
    """Write a page that draws the runs over one another to `out` and return its path.

    Refuses no runs, the same run twice, and classification mixed with regression.
    """
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
    data = sorted({run.data_name for run in found if run.data_name})
    return write_page(
        Path(out),
        "compare.html.jinja",
        labels=labels,
        data=data,
        table=_table(found, labels, mark_best=len(found) > 1 and len(data) <= 1),
        plates=_plates(found, labels),
    )


def _labels(runs: Sequence[RunData]) -> list[str]:
    """Names that tell the runs apart: the name, with the seed, or else the folder, where names are shared."""
    names = Counter(run.name for run in runs)
    labels = [run.name if names[run.name] == 1 else f"{run.name}, seed {run.seed}" for run in runs]
    places = [run.path.resolve() for run in runs]
    shared, folders = Counter(labels), Counter(place.name for place in places)
    written = [place.name if folders[place.name] == 1 else str(place) for place in places]
    return [label if shared[label] == 1 else f"{label} ({place})" for label, place in zip(labels, written, strict=True)]


def _table(runs: Sequence[RunData], labels: Sequence[str], mark_best: bool) -> Table:
    """One row per run; the best of each column is emphasised where the runs were tested on the same data."""
    head, columns, best = ["run"], [], set()
    for title, path, write, less in COLUMNS:
        values = [number(run.result, *path) for run in runs]
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
    notes = ["Weights: what is shipped, every draw of an ensemble counted."]
    if "energy" in head:
        notes.append("Energy of one answer, compute only: analytic, not measured.")
    if best:
        notes.append("Bold: best of its column.")
    return Table(head, rows, " ".join(notes), best)


def _plates(runs: Sequence[RunData], labels: Sequence[str]) -> list[Plate]:
    named = list(zip(labels, runs, strict=True))
    regression = runs[0].is_regression
    score, word = ("rmse", "Root-mean-square error") if regression else ("accuracy", "Accuracy")
    made = []

    lines = [(label, *run.curve("validation", score)) for label, run in named]
    losses = [(label, *run.curve("validation", "nll")) for label, run in named]
    drawn = [
        figures.curves(shown, title, "epoch", percent=share)
        for shown, title, share in (
            ([line for line in lines if len(line[1])], f"{word} on validation", not regression),
            ([line for line in losses if len(line[1])], "Negative log-likelihood on validation", False),
        )
        if shown
    ]
    if drawn:
        caption = "What each run reached after every epoch on examples it does not learn from."
        made.append(plate("learning", "How they learned", caption, drawn))

    drawn = []
    for key, title in (("reliability", "As shipped"), ("reliability_scaled", "After temperature scaling")):
        bins = [(label, b) for label, run in named if (b := run.reliability(key)) is not None]
        if bins:
            drawn.append(figures.reliability_over(bins, title))
    if drawn:
        caption = (
            "On the dashed line a network is right as often as it says; below it is over-confident, above it "
            "under-confident. The larger a dot, the more answers it stands for: small dots far away matter little."
        )
        made.append(plate("reliability", "Do they keep their word?", caption, drawn))

    drawn = []
    for name, title in ((score, word), ("nll" if regression else "ece", "NLL" if regression else "ECE")):
        steps = [(label, *run.over_time(name)) for label, run in named]
        shown = [line for line in steps if len(line[1]) > 1]
        if shown:
            drawn.append(figures.curves(shown, title, "time steps seen", percent=name == "accuracy"))
    if drawn:
        caption = "The answer of each network if it is stopped after so many time steps, on test examples."
        made.append(plate("time", "What waiting brings", caption, drawn))
    return made
