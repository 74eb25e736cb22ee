"""The section of a network made spiking."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bitspike.errors import BitspikeError
from bitspike.reports import report
from bitspike.reports.curve import trade
from bitspike.reports.rundata import read_run

STATIC = {"steps": 1, "counts": None, "accuracy": 0.93}
ROWS = [
    {"steps": steps, "counts": counts, "accuracy": 0.9 - 0.1 / counts, "spikes": steps * counts / 8, "bits": counts / 4}
    for steps in (1, 2)
    for counts in (8.0, 4.0, 1.0)
]


def write(run: Path, **content: Any) -> Path:
    (run / "sweep.json").write_text(json.dumps(content))
    return run


def test_the_curve_is_drawn_with_the_row_that_was_chosen(make_run: Callable[..., Path]) -> None:
    run = make_run()
    assert 'id="spiking"' not in report(run).read_text()
    chosen = {"steps": 2, "counts": 4.0, "test": ROWS[4]}
    write(run, test=[STATIC, *ROWS], chosen=chosen, wanted={"spikes": 2.0, "bits": 4.0, "within": 0.0025})
    page = report(run).read_text()
    assert 'id="spiking"' in page
    assert "shown twice, 87.50\u202f% at 1.00 spikes and 1.00 bits" in page
    assert "93.00\u202f%" in page
    assert ">shown once<" in page
    assert ">shown 2 times<" in page
    found = trade(read_run(run))
    assert found is not None
    assert [row["spikes"] for row in found.lines[1]] == [0.125, 0.5, 1.0]


def test_without_a_choice_the_curve_stands_alone(make_run: Callable[..., Path]) -> None:
    page = report(write(make_run(), test=[STATIC, *ROWS], chosen=None)).read_text()
    assert 'id="spiking"' in page
    assert "Ringed" not in page


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([STATIC, {"steps": 1, "counts": 2.0, "accuracy": 0.5}], "got an unreadable row, wanted steps, counts"),
        ([STATIC, "row"], "got an unreadable row"),
        (ROWS, "got no static row or no other, wanted both"),
        ([STATIC], "got no static row or no other"),
    ],
)
def test_broken_rows_are_refused(make_run: Callable[..., Path], rows: list[Any], message: str) -> None:
    with pytest.raises(BitspikeError, match=rf"sweep.json test: {message}"):
        report(write(make_run(), test=rows))


@pytest.mark.parametrize("lost", ["steps", "accuracy", "spikes", "bits"])
def test_a_chosen_row_that_lost_a_reading_is_refused(make_run: Callable[..., Path], lost: str) -> None:
    chosen = {"steps": 2, "counts": 4.0, "test": {name: value for name, value in ROWS[4].items() if name != lost}}
    with pytest.raises(BitspikeError, match=r"sweep.json chosen.test: got an unreadable row, wanted steps, accuracy"):
        report(write(make_run(), test=[STATIC, *ROWS], chosen=chosen))
