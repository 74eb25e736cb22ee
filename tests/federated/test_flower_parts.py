"""What Flower carries and what a client keeps: without Flower."""

from __future__ import annotations

import importlib.util
import os
import signal
import socket
import subprocess
from pathlib import Path

import pytest
import torch

from bitspike.errors import BitspikeError
from bitspike.federated.flower.bundle import address_of
from bitspike.federated.flower.wire import message_of, packed, unpacked
from bitspike.federated.flower.workers import Diary
from bitspike.federated.messages import Message, Refused
from bitspike.run.sockets import born, elsewhere, ended, family, in_session, listening

from ..commands import here


def message() -> Message:
    parts = {"real": {"a": {"value": torch.randn(3)}}, "statistic": {}}
    return Message(2, 1, 30, "digest", parts, {"loss": float("nan"), "examples": 30.0}).sealed()


def test_a_reply_comes_as_it_went():
    sent = message()
    came = message_of(unpacked(packed(vars(sent))), 1)
    assert came.digest == came.sha256() == sent.sha256()
    state = {"learner": {"moments": (torch.ones(2, 2), 3)}, 7: [1.5, None], "turns": 2}
    found = unpacked(packed(state))
    assert found[7] == [1.5, None]
    assert found["learner"]["moments"][1] == 3
    assert torch.equal(found["learner"]["moments"][0], torch.ones(2, 2))


def test_replies_that_are_none_are_refused_by_name():
    whole = packed(vars(message()))
    for cut in range(0, len(whole), 7):
        with pytest.raises(Refused, match="form"):
            unpacked(whole[:cut])
    for wrong in (None, "text", b"\xff" * 40, packed([]) + b"x"):
        with pytest.raises(Refused, match="form"):
            unpacked(wrong)
    for change in ({"client": 2}, {"digest": ""}, {"digest": 5}, {"more": 1}):
        with pytest.raises(Refused):
            message_of({**vars(message()), **change}, 1)
    with pytest.raises(Refused):
        message_of([1, 2], 1)


def test_a_client_finds_its_state_of_the_round_before(tmp_path: Path):
    diary = Diary(tmp_path, 3, 2)
    assert diary.get(1) == {}
    for number in (1, 3, 4, 6, 7):
        assert diary.get(number).get("turns", 0) == {1: 0, 3: 1, 4: 3, 6: 4, 7: 6}[number]
        diary.put(number, {"turns": number, "learner": {"moment": torch.full((2,), float(number))}})
    # In round 7 a server with a checkpoint every two rounds may go back to the end of round 5.
    assert sorted(path.name for path in tmp_path.glob("*.json")) == ["3-4.json", "3-6.json", "3-7.json"]
    assert float(diary.get(6)["learner"]["moment"][0]) == 4.0
    assert diary.get(9)["turns"] == 4  # what came after is of a time that the server has gone back from


def test_addresses():
    assert address_of("127.0.0.1:80", "--address") == ("127.0.0.1", 80)
    assert address_of("[::1]:8443", "--address") == ("::1", 8443)
    for wrong in ("", "host", "host:", ":80", "a b:80", "host:70000", "host:8x", "::1:80", "host:" + "9" * 50):
        with pytest.raises(BitspikeError, match="HOST:PORT"):
            address_of(wrong, "--address")


@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="sockets are looked up in /proc")
@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_sockets_that_listen_are_found(host):
    with socket.create_server((host, 0)) as one:
        port = one.getsockname()[1]
        found = listening({os.getpid()})
        assert (host, port) in found
        assert (f"{host}:{port}" in elsewhere(found)) == (host == "0.0.0.0")
    assert (host, port) not in listening({os.getpid()})


@pytest.mark.skipif(importlib.util.find_spec("flwr") is not None, reason="Flower is installed")
def test_without_flower_a_line_says_what_installs_it(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    lines = [["federate", "federated-digits", "--engine", "flower-simulation"],
             ["federate", "federated-digits", "--engine", "flower"], ["federate", "serve", "federated-digits"],
             ["federate", "join", "--client", "0"]]  # fmt: skip
    for done in here(monkeypatch, capsys, *lines):
        assert done.code == 2
        assert "pip install -e '.[flower]'" in done.stderr
        assert done.stderr.count("\n") == 1
    assert not (tmp_path / "runs").exists()


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes are looked up in /proc")
def test_a_process_that_outstays_is_ended_and_no_other():
    with subprocess.Popen(["sleep", "60"]) as one:
        when = born(one.pid)
        ended({one.pid: None if when is None else when - 1, os.getpid(): None}, 0.0)  # others, of the same numbers
        assert one.poll() is None
        ended({one.pid: when}, 0.0)
        assert one.wait(10) == -signal.SIGKILL
        assert born(one.pid) is None


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes are looked up in /proc")
def test_who_has_lost_his_parent_is_found_by_the_session():
    with subprocess.Popen(["sh", "-c", "sleep 60 & echo $!"], stdout=subprocess.PIPE, start_new_session=True) as one:
        assert one.stdout is not None
        orphan = int(one.stdout.readline())
        one.wait(10)
        assert orphan in in_session(one.pid) - family(one.pid)
        assert os.getpid() not in in_session(one.pid)
        ended({pid: born(pid) for pid in in_session(one.pid)}, 0.0)
        assert born(orphan) is None
