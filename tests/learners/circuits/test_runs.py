"""Circuits in runs: trained, measured, reported and resumed like every other learner."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

import bitspike
from bitspike.cli.app import app
from bitspike.run.assemble import load_data
from bitspike.run.recipe_files import load_recipe
from bitspike.run.session import Session, advance_together

SMALL = [
    "data.options.duration=300.0", "encoder.steps=12", "model.hidden=4", "data.test=0.75", "training.epochs=2",
    "training.checkpoint_seconds=0.2",
]  # fmt: skip


@pytest.fixture(scope="module", params=["digits-vowel", "digits-glm"])
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bitspike.train(request.param, tmp_path_factory.mktemp("runs") / request.param, overrides=SMALL).path


def test_a_run_answers_after_every_step_and_is_measured(run: Path) -> None:
    result = json.loads((run / "result.json").read_text())
    assert result["test"]["accuracy"] > 0.5  # ten classes
    nll = [row["nll"] for row in result["over_time"]]
    assert len(nll) == 12
    assert nll[-1] < nll[0]
    assert result["energy"]["network"]["joules_compute"] > 0
    assert result["energy"]["cross_over"] == {}
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [row["learning_rate"] for row in records] == [0.01, 0.005]
    assert records[1]["train"]["loss"] < records[0]["train"]["loss"]
    found = CliRunner().invoke(app, ["evaluate", str(run), "--measure", "stream", "--set", "examples=50"])
    assert found.exit_code == 0, found.output
    stream = json.loads((run / "stream.json").read_text())
    assert stream["log_likelihood"] > stream["log_likelihood_of_another_class"] + 1
    assert len(stream["learning"]["signal"]) == 5 * 12
    page = (run / "report.html").read_text()
    assert "What it hears while it learns" in page
    assert "unseen examples of digits-dvs-sim" in " ".join(page.split())
    assert page.count('<div class="panel preview">') == 4
    assert len(stream["generated"][0]["seen"]) > 20
    broken = json.loads(json.dumps(stream))
    broken["generated"][0]["seen"][0][1] = 10**5
    (run / "stream.json").write_text(json.dumps(broken))
    with pytest.raises(bitspike.BitspikeError, match=r"stream.json generated: got events of another form"):
        bitspike.report(run)
    stream["learning"]["signal"][3] = "x"
    (run / "stream.json").write_text(json.dumps(stream))
    with pytest.raises(bitspike.BitspikeError, match=r"stream.json learning: got curves of another form"):
        bitspike.report(run)
    (run / "stream.json").unlink()


def test_answers_depend_on_the_example_alone(run: Path) -> None:
    loaded = bitspike.load(run)
    x = loaded.dataset().test.x
    together = loaded.predict(x[torch.arange(7)])
    alone = torch.cat([loaded.predict(x[torch.tensor([row])]) for row in range(7)])
    assert torch.equal(together, alone)
    assert torch.allclose(together.sum(1), torch.ones(7), atol=1e-5)


@pytest.mark.parametrize("decoder", ["counts", "chances", "likelihood"])
def test_decoders_give_probabilities_of_classes(run: Path, decoder: str) -> None:
    loaded = bitspike.load(run)
    split = loaded.dataset().test
    loaded.learner.decoder = decoder  # type: ignore[attr-defined]
    answers = loaded.predict(split.x[torch.arange(200)], over_time=True, scaled=False)
    assert torch.allclose(answers.double().sum(-1), torch.ones(12, 200, dtype=torch.float64), atol=1e-5)
    assert (answers[-1].argmax(-1) == split.y[:200]).double().mean() > 0.5


def test_a_dtype_that_the_loops_do_not_compute_in_is_refused(tmp_path: Path) -> None:
    with pytest.raises(bitspike.BitspikeError, match=r"^--precision: got 'bf16-mixed' with learner.rule 'vowel'"):
        bitspike.train("digits-vowel", tmp_path / "run", overrides=SMALL, precision="bf16-mixed")
    assert not (tmp_path / "run").exists()


def test_turns_and_snapshots_come_to_the_same_end() -> None:
    recipe = load_recipe("digits-vowel", [*SMALL, "training.epochs=1", "data.test=0.9"])
    whole = Session(recipe)
    whole.advance(10**9)
    session = Session(recipe, whole.dataset)
    session.advance(12 * 7)
    state = session.snapshot()
    session.advance(12 * 30)  # is forgotten
    other = Session(recipe, whole.dataset)
    other.restore(state)
    while not other.finished:
        other.advance(12 * 101)
    assert torch.equal(whole.model.weight, other.model.weight)
    assert whole.records == other.records


def test_seeds_learn_side_by_side_what_each_learns_by_itself() -> None:
    recipes = [load_recipe("digits-vowel", SMALL, seed) for seed in (1, 2)]
    data = load_data(recipes[0])
    ends = []
    for side_by_side in (True, False):
        sessions = [Session(recipe, data) for recipe in recipes]
        for updates in (12 * 5, 12 * 20):
            done = (
                advance_together(sessions, updates)
                if side_by_side
                else [session.advance(updates) for session in sessions]
            )
        assert done == [12 * 20] * 2
        ends.append((done, [session.sums for session in sessions], [s.model.state_dict() for s in sessions]))
    assert ends[0][:2] == ends[1][:2]
    for one, other in zip(ends[0][2], ends[1][2], strict=True):
        assert all(torch.equal(tensor, other[name]) for name, tensor in one.items())
    assert not torch.equal(ends[0][2][0]["weight"], ends[0][2][1]["weight"])


@pytest.mark.long
def test_a_killed_run_ends_the_same(run: Path, tmp_path: Path) -> None:
    if run.name != "digits-vowel":
        pytest.skip("one rule is enough")
    killed = tmp_path / "killed"

    def start(*more: str) -> subprocess.Popen[bytes]:
        changes = [word for change in SMALL for word in ("--set", change)]
        command = [sys.executable, "-m", "bitspike", "train", run.name, "--out", str(killed), *changes, *more]
        return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)

    first = start()
    while not (killed / "checkpoints" / "last.json").exists():
        assert first.poll() is None
        time.sleep(0.01)
    time.sleep(0.3)
    first.send_signal(signal.SIGKILL)
    first.communicate()
    assert not (killed / "result.json").exists()
    again = start("--resume")
    _, said = again.communicate()
    assert again.returncode == 0, said.decode()
    results = [json.loads((out / "result.json").read_text()) for out in (run, killed)]
    for result in results:
        del result["seconds"]
    assert results[0] == results[1]


def test_what_circuits_cannot_do_is_said_by_name() -> None:
    with pytest.raises(bitspike.BitspikeError, match=r"model.kind: got 'feedforward' with learner.rule 'vowel'"):
        Session(load_recipe("digits-vowel", ["model={kind='feedforward', layers=['8']}"]))
    with pytest.raises(bitspike.BitspikeError, match=r"learner.rule: got 'backprop' with model.kind 'circuits'"):
        Session(load_recipe("digits-vowel", ["learner={rule='backprop'}", "training.batch=4"]))
    with pytest.raises(bitspike.BitspikeError, match=r"training.batch: got 1, wanted 2 or more"):
        Session(load_recipe("digits-st", ["training.batch=1"]))
    with pytest.raises(bitspike.BitspikeError, match=r"optimizer.lr"):
        load_recipe("digits-vowel", ["optimizer.lr=0.1"])
    with pytest.raises(bitspike.BitspikeError, match=r"encoder.name: got values besides 0 and 1"):
        Session(load_recipe("digits-vowel", ["encoder={name='events', rule='count', steps=12}"]))
