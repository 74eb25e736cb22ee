"""A run of an ordinary ReLU network measured as spikes, from Python and from the command line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

import bitspike
from bitspike.cli.app import app
from bitspike.errors import BitspikeError
from bitspike.studies.relu_spiking import evaluate_rates, rate_network_of

SMALL = [
    "data.set='digits'", "data.shift=0", "model.layers=['8c3p2','8c3','32']", "training.epochs=6", "training.batch=32",
]  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> bitspike.Run:
    return bitspike.train("cnn-mnist", tmp_path_factory.mktemp("runs") / "static", overrides=SMALL)


def test_a_run_converts_and_comes_within_a_point(run: bitspike.Run) -> None:
    test = run.dataset().test
    network = rate_network_of(run)
    assert (network.ann(test.x).argmax(1) == run.predict(test.x).argmax(1)).all()
    found = evaluate_rates(run, "test", steps=64)
    assert found["ann"] == pytest.approx(run.result["test"]["accuracy"])
    assert found["ann"] > 0.9
    assert found["accuracy"][-1] >= found["ann"] - 0.01
    assert found["within_a_point"] is not None
    assert found["neurons"] == {"spikes1": 8 * 16, "spikes2": 8 * 16, "spikes3": 32}
    some = evaluate_rates(run, "validation", steps=8, most=20, scale="channel", percentile=1, examples=100)
    assert (some["examples"], len(some["accuracy"])) == (20, 8)
    assert torch.equal(network(test.x[:5], 8), rate_network_of(run)(test.x[:5], 8))


def test_the_command_prints_the_curve_and_stores_it(run: bitspike.Run) -> None:
    asked = ["evaluate", str(run.path), "--spiking", "--most", "50"]

    def command(*options: str) -> str:
        done = CliRunner().invoke(app, [*asked, *options], catch_exceptions=False)
        assert done.exit_code == 0
        return done.output

    found = json.loads(command("--time", "12", "--json"))
    again = json.loads(json.dumps(evaluate_rates(run, steps=12, most=50)))
    assert found == {**again, "seconds": found["seconds"]}
    assert json.loads((run.path / "relu_spiking.json").read_text()) == found
    shown = command("--time", "12", "--dt", "2").splitlines()
    assert shown[0].endswith("50 validation images, 6 steps of 2 ms from rest")
    assert [line.split()[:2] for line in shown[1:5]] == [["step", str(n)] for n in (1, 2, 4, 6)]
    assert shown[5].split()[:2] == ["as", "trained"]
    assert [line.split()[0] for line in shown[-3:-1]] == ["spikes3", "took"]
    assert shown[-1] == f"report: {run.path / 'report.html'}"
    assert "After 6 steps on 50 validation images" in (run.path / "report.html").read_text()


def test_a_report_that_cannot_be_drawn_keeps_the_reading(run: bitspike.Run, tmp_path: Path) -> None:
    broken = tmp_path / "run"
    shutil.copytree(run.path, broken)
    (broken / "sweep.json").write_text("{")
    asked = ["evaluate", str(broken), "--spiking", "--most", "20", "--time", "4"]
    done = CliRunner().invoke(app, asked, catch_exceptions=False)
    assert done.exit_code == 0
    assert "bitspike: report not redrawn: " in done.stderr
    assert "report: " not in done.stdout
    assert json.loads((broken / "relu_spiking.json").read_text())["examples"] == 20


def test_options_of_soft_rates_are_refused(run: bitspike.Run) -> None:
    for option, message in (
        (["--window", "10"], "--window: got 10 ms, wanted it only with soft rates"),
        (["--synapse", "alpha"], "--synapse: got alpha"),
        (["--time", "3", "--dt", "2"], "--time: got 3 ms, wanted a whole number of steps of 2 ms"),
    ):
        done = CliRunner().invoke(app, ["evaluate", str(run.path), "--spiking", *option])
        assert str(done.exception).startswith(message)
    with pytest.raises(BitspikeError, match=r"^--split: got 'all'"):
        evaluate_rates(run, "all")
