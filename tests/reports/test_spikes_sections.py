"""The sections of networks run as spikes: soft rates, and ReLUs whose activations become rates."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bitspike.errors import BitspikeError
from bitspike.reports import report
from bitspike.reports.rundata import read_run
from bitspike.reports.spikes import relus, signed, soft_rates

MakeRun = Callable[..., Path]

SOFT = {
    "split": "test",
    "examples": 1200,
    "time": 0.2,
    "dt": 0.001,
    "synapse": "alpha",
    "tau_s": 0.005,
    "reset": False,
    "accuracy": 0.9375,
    "twin": 0.96,
    "agreement": 0.97,
    "windows": [
        {"start": 0.01, "end": 0.06, "accuracy": 0.5, "agreement": 0.52},
        {"start": 0.15, "end": 0.2, "accuracy": 0.9375, "agreement": 0.97},
    ],
    "over_time": [{"time": 0.05 * k, "accuracy": a} for k, a in enumerate((0.1, 0.7, 0.93, 0.9375), 1)],
    "spikes": 2301.4,
    "mean_rate": 6.91,
    "layers": [
        {"name": "spikes1", "neurons": 1024, "spikes": 1029.0, "rate": 5.02},
        {"name": "spikes<2>", "neurons": 512, "spikes": 665.0, "rate": 6.49},
    ],
}
RELUS = {
    "split": "validation",
    "steps": 4,
    "within_a_point": 3,
    "accuracy": [0.2, 0.8, 0.985, 0.9925],
    "ann": 0.99,
    "limit": 0.9905,
    "examples": 500,
    "neurons": {"spikes1": 6272, "spikes2": 128},
    "spikes": {"spikes1": 2000.25, "spikes2": 50.5},
    "rates": {"spikes1": 0.0797, "spikes2": 0.0986},
    "mean_rate": 0.0801,
}


def page(run: Path, name: str, content: dict[str, Any], **changes: Any) -> str:
    (run / name).write_text(json.dumps({**content, **changes}))
    return report(run).read_text(encoding="utf-8")


def figure(text: str, key: str) -> str:
    """What is in one figure of the page."""
    found = re.search(rf'<figure id="{key}".*?</figure>', text, re.DOTALL)
    assert found is not None
    return found.group(0)


def rows(text: str) -> list[list[str]]:
    """Cells of the table in a figure, head first, row by row."""
    return [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row) for row in re.findall(r"<tr>.*?</tr>", text, re.DOTALL)]


def test_soft_rates_stand_beside_their_twin(make_run: MakeRun) -> None:
    run = make_run()
    assert 'id="as-spikes"' not in report(run).read_text()
    shown = figure(page(run, "spiking.json", SOFT), "as-spikes")
    assert "As spikes on 1,200 test images (back to back, 200 ms each) the network is right 2.25 points less" in shown
    assert "over the last 50 ms; shaded" in shown
    assert shown.count("<svg") == 2
    head, first, last = rows(shown)
    assert head[1:5] == ["answer over", "as spikes", "as trained", "points"]
    assert first[:5] == ["", "10 to 60 ms", "50.00\u202f%", "96.00\u202f%", "−46.00"]
    assert last == [
        "1,200 test images", "150 to 200 ms", "93.75\u202f%", "96.00\u202f%", "−2.25", "alpha, 5 ms", "200 of 1 ms",
        "2,301", "6.9\u202fHz",
    ]  # fmt: skip
    for text in (
        "spikes&lt;2&gt;",
        "1,024 neurons",
        "5.02\u202fHz",
        "6.49\u202fHz",
        "as trained",
        "Accuracy over time",
    ):
        assert f">{text}<" in shown
    assert "http" not in shown


def test_the_curve_is_in_milliseconds(make_run: MakeRun) -> None:
    run = make_run()
    page(run, "spiking.json", SOFT)
    found = soft_rates(read_run(run))
    assert found is not None
    assert np.allclose(found.at, [50, 100, 150, 200])
    assert found.curve.tolist() == [0.1, 0.7, 0.93, 0.9375]
    assert found.difference == pytest.approx(-0.0225)


def test_a_file_without_a_curve_keeps_its_bars_and_numbers(make_run: MakeRun) -> None:
    content = {name: value for name, value in SOFT.items() if name != "over_time"}
    shown = figure(page(make_run(), "spiking.json", content, synapse=None, reset=True), "as-spikes")
    assert shown.count("<svg") == 1
    assert "Accuracy over time" not in shown
    assert "(from rest, 200 ms each)" in shown
    assert rows(shown)[-1][5] == "none"


def test_relus_are_drawn_step_by_step(make_run: MakeRun) -> None:
    shown = figure(page(make_run(), "relu_spiking.json", RELUS), "relu-spikes")
    assert "After 4 steps on 500 validation images the spikes are right 0.25 points more often than" in shown
    assert "is within a point of it (shaded) from step 3 on (dotted)." in shown
    assert shown.count("<svg") == 2
    assert rows(shown)[1] == [
        "500 validation images", "99.25\u202f%", "99.00\u202f%", "+0.25", "99.05\u202f%", "from step 3", "4", "2,051",
        "0.080",
    ]  # fmt: skip
    for text in ("6,272 neurons", "0.0797", "0.0986", "Accuracy over steps"):
        assert f">{text}<" in shown
    assert "Cut off: what long runs tend to" in shown


def test_relus_that_do_not_come_near_are_said_not_to(make_run: MakeRun) -> None:
    shown = figure(page(make_run(), "relu_spiking.json", RELUS, within_a_point=None, ann=0.9925), "relu-spikes")
    assert "right as often as the network as trained." in shown
    assert "is not within a point of it (shaded) at the end." in shown
    assert rows(shown)[1][5] == "never"


def test_one_step_has_no_curve(make_run: MakeRun) -> None:
    shown = figure(page(make_run(), "relu_spiking.json", RELUS, accuracy=[0.5], within_a_point=None), "relu-spikes")
    assert "After one step on" in shown
    assert "Dashed" not in shown
    assert shown.count("<svg") == 1


def test_many_layers_and_silent_ones_are_drawn(make_run: MakeRun) -> None:
    names = [f"layer{k}" for k in range(9)]
    content = {"neurons": dict.fromkeys(names, 5), "rates": dict.fromkeys(names, 0.0)}
    shown = figure(page(make_run(), "relu_spiking.json", RELUS, **content), "relu-spikes")
    assert ">layer8: 5 neurons<" in shown


@pytest.mark.parametrize(
    ("difference", "text"), [(-0.0056, "−0.56"), (0.01, "+1.00"), (0.0, "0.00"), (-0.00001, "0.00")]
)
def test_points_are_written_with_their_sign(difference: float, text: str) -> None:
    assert signed(difference) == text


@pytest.mark.parametrize(
    ("name", "content", "changes", "message"),
    [
        ("spiking", SOFT, {"over_time": [{"time": 0.1}]}, "over_time: got an unreadable row, wanted time, accuracy"),
        ("spiking", SOFT, {"windows": "all"}, "windows: got 'all', wanted a list"),
        ("spiking", SOFT, {"layers": [{"name": "a"}]}, "layers: got an unreadable row, wanted neurons, rate"),
        ("relu_spiking", RELUS, {"accuracy": [0.5, None]}, "accuracy: got no list of numbers, wanted one number for"),
        ("relu_spiking", RELUS, {"neurons": {}}, "rates: got an unreadable layer, wanted a rate and a number"),
    ],
)
def test_what_is_broken_is_named(
    make_run: MakeRun, name: str, content: dict[str, Any], changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(BitspikeError, match=rf"{name}\.json {message}"):
        page(make_run(), f"{name}.json", content, **changes)


def test_a_file_with_an_energy_account_alone_has_no_section(make_run: MakeRun) -> None:
    run = make_run()
    for name in ("spiking.json", "relu_spiking.json"):
        (run / name).write_text("{}")
    found = read_run(run)
    assert soft_rates(found) is None
    assert relus(found) is None
