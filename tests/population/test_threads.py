"""How many threads members learned on: kept with every turn, gone on with, replayed on, and said as it was."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.commands import here
from tests.population.small import SMALL, small
from tests.states import same

import bitspike
from bitspike.errors import BitspikeError
from bitspike.kernels.cpu.works import on_threads
from bitspike.population.lineage import schedule
from bitspike.population.record import content, read
from bitspike.population.store import Folder
from bitspike.population.turn import Evolution, Turn
from bitspike.population.worker import work
from bitspike.run.checkpoint import load_checkpoint

MORE = ["population.every=1"]


def shipped(run):
    return load_checkpoint(run.path / "checkpoints", "shipped")["model"]


def stood(path):
    return json.loads((path / "environment.json").read_text())


def killed(out):
    """A population on one thread whose command was killed when some of its turns were published."""
    sets = [word for entry in [*SMALL, *MORE] for word in ("--set", entry)]
    command = [Path(sys.executable).with_name("bitspike"), "tune", "tune-digits", "--out", out, *sets]
    run = subprocess.Popen(
        [*command, "--workers", "1", "--threads", "1"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    while run.poll() is None and not (out / "population" / "3.json").exists():
        time.sleep(0.005)
    run.kill()
    assert run.wait() == -signal.SIGKILL
    assert not (out / "result.json").exists()


def test_a_resume_goes_on_with_the_threads_of_the_turns_before(tmp_path, monkeypatch, capsys):
    out = tmp_path / "run"
    killed(out)
    with pytest.raises(BitspikeError, match="--threads: got 3 with --resume, wanted 1, which the turns before"):
        bitspike.tune(small(*MORE), out, workers=1, threads=3, resume=True)
    monkeypatch.setattr("bitspike.notices.always", True)
    path = out / "environment.json"
    path.write_text(json.dumps({**stood(out), "processor": "another"}))
    with on_threads(2):
        run = bitspike.tune(small(*MORE), out, workers=1, resume=True)
        assert torch.get_num_threads() == 2
        assert "it goes on with --threads 1, as the turns before" in capsys.readouterr().err
        found, turns = read(out / "population.json")
        assert {turn.threads for turn in turns} == {found["how"]["threads"]} == {stood(out)["threads"]} == {1}
        assert [(one["processor"], one["threads"]) for one in stood(out)["earlier"]] == [("another", 1)]
        again = bitspike.replay(run, tmp_path / "again")
    assert stood(again.path)["threads"] == 1
    assert same(shipped(again), shipped(run))
    assert same(shipped(bitspike.tune(small(*MORE), tmp_path / "whole", workers=1, threads=1)), shipped(run))
    refused, *_ = here(monkeypatch, capsys, ["tune", "replay", out, "--threads", 2, "--overwrite"])
    assert refused.code == 2
    assert "--threads: got 2 with replay, wanted it left out" in refused.stderr


def test_workers_learn_on_their_threads_and_the_run_says_so(tmp_path):
    with on_threads(2):
        bitspike.tune(small(), tmp_path / "run", workers=2, threads=1)
    found, turns = read(tmp_path / "run" / "population.json")
    assert {turn.threads for turn in turns} == {found["how"]["threads"]} == {stood(tmp_path / "run")["threads"]} == {1}


class Counting:
    """A member that learns nothing, and knows on how many threads it did."""

    def load(self, state, values, key):
        self.state = dict(state or {})

    def step(self, updates):
        self.state["threads"] = torch.get_num_threads()
        return updates

    def evaluate(self):
        return {"nll": 1.0}

    def save(self):
        return self.state


def test_turns_of_other_threads_are_told_apart(tmp_path):
    recipe = bitspike.load_recipe("tune-digits", [*SMALL, "population.strategy=random", "population.exploit={}"])
    rules, store = Evolution(recipe.population, 0), Folder(tmp_path)
    work(rules, store, Counting(), 6)
    turns = store.turns()
    assert {turn.threads for turn in turns} == {torch.get_num_threads()}
    assert store.state(store.latest(0))[1] == {"threads": torch.get_num_threads()}
    assert [(one.begin, one.end) for one in schedule(turns, (0, 2))] == [(0, 6)]
    mixed = [replace(turn, threads=turn.generation) for turn in turns]
    assert [(one.begin, one.end, one.threads) for one in schedule(mixed, (0, 2))] == [(0, 3, 1), (3, 6, 2)]
    assert content(recipe, rules, mixed, mixed[-1])["how"]["threads"] == [1, 2]
    old = {key: value for key, value in turns[0].line().items() if key != "threads"}
    assert Turn.read(old, "a log").threads == 0
    with pytest.raises(BitspikeError, match="a log: damaged"):
        Turn.read({**old, "threads": "two"}, "a log")
