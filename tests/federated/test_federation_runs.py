"""Runs of federations: what is left of one, going on after a stop, the command, damaged checkpoints."""

from __future__ import annotations

import json
import os
import shutil
import signal

import pytest
import torch

import bitspike
from bitspike import load_recipe
from bitspike.errors import BitspikeError
from bitspike.run.assemble import load_data
from bitspike.run.signals import Interrupted

from ..commands import here

SMALL = ["model.layers=['16']", "encoder.steps=3", "federation.rounds=3", "federation.clients=4", "federation.epochs=1"]


@pytest.fixture(scope="module")
def dataset():
    return load_data(load_recipe("federated-digits"))


def equal(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    path = tmp_path_factory.mktemp("whole") / "run"
    return bitspike.federate("federated-digits", path, overrides=[*SMALL, "federation.state=disk"])


def result(run):
    return {**run.result, "seconds": 0}


def test_a_federation_ends_as_an_ordinary_run(whole, dataset):
    assert bitspike.load(whole.path).predict(dataset.test.x[:3]).shape == (3, 10)
    assert whole.evaluate()["accuracy"] == whole.result["test"]["accuracy"] > 0.5
    page = bitspike.report(whole.path).read_text()
    assert "How clients learned it together" in page
    found = json.loads((whole.path / "federation.json").read_text())
    rows = found["rounds"]
    assert [row["round"] for row in rows] == [1, 2, 3]
    numbers = 64 * 16 + 16 * 10 + 2 * 26 + 2 * 26  # latents, gains and offsets, means and variances
    assert [row["bits_up"] for row in rows] == [4 * 32 * numbers] * 3 == [row["bits_down"] for row in rows]
    up, down = 4 * 32 * 2 * 26, 4 * 32 * numbers
    assert found["settled"] == {"clients": 4, "refused": {}, "bits_up": up, "bits_down": down}
    records = [json.loads(line) for line in (whole.path / "metrics.jsonl").read_text().splitlines()]
    assert [record["validation"]["accuracy"] for record in records] == [row["accuracy"] for row in rows]
    assert bitspike.write_results([whole.path], whole.path / "r.json")["federations"][0]["clients"] == 4


@pytest.mark.parametrize(("state", "stop"), [("disk", 6), ("kept", 9), ("reset", 1)])
def test_a_federation_that_is_stopped_goes_on_to_the_same_end(whole, tmp_path, state, stop):
    """stop: messages after which a signal comes: within a round, or with its last client."""
    more = [*SMALL, f"federation.state={state}"]
    calls = []

    def signalled(message):
        calls.append(message.client)
        if len(calls) == stop:
            os.kill(os.getpid(), signal.SIGINT)
        return message

    with pytest.raises(Interrupted, match="stopped in round"):
        bitspike.federate("federated-digits", tmp_path / "run", overrides=more, tamper=signalled)
    again = bitspike.federate("federated-digits", tmp_path / "run", overrides=more, resume=True)
    if state != "reset":
        assert result(again) == {**result(whole)}
        assert equal(again.model.state_dict(), whole.model.state_dict())
    else:
        undisturbed = bitspike.federate("federated-digits", tmp_path / "other", overrides=more)
        assert result(again) == result(undisturbed)


def test_rounds_that_are_not_measured_and_checkpoints_behind_several(tmp_path):
    more = [*SMALL, "federation.rounds=5", "training.validate_every=2", "federation.checkpoint_every=2"]
    more += ["training.keep=best", "federation.aggregator.kind=momentum", "federation.aggregator.beta=0.5"]
    heard = []

    def nobody_then_a_signal(message):
        heard.append(message.client)
        if len(heard) == 16:
            os.kill(os.getpid(), signal.SIGINT)
        return None if 9 <= len(heard) <= 12 else message

    def nobody(message):
        heard.append(message.client)
        return None if 9 <= len(heard) <= 12 else message

    path = tmp_path / "stopped"
    with pytest.raises(Interrupted, match="rounds up to 4"):
        bitspike.federate("federated-digits", path, overrides=more, tamper=nobody_then_a_signal)
    again = bitspike.federate("federated-digits", path, overrides=more, resume=True)
    heard.clear()
    other = bitspike.federate("federated-digits", tmp_path / "other", overrides=more, tamper=nobody)
    assert result(again) == result(other)
    rows = json.loads((other.path / "federation.json").read_text())["rounds"]
    assert ["accuracy" in row for row in rows] == [False, True, False, True, True]
    assert other.result["kept_epoch"] in (2, 4, 5)
    bitspike.report(other.path)


def test_the_command_and_what_it_refuses(tmp_path, monkeypatch, capsys):
    small = [word for entry in SMALL for word in ("--set", entry)]
    monkeypatch.chdir(tmp_path)
    done = here(
        monkeypatch,
        capsys,
        ["federate", "federated-digits", *small, "--set", "federation.rounds=1", "--out", "a"],
        ["train", "federated-digits", "--out", "b"],
        ["federate", "digits-st", "--out", "b"],
        ["federate", "federated-digits", "--set", "training.epochs=3", "--out", "b"],
        ["federate", "federated-digits", "--set", "federation.updates=3", "--set", "federation.steps=3"],
        ["federate", "federated-digits", "--engine", "flour", "--out", "b"],
        ["federate", "federated-digits", "--set", "federation.partition.alfa=3", "--out", "b"],
    )
    assert [one.code for one in done] == [0, 2, 2, 2, 2, 2, 2]
    said = [one.stderr for one in done]
    assert "round 1  accuracy" in said[0]
    assert "replies 4/4  up " in said[0]
    for text, wanted in zip(
        said[1:7],
        [
            "wanted `bitspike federate`", "got no table [federation]", "training.epochs: got 3 with [federation]",
            "wanted one of them", "--engine: got 'flour'",
            "alpha",
        ],
        strict=True,
    ):  # fmt: skip
        assert wanted in text
        assert text.count("\n") == 1
    assert not (tmp_path / "b").exists()


def test_other_shares_do_not_resume(tmp_path):
    more = [*SMALL, "federation.rounds=2"]
    halves = [range(0, 600), range(600, 1294)]

    def stopped(message):
        os.kill(os.getpid(), signal.SIGINT)
        return message

    def start(shares, **how):
        return bitspike.federate(
            "federated-digits", tmp_path / "run", overrides=[*more, "federation.clients=2"], shares=shares, **how
        )

    calls = iter([None] * 2)

    def second(message):
        return message if next(calls, stopped) is None else stopped(message)

    with pytest.raises(Interrupted):
        start(halves, tamper=second)
    with pytest.raises(BitspikeError, match="other shares of the clients"):
        start(halves[::-1], resume=True)
    assert start(halves, resume=True).result["test"]["accuracy"] > 0


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """A run that was stopped in its second round."""
    path, heard = tmp_path_factory.mktemp("stopped") / "run", []

    def signalled(message):
        heard.append(message.client)
        if len(heard) == 6:
            os.kill(os.getpid(), signal.SIGINT)
        return message

    more = [*SMALL, "federation.state=disk", "federation.codec.kind=sign", "federation.aggregator.kind=momentum"]
    with pytest.raises(Interrupted):
        bitspike.federate("federated-digits", path, overrides=more, tamper=signalled)
    return path, more


def cut(state):
    state["federation"]["rows"].pop()


def no_counts(state):
    state["federation"]["rows"][0]["bits_up"] = "many"


def elsewhere(state):
    state["clients"]["files"]["0"] = "../0-1"


def none_there(state):
    state["clients"]["files"]["0"] = "7-1"


def of_nothing(state):
    state["federation"]["aggregator"] = {}


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (cut, "rows that are not those of 1 rounds"), (no_counts, "counts or a state that are none"),
        (elsewhere, "a file of a client that is not called so"), (none_there, "7-1.json': no such file"),
        (of_nothing, "aggregator state: got"),
    ],
)  # fmt: skip
def test_a_damaged_checkpoint_is_refused_in_a_line(stopped, tmp_path, damage, said):
    path, more = stopped
    shutil.copytree(path, tmp_path / "run")
    place = tmp_path / "run/checkpoints/last.json"
    content = json.loads(place.read_text())
    damage(content["state"])
    place.write_text(json.dumps(content))
    with pytest.raises(BitspikeError, match=said):
        bitspike.federate("federated-digits", tmp_path / "run", overrides=more, resume=True)


def test_a_damaged_state_of_a_client_is_refused_in_a_line(stopped, tmp_path):
    path, more = stopped
    shutil.copytree(path, tmp_path / "run")
    place = tmp_path / "run/clients/0-1.json"
    content = json.loads(place.read_text())
    content["state"]["codec"] = {"left": {"real": {"norm_dense1.weight": "nothing"}}}
    place.write_text(json.dumps(content))
    with pytest.raises(BitspikeError, match="state of client 0: damaged"):
        bitspike.federate("federated-digits", tmp_path / "run", overrides=more, resume=True)
