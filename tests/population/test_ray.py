"""Populations on Ray's clusters: the bits of one process, whoever is killed; nobody comes in without the token."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tests.population.small import SMALL, UPDATES, small, untimed
from tests.states import same

import bitspike
from bitspike.errors import BitspikeError
from bitspike.population.ray import isolation
from bitspike.population.ray.cluster import Cluster
from bitspike.population.ray.scheduled import scheduled
from bitspike.population.record import read
from bitspike.population.turn import Evolution
from bitspike.run.checkpoint import load_checkpoint
from bitspike.run.sockets import born, family

pytestmark = pytest.mark.ray


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The population of one process, of one thread as the actors' are: sums depend on it."""
    torch.set_num_threads(1)
    return bitspike.tune(small(), tmp_path_factory.mktemp("alone") / "run", workers=1, threads=1)


def shipped(run):
    return load_checkpoint(run.path / "checkpoints", "shipped")["model"]


def equal(one, other):
    turns = [untimed(read(run.path / "population.json")[1]) for run in (one, other)]
    return same(shipped(one), shipped(other)) and turns[0] == turns[1]


def hosts(pids):
    """Those that are actors of ours."""
    found = []
    for pid in pids:
        try:
            if Path(f"/proc/{pid}/cmdline").read_bytes().startswith(b"ray::Host"):
                found.append(pid)
        except OSError:
            continue
    return found


def test_kills_of_actors_and_of_the_driver_change_nothing(alone, tmp_path, monkeypatch):
    drivers, all_pids, killed, notes = [], {}, [], []
    start, run = Cluster._start, Cluster.run

    def remembered(self):
        start(self)
        drivers.append(self.running[-1][0])

    def watched(self, rules, store, watch, asked):
        turns = 0

        def then(turn):
            nonlocal turns
            watch(turn)
            turns += 1
            here = family(drivers[-1].pid)
            all_pids.update({pid: born(pid) for pid in here})
            victims = {2: hosts(here)[:1], 5: [drivers[-1].pid]}.get(turns, [])
            for victim in victims:
                os.kill(victim, signal.SIGKILL)
                killed.append(victim)

        self.note = notes.append
        run(self, rules, store, then, asked)

    monkeypatch.setattr(Cluster, "_start", remembered)
    monkeypatch.setattr(Cluster, "run", watched)
    found = bitspike.tune(small(), tmp_path / "run", engine="ray", workers=2)
    assert (len(drivers), len(killed)) == (2, 2)
    assert equal(found, alone)
    assert notes[0].startswith("Ray listens in a network of its own" if isolation.prefix() else "warning: Ray listens")
    assert "with room for 2 actors; wanted: 2" in notes[1]
    left = [pid for pid, when in all_pids.items() if when is not None and born(pid) == when]
    assert not left
    assert not list(tmp_path.glob("**/.*.part"))
    again = bitspike.replay(found.path, tmp_path / "again")
    assert same(shipped(again), shipped(found))


# Two machines of one core each. What is said at the end: codes and words of those who had no token, or another one.
TWO_MACHINES = """
import json, os, subprocess, sys, tempfile, time
from pathlib import Path
out, home, alone, *sets = sys.argv[1:]
if alone == "True":
    from bitspike.population.ray.isolation import loopback_up
    loopback_up()
from ray.cluster_utils import Cluster

# Whatever temp_dir says, the cluster's address is written there.
Path(tempfile.gettempdir(), "ray").mkdir(exist_ok=True)
TUNE = [sys.executable, "-m", "bitspike", "tune", "tune-digits", "--engine", "ray"]
TUNE += [word for entry in sets for word in ("--set", entry)]
cluster = Cluster(True, head_node_args={"num_cpus": 1, "include_dashboard": False, "temp_dir": home + "/r"})
other = cluster.add_node(num_cpus=1)
address = cluster.address

def asked(*more, **environment):
    known = {k: v for k, v in {**os.environ, **environment}.items() if v}
    return subprocess.Popen([*TUNE, "--address", address, *more], env=known, stderr=subprocess.PIPE, text=True)

said = {}
strangers = {"none": {"RAY_AUTH_MODE": "disabled", "RAY_AUTH_TOKEN_PATH": ""},
             "another": {"RAY_AUTH_TOKEN": "b" * 64, "RAY_AUTH_TOKEN_PATH": ""}}
for name, environment in strangers.items():
    process = asked("--out", out + "-" + name, **environment)
    said[name] = process.communicate()[1], process.returncode

run = asked("--out", out)
folder = Path(out) / "population"
while run.poll() is None:
    turns = sum(len(path.read_text().splitlines()) for path in folder.glob("*.jsonl"))
    if other is not None and turns >= 6:
        cluster.remove_node(other, allow_graceful=False)
        other = None
    time.sleep(0.05)
said["member"] = run.communicate()[1], run.returncode
said["lost"] = other is None
cluster.shutdown()
Path(out + ".json").write_text(json.dumps(said))
"""


def test_a_population_survives_one_of_two_machines_and_strangers_stay_out(alone, tmp_path, tmp_path_factory):
    home = tmp_path_factory.mktemp("r")
    (home / "token").write_text("a" * 64)
    environment = {**os.environ, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(home / "token")}
    environment |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}
    prefix = isolation.prefix()
    out = tmp_path / "run"
    subprocess.run(
        [*prefix, sys.executable, "-c", TWO_MACHINES, str(out), str(home), str(bool(prefix)), *SMALL],
        env=environment, check=True, timeout=600,
    )  # fmt: skip
    said = json.loads((tmp_path / "run.json").read_text())
    for name in ("none", "another"):
        words, code = said[name]
        assert code == 2, words
        assert "--engine ray: the cluster asks for another token" in words
        assert "Traceback" not in words
        assert not (tmp_path / f"run-{name}" / "result.json").exists()
    words, code = said["member"]
    assert code == 0, words
    assert said["lost"]
    assert "machines of the cluster: 2, with room for 2 actors; wanted: 2" in words
    assert equal(bitspike.load(out), alone)


def test_members_run_under_the_scheduler_of_ray_tune(tmp_path):
    recipe = small("population.exploit.fraction=0.4")
    found = scheduled(recipe, tmp_path / "run")
    space = Evolution(recipe.population, recipe.seed).space
    assert [(trial["updates"], trial["ready"]) for trial in found["trials"]] == [(UPDATES, 5)] * 4
    assert found["copies"] > 0
    assert all(space.holds(trial["values"]) for trial in found["trials"])
    assert found["best"]["score"] == min(trial["score"] for trial in found["trials"])
    with pytest.raises(BitspikeError, match="which is all Ray Tune has"):
        scheduled(small("population.strategy=random", "population.exploit={}"), tmp_path / "no")
