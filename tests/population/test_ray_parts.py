"""What the Ray engine refuses, keeps to itself and works out: without Ray."""

from __future__ import annotations

import importlib.util
import socket
import stat
import subprocess
import sys

import pytest
from tests.population.small import small

import bitspike
from bitspike.errors import BitspikeError
from bitspike.population.ray import isolation, settings
from bitspike.population.ray.actors import room, share_of_gpus
from bitspike.run.assemble import load_data

TOKENS = ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")


@pytest.fixture
def installed(monkeypatch, tmp_path):
    monkeypatch.setattr(settings, "wanted", lambda field: None)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in TOKENS:
        monkeypatch.delenv(name, raising=False)


@pytest.mark.skipif(importlib.util.find_spec("ray") is not None, reason="the extra is installed")
def test_without_the_extra_one_line_says_what_installs_it(tmp_path):
    with pytest.raises(BitspikeError, match=r"--engine ray: not installed; .*pip install -e '.\[ray\]' adds it"):
        bitspike.tune(small(), tmp_path / "run", engine="ray")
    assert not (tmp_path / "run").exists()


def test_what_the_engine_cannot_do_is_refused_before_anything_is_written(installed, tmp_path, monkeypatch):
    def refused(match, **given):
        with pytest.raises(BitspikeError, match=match):
            bitspike.tune(small(), tmp_path / "run", **given)

    refused("--engine: got ray with examples in memory", engine="ray", dataset=load_data(small()))
    refused("--device: got mps", engine="ray", device="mps")
    refused("--address: got 'auto' with --engine local", address="auto")
    for wrong in ("host", "ray://host:1", "host:x", "host:123456"):
        refused("--address: got '.*', wanted HOST:PORT", engine="ray", address=wrong)
    refused("--address: got no token, wanted the cluster's", engine="ray", address="127.0.0.1:1")
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").write_text("secret")
    settings.check("[::1]:6379", "cpu", False)
    assert not (tmp_path / "run").exists()


def test_a_cluster_of_our_own_has_a_token_of_its_own(tmp_path, monkeypatch):
    monkeypatch.setenv("RAY_AUTH_TOKEN", "another's")
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.setenv("RAY_ADDRESS", "elsewhere:1")
    found = settings.environment(tmp_path, None)
    path = tmp_path / "token"
    assert (found["RAY_AUTH_MODE"], found["RAY_AUTH_TOKEN_PATH"]) == ("token", str(path))
    assert not {"RAY_AUTH_TOKEN", "RAY_ADDRESS"} & set(found)
    assert found["RAY_USAGE_STATS_ENABLED"] == "0"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert len(path.read_text()) == 64
    before = path.read_text()
    settings.environment(tmp_path, None)  # a driver that was killed is started again
    assert path.read_text() == before
    joined = settings.environment(tmp_path, "host:1")
    assert (joined["RAY_AUTH_MODE"], joined["RAY_AUTH_TOKEN"]) == ("disabled", "another's")
    monkeypatch.delenv("RAY_AUTH_MODE")
    assert settings.environment(tmp_path, "host:1")["RAY_AUTH_MODE"] == "token"


def test_actors_that_fit():
    nodes = [{"Alive": True, "Resources": {"CPU": 5.0}}, {"Alive": False, "Resources": {"CPU": 64.0}},
             {"Alive": True, "Resources": {"memory": 1.0}}, {"Alive": True, "Resources": {"CPU": 3.0}}]  # fmt: skip
    assert [room(nodes, threads) for threads in (1, 2, 4, 8)] == [8, 3, 1, 0]
    assert [share_of_gpus(gpus, 3) for gpus in (1.0, 2.0, 3.0, 8.0)] == [1 / 3, 0.5, 1.0, 1.0]


LISTENER = """
import socket
from bitspike.population.ray import isolation
isolation.loopback_up()
with socket.create_server(("0.0.0.0", 0)) as one:
    port = one.getsockname()[1]
    socket.create_connection(("127.0.0.1", port)).close()
    print(port, isolation.said(False), flush=True)
    input()
"""


@pytest.mark.skipif(not isolation.prefix(), reason="user namespaces are not allowed here")
def test_in_a_network_of_its_own_nobody_else_reaches_a_process():
    command = [*isolation.prefix(), sys.executable, "-c", LISTENER]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        port, _, said = process.stdout.readline().strip().partition(" ")
        with pytest.raises(OSError, match="refused"):
            socket.create_connection(("127.0.0.1", int(port)), timeout=5)
        process.communicate("\n")
    assert said.startswith("warning: Ray listens on 0.0.0.0:")
