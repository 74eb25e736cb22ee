"""Workers: the same result as one process, readers that never meet a torn generation, kills of anybody."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch
from tests.population.small import SMALL, UPDATES, small, untimed
from tests.states import same

import bitspike
from bitspike.errors import BitspikeError
from bitspike.population.lineage import ancestors
from bitspike.population.record import read
from bitspike.population.store import Folder
from bitspike.population.turn import Evolution, Turn
from bitspike.population.workers import Workers
from bitspike.run.assemble import load_data
from bitspike.run.checkpoint import load_checkpoint

COMMAND = str(Path(sys.executable).with_name("bitspike"))


def shipped(run):
    return load_checkpoint(run.path / "checkpoints", "shipped")["model"]


def test_workers_come_to_the_end_of_one_process_though_one_is_killed(tmp_path, monkeypatch):
    started = []
    start = Workers._start

    def remembered(self):
        start(self)
        started.append(self.running[-1][0])
        if len(started) == 3:
            assert started[0].returncode == -signal.SIGKILL

    monkeypatch.setattr(Workers, "_start", remembered)
    run = Workers.run

    def killed(self, rules, store, watch, asked):
        def then(turn):
            watch(turn)
            if len(started) == 2:
                started[0].kill()

        run(self, rules, store, then, asked)

    monkeypatch.setattr(Workers, "run", killed)
    several = bitspike.tune(small(), tmp_path / "several", workers=2, threads=1)
    assert len(started) == 3
    alone = bitspike.tune(small(), tmp_path / "alone", workers=1, threads=1)
    assert same(shipped(several), shipped(alone))
    assert untimed(read(several.path / "population.json")[1]) == untimed(read(alone.path / "population.json")[1])
    assert not list(tmp_path.glob("**/.*.part"))


def test_memory_is_not_for_workers_and_a_refusal_of_one_is_the_commands(tmp_path):
    with pytest.raises(BitspikeError, match="--workers: got 2, wanted 1 with examples in memory"):
        bitspike.tune(small(), tmp_path / "run", workers=2, dataset=load_data(small()))
    (tmp_path / "recipe.toml").write_text("name = 3")
    workers = Workers(1, tmp_path, None, "cpu", 1)
    part = bitspike.load_recipe("tune-digits").population
    with pytest.raises(BitspikeError, match=r"recipe.toml.*name"):
        workers.run(Evolution(part, 0), Folder(tmp_path), lambda turn: None, lambda: None)


def published(store, count, size=2000):
    for k in range(1, count + 1):
        turn = Turn(0, k, k, 1, {"x": float(k)}, float(k), history=[(k, float(k))])
        store.publish(turn, {"w": torch.full((size,), float(k)), "k": k})


def reads(folder, generations):
    """Reads of a folder that is written meanwhile: how many were whole, until the last generation."""
    store, count = Folder(folder), 0
    while True:
        turn = store.latest(0)
        if turn is None:
            continue
        then, state = store.state(turn)
        assert state["k"] == then.generation >= turn.generation
        assert torch.equal(state["w"], torch.full_like(state["w"], float(then.generation)))
        count += 1
        if then.generation == generations:
            return count


@pytest.mark.parametrize("generations", [60, pytest.param(8000, marks=pytest.mark.long)])
def test_no_reader_meets_a_torn_generation(generations, tmp_path):
    writer = threading.Thread(target=published, args=(Folder(tmp_path), generations))
    writer.start()
    count = reads(tmp_path, generations)
    writer.join()
    assert count > generations // 20
    kept = {int(path.stem.split("-")[1]) for path in tmp_path.glob("0-*.json")}
    assert kept == {generations - 1, generations}


def workers_of(parent):
    """Processes that this one has started."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == parent:
            found.append(int(path.parent.name))
    return found


def started(out, *more):
    sets = [word for entry in [*SMALL, "population.size=8", "population.every=1"] for word in ("--set", entry)]
    command = [COMMAND, "tune", "tune-digits", "--out", str(out), "--workers", "2", "--threads", "1", *sets, *more]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True)


@pytest.mark.long
@pytest.mark.parametrize("mode", ["synchronous", "asynchronous"])
def test_thirty_kills_of_workers_and_parents_lose_nobody(mode, tmp_path):
    more = ["--set", f"population.mode={mode}", "--set", "training.epochs=30"]
    moments, out, kills = random.Random(mode), tmp_path / "run", 0
    run = started(out, *more)
    while kills < 30:
        time.sleep(moments.uniform(3.0, 9.0))
        if run.poll() is not None:
            break
        victims = [*workers_of(run.pid), run.pid]
        victim = moments.choice(victims)
        os.kill(victim, signal.SIGKILL)
        kills += 1
        if victim == run.pid:
            run.communicate()
            run = started(out, "--resume", *more) if (out / "population").exists() else started(out, *more)
    _, errors = run.communicate()
    assert run.returncode == 0, errors.decode()
    assert kills >= 10
    _, turns = read(out / "population.json")
    last = {turn.member: turn for turn in turns}
    assert sorted(last) == list(range(8))
    assert all(turn.finished and turn.updates == 15 * UPDATES for turn in last.values())
    assert all(ancestors(turns, turn.node)[0].parent is None for turn in turns)
    assert not list(out.glob("**/.*.part"))
    replayed = bitspike.replay(out, tmp_path / "again")
    assert same(shipped(replayed), shipped(bitspike.load(out)))
    if mode == "synchronous":
        whole = started(tmp_path / "whole", *more)
        whole.communicate()
        one, other = (json.loads((path / "population.json").read_text()) for path in (out, tmp_path / "whole"))
        assert untimed(read(out / "population.json")[1]) == untimed(read(tmp_path / "whole" / "population.json")[1])
        assert one["winner"] == other["winner"]
