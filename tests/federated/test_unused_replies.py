"""A federation whose replies nobody could use is refused; where some were not used, the result says so."""

from __future__ import annotations

import json
import math

import pytest

import bitspike
from bitspike import load_recipe
from bitspike.errors import BitspikeError
from bitspike.federated.messages import Message
from bitspike.federated.rows import warnings, why_unused
from bitspike.run.assemble import load_data

from ..commands import here

SMALL = ["model.layers=['8']", "encoder.steps=2", "federation.rounds=3", "federation.clients=3", "federation.epochs=1"]
SMALL += ["federation.partition.kind=iid"]


@pytest.fixture(scope="module")
def dataset():
    return load_data(load_recipe("federated-digits"))


def with_loss(message, loss):
    return Message(**{**vars(message), "metrics": {**message.metrics, "loss": loss}})


def test_a_federation_in_which_nobody_answers_is_refused_and_can_be_read_and_done_again(tmp_path, monkeypatch, capsys):
    line = ["federate", "federated-digits", *(word for entry in SMALL for word in ("--set", entry)), "--out", "a"]
    absent = [*line, "--set", "federation.dropouts=1.0"]
    monkeypatch.chdir(tmp_path)
    ended, resumed = here(monkeypatch, capsys, absent, [*absent, "--resume"])
    for done in (ended, resumed):
        assert done.code == 2
        assert done.stdout == ""
        said = done.stderr.splitlines()[-1]
        assert "federation 'federated-digits': none of its 3 rounds was added up (9 dropped out): " in said
        assert "'a' keeps the rounds (federation.json)" in said
        assert "--overwrite" in said
    assert not (tmp_path / "a/result.json").exists()
    rows = json.loads((tmp_path / "a/federation.json").read_text())["rounds"]
    assert [row["dropped"] for row in rows] == [[0, 1, 2]] * 3
    page, again = here(monkeypatch, capsys, ["report", "a"], [*line, "--overwrite"])
    assert page.code == 2
    assert page.stderr == "bitspike: run 'a': not finished; `bitspike federate ... --resume` goes on with it\n"
    assert again.code == 0
    assert json.loads((tmp_path / "a/result.json").read_text())["test"]["accuracy"] > 0.3


def test_why_no_reply_was_used_is_counted_by_reason(dataset, tmp_path):
    def tamper(message):
        return None if message.client == 2 else with_loss(message, math.nan) if message.client else message

    more = [*SMALL, "federation.least=2", "federation.stragglers=0.3", "training.keep=best"]
    with pytest.raises(BitspikeError, match="none of its 3 rounds was added up") as caught:
        bitspike.federate("federated-digits", tmp_path / "run", overrides=more, dataset=dataset, tamper=tamper)
    rows = json.loads((tmp_path / "run/federation.json").read_text())["rounds"]
    late = sum(len(row["late"]) for row in rows)
    assert late > 0
    refused = sum(1 not in row["late"] for row in rows)
    for said in (
        f"{refused} refused (metrics: loss is nan)",
        f"{late} too late",
        "without a reply",
        "valid, but fewer",
    ):
        assert said in str(caught.value)


def test_rounds_and_clients_that_were_left_out_are_among_the_warnings(dataset, tmp_path):
    def tamper(message):
        if message.round == 2:
            return None
        return with_loss(message, math.inf) if message.client == 1 else message

    run = bitspike.federate("federated-digits", tmp_path / "run", overrides=SMALL, dataset=dataset, tamper=tamper)
    wanted = ["1 of 3 rounds left the network as it was, with too few replies to use: 3 without a reply"]
    assert run.result["warnings"][-1:] == wanted
    assert json.loads((tmp_path / "run/result.json").read_text())["warnings"] == run.result["warnings"]
    assert wanted[0] in bitspike.report(run.path).read_text()


def row(number, state="aggregated", asked=(0, 1), **more):
    usual = {"dropped": [], "late": [], "replies": len(asked), "refused": {}}
    return {"round": number, "state": state, "asked": list(asked), **usual, **more}


def test_what_rows_say():
    assert warnings([row(1), row(2)]) == []
    digests = {"1": "digest: altered on the way", "7": "client: 7 was not asked"}
    some = [row(1, replies=1, refused=digests), row(2, replies=1, late=[1]), row(3, replies=1, refused=digests)]
    assert warnings(some) == ["client 1 was refused in each of its 2 rounds (digest: altered on the way)"]
    few = row(4, "too few replies", (0, 1, 2, 3), replies=1, refused={"3": "norm: 5; replay: again"}, dropped=[0])
    counted = "1 refused (norm: 5), 1 refused (replay: again), 1 dropped out, 1 valid, but fewer than federation.least"
    assert why_unused([few]) == f"{counted}, 1 without a reply"
    assert warnings([*some, few])[0].startswith("1 of 4 rounds left the network as it was, with too few replies to use")
    everybody = {str(k): "norm: long" for k in range(5)}
    lines = warnings([row(1, asked=range(6), replies=1, refused=everybody)])
    assert [line.partition(" was")[0] for line in lines[:3]] == ["client 0", "client 1", "client 2"]
    assert lines[3:] == ["so were 2 more clients: federation.json says which"]
