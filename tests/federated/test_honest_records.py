"""What a federation writes down is what happened, and what ends it is as hard to spoil as its rounds."""

from __future__ import annotations

import errno
import json

import pytest
import torch

import bitspike
from bitspike import load_recipe
from bitspike.errors import BitspikeError
from bitspike.federated.client import Client
from bitspike.federated.local import Local
from bitspike.federated.partition import share_out
from bitspike.federated.schedule import round_of
from bitspike.federated.server import Server
from bitspike.federated.store import Store
from bitspike.run.assemble import load_data
from bitspike.run.session import Session

SMALL = ["model.layers=['16']", "encoder.steps=3", "federation.rounds=3", "federation.clients=5", "federation.epochs=1"]
SMALL += ["federation.partition.kind=iid"]


@pytest.fixture(scope="module")
def dataset():
    return load_data(load_recipe("federated-digits"))


def engine(dataset, *more):
    given = load_recipe("federated-digits", [*SMALL, *more])
    rows = share_out(given.federation, dataset.train, True, given.seed)
    server = Server(given, dataset, [len(some) for some in rows])
    return Local(server, Client(given, dataset, rows), Store())


def record(run):
    return json.loads((run.path / "federation.json").read_text())


@pytest.mark.parametrize("kind", ["median", "trimmed-mean", "krum", "mean"])
def test_one_client_does_not_spoil_the_statistics_of_the_finished_network(dataset, kind):
    local = engine(dataset, f"federation.aggregator.kind={kind}", "federation.rounds=1")
    local.round()
    honest = local.client.settle

    def settle(order, client):
        roles = honest(order, client)
        if client == 0:
            roles["statistic"] = {name: t + 1e3 * t[0] for name, t in roles["statistic"].items()}
        return roles

    local.client.settle = settle
    local.settle()
    found = local.server.settled
    assert found["refused"].keys() == {"0"}
    assert "times the median" in found["refused"]["0"]
    assert found["clients"] == 4
    assert all(float(t[1].abs().max()) < 100 for t in local.server.roles["statistic"].values())


def test_robust_sums_settle_robustly(dataset):
    """Where the bound on lengths lets a reply pass, the median still does not follow it."""
    means, more = {}, torch.tensor([0.0, 1e3, 0.0, 0.0])[:, None]
    for kind in ("median", "mean"):
        local = engine(
            dataset, f"federation.aggregator.kind={kind}", "federation.rounds=1", "federation.norm_bound=1e9"
        )
        local.round()
        order = local.server.order()
        replies = {k: (100, local.client.settle(order, k)) for k in range(5)}
        shifted = {name: t + more for name, t in replies[0][1]["statistic"].items()}
        replies[0] = (100, {"statistic": shifted})
        local.server.settle(replies)
        means[kind] = max(float((t[1] / t[0]).abs().max()) for t in local.server.roles["statistic"].values())
    assert means["median"] < 100 < means["mean"]


def test_statistics_at_home_are_of_all_validation_inputs(dataset):
    """However large a batch of evaluation is; nearly, as batches' variances are averaged."""
    found = []
    for batch in (500, 30):
        local = engine(dataset, "federation.statistics=home", f"evaluation.batch={batch}")
        local.server.settle_at_home()
        found.append({k: v.clone() for k, v in local.server.session.model.state_dict().items() if "running" in k})
    # Those of the first layer: behind it, inputs have been normalised batch by batch.
    for name, whole in ((name, found[0][name]) for name in found[0] if "dense1" in name):
        torch.testing.assert_close(found[1][name], whole, rtol=0.1, atol=0.02)


def test_every_bit_that_came_is_counted(dataset):
    def refused(message):
        if message.client == 2:
            tensors = [t for parts in message.parts["latent"].values() for t in parts.values()]
            next(t for t in tensors if t.is_floating_point()).mul_(torch.nan)
        return message

    up = {}
    for codec in ("full", "sign"):
        for tamper in (None, refused):
            local = engine(dataset, f"federation.codec.kind={codec}")
            local.tamper = tamper
            up[codec, tamper] = local.round()["bits_up"]
    assert up["full", None] == up["full", refused]
    assert up["sign", None] == up["sign", refused] < up["full", None] / 5


def test_nobody_is_both_silent_and_late():
    part = load_recipe("federated-digits", ["federation.dropouts=0.5", "federation.stragglers=0.9"]).federation
    rounds = [round_of(part, 0, number) for number in range(1, 40)]
    assert any(now.silent for now in rounds)
    assert any(now.late for now in rounds)
    assert not any(now.silent & now.late for now in rounds)


def test_the_record_says_who_has_what(dataset, tmp_path):
    shares = [range(5), range(5, 12), range(12, 600), range(600, len(dataset.train))]
    told = [*SMALL, "federation.clients=4", "federation.rounds=1"]
    found = record(bitspike.federate("federated-digits", tmp_path / "run", overrides=told, shares=shares))
    assert found["partition"] == "shares that were given"
    assert found["shares"] == {"min": 5, "median": (7 + 588) / 2, "max": 694}
    with pytest.raises(BitspikeError, match=r"federation shares: got .*, wanted row numbers of each client"):
        bitspike.federate("federated-digits", tmp_path / "two", overrides=told, shares="abcd")


def test_the_rate_that_is_recorded_is_the_one_that_was_used(dataset):
    """A sum of rates is made into a rate by the clients' updates; a drop is told of when it has come."""
    local = engine(dataset, "optimizer.lr_sum=1.0", "schedule.kind=constant", "federation.rounds=2")
    local.round()
    used = local.client.usual_rates()["real"]
    assert [record["learning_rate"] for record in local.server.session.records] == [pytest.approx(used)]
    drops = ["schedule={kind = 'drops', at = [0.34, 0.67], drop = 0.1}", "optimizer.lr=0.01"]
    local = engine(dataset, *drops)
    for _ in range(3):
        local.round()
    rates = [record["learning_rate"] for record in local.server.session.records]
    assert rates == pytest.approx([0.01, 0.001, 0.0001])


def test_what_stops_between_two_checkpoints_ends_as_if_it_had_not(tmp_path, monkeypatch):
    """keep = "best": a last checkpoint that knows of a better round finds that round's network."""
    told = [*SMALL, "training.keep=best", "federation.rounds=4"]
    whole = bitspike.federate("federated-digits", tmp_path / "whole", overrides=told)
    save, saved = Session.save, []

    def full(self, folder, name, **more):
        saved.append(name)
        if len(saved) == stop:
            raise OSError(errno.ENOSPC, "No space left on device")
        save(self, folder, name, **more)

    for stop in range(2, 5):
        saved.clear()
        monkeypatch.setattr(Session, "save", full)
        with pytest.raises((OSError, BitspikeError)):
            bitspike.federate("federated-digits", tmp_path / f"{stop}", overrides=told)
        monkeypatch.setattr(Session, "save", save)
        again = bitspike.federate("federated-digits", tmp_path / f"{stop}", overrides=told, resume=True)
        assert {**again.result, "seconds": 0} == {**whole.result, "seconds": 0}, saved
