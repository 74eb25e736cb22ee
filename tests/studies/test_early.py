"""Answers before the last step: where examples stop, how the threshold is chosen, what it costs, command and page."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

import bitspike
from bitspike.cli.app import app
from bitspike.energy import estimate_energy
from bitspike.errors import BitspikeError
from bitspike.reports.early import Early
from bitspike.studies.early import NEVER, Answers, choose

OLD = Path(__file__).parents[1] / "run" / "old_runs"


def answers(rows: list[list[float]], targets: list[int]) -> Answers:
    """Of two classes; rows: the probability of class 1 over time, by example."""
    one = torch.tensor(rows, dtype=torch.float64).T
    return Answers(torch.stack([1 - one, one], -1), torch.tensor(targets))


HELD = answers([[0.9, 0.9, 0.9], [0.6, 0.4, 0.2], [0.5, 0.5, 0.5]], [1, 0, 0])


def test_an_example_stops_at_the_first_sure_step_or_the_last() -> None:
    assert HELD.stops(0.55).tolist() == [0, 0, 2]
    assert HELD.stops(0.7).tolist() == [0, 2, 2]
    assert HELD.stops(NEVER).tolist() == [2, 2, 2]
    assert HELD.right(HELD.stops(0.55)).tolist() == [1, 0, 1]  # the second was sure of the wrong class
    assert HELD.right(HELD.stops(0.7)).tolist() == [1, 1, 1]


def test_the_threshold_counts_a_standard_error() -> None:
    # One of three is lost with a threshold up to 0.6: (1 + 1) / 3 of the accuracy.
    assert 0.6 < choose(HELD, 0.6) <= 0.9
    assert choose(HELD, 0.7) <= 0.5  # all stop at once
    # Nobody stops early without a change of who is right: a loss of 0 keeps that.
    assert 0.6 < choose(HELD, 0.0) <= 0.9
    late = answers([[0.9, 0.1], [0.9, 0.1]], [0, 0])
    assert choose(late, 0.0) == NEVER


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> bitspike.Run:
    small = ["model.layers=['32']", "training.epochs=2", "encoder.steps=4"]
    return bitspike.train("digits-st", tmp_path_factory.mktemp("early") / "run", overrides=small)


def test_what_stops_at_once_costs_one_step(run: bitspike.Run) -> None:
    found = bitspike.evaluate_early(run, "test", threshold=1e-9)
    assert (found["mean_steps"], found["stopped_at"]) == (1.0, [1.0, 0, 0, 0])
    assert found["accuracy"] == run.evaluate("test", step=1)["accuracy"]
    assert found["whole"]["accuracy"] == run.result["test"]["accuracy"]
    assert found["difference"]["mean"] == pytest.approx(found["accuracy"] - found["whole"]["accuracy"])
    events = run.encode(run.split("test").x)
    once = estimate_energy(run.model, events[:1]).network
    assert found["cost"]["network"] == pytest.approx(once.joules_compute + once.joules_neurons, rel=1e-6)
    whole = bitspike.evaluate_early(run, "test", threshold=1.0)
    assert whole["cost"]["network"] <= whole["cost"]["whole"]
    assert whole["cost"]["whole"] == found["cost"]["whole"] > found["cost"]["network"]


def test_mixed_stops_cost_what_each_group_costs(run: bitspike.Run) -> None:
    found = bitspike.evaluate_early(run, "test", threshold=0.6)
    shares = found["stopped_at"]
    assert sum(shares) == pytest.approx(1)
    assert 0 < shares[0] < 1
    assert found["mean_steps"] == pytest.approx(sum(step * share for step, share in enumerate(shares, 1)))
    x = run.split("test").x
    outputs = run.predict(x, over_time=True)
    stops = Answers(outputs, torch.zeros(len(x))).stops(0.6)
    joules = 0.0
    for step in stops.unique().tolist():
        events = run.encode(x[stops == step])[: step + 1]
        network = estimate_energy(run.model, events).network
        joules += float((stops == step).double().mean()) * (network.joules_compute + network.joules_neurons)
    assert found["cost"]["network"] == pytest.approx(joules, rel=1e-6)


def test_a_threshold_that_nobody_reaches_is_not_written_down_as_one_that_certain_answers_do(run: bitspike.Run) -> None:
    found = bitspike.evaluate_early(run, "test")
    assert (found["curve"][-1]["threshold"], found["curve"][-1]["mean_steps"]) == (NEVER, 4.0)
    assert f"(where the answer is {found['threshold']:.3f} sure)" in next(Early().lines(found))
    assert "(no earlier stop keeps to the loss)" in next(Early().lines(found | {"threshold": NEVER}))


def test_command_and_page(run: bitspike.Run) -> None:
    done = CliRunner().invoke(app, ["evaluate", str(run.path), "--measure", "early", "--set", "loss=0.05"])
    assert done.exit_code == 0, done.output
    found = json.loads((run.path / "early.json").read_text())
    assert f"stopped after {found['mean_steps']:.2f} of 4 steps on average" in done.output
    assert "zeros skipped" in done.output
    page = (run.path / "report.html").read_text()
    assert "Answers before the last step" in page
    for broken, message in (
        (found | {"curve": [{}]}, "curve: got rows of another form"),
        (found | {"cost": {}}, "cost: got another form"),
        (found | {"stopped_at": ["x"]}, "stopped_at"),
    ):
        (run.path / "early.json").write_text(json.dumps(broken))
        with pytest.raises(BitspikeError, match=message):
            bitspike.report(run.path)
    (run.path / "early.json").unlink()


def test_who_has_no_early_answer_is_refused(run: bitspike.Run) -> None:
    with pytest.raises(BitspikeError, match=r"early threshold: got 0, wanted a probability above 0"):
        bitspike.evaluate_early(run, "test", threshold=0)
    with pytest.raises(BitspikeError, match=r"early: got a network that answers once"):
        bitspike.evaluate_early(bitspike.load(OLD / "soft-lif"), "test")
    with pytest.raises(BitspikeError, match=r"early: got a run of regression"):
        bitspike.evaluate_early(bitspike.load(OLD / "regression"), "test")


def test_no_threshold_is_one_that_sure_answers_reach() -> None:
    # Half of the answers are certain, and wrong, after the first step: nobody may stop there.
    first = [[1.0, 0.0]] * 4
    second = [[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]]
    held = Answers(torch.tensor([first, second], dtype=torch.float64), torch.tensor([0, 0, 1, 1]))
    threshold = choose(held, 0.005)
    assert held.right(held.stops(threshold)).mean() == 1.0
    assert held.stops(threshold).tolist() == [1] * 4
