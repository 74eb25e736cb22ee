"""Clients that learn side by side in one stack: as one after the other, but for the rounding of sums."""

from __future__ import annotations

import os
import signal
from dataclasses import replace

import pytest
import torch
from torch import nn

import bitspike
from bitspike import load_recipe
from bitspike.errors import BitspikeError
from bitspike.federated.client import Client
from bitspike.federated.local import Local
from bitspike.federated.server import Server
from bitspike.federated.stacked import Together
from bitspike.federated.store import Store
from bitspike.learners.stacked import stack_of
from bitspike.run.assemble import load_data
from bitspike.run.session import Place
from bitspike.run.signals import Interrupted

SIZES = (50, 24, 29, 36, 45)  # batches of 24, and 12, or 21, or what is too few for one
SMALL = ["model.layers=['8']", "encoder.steps=3", "federation.rounds=3", "federation.clients=5", "training.batch=24"]
SMALL += ["federation.partition.kind=iid", "data.validation=40", "evaluation.energy_examples=20"]
ONLINE = ["learner.rule=online", "learner.burn_in=1", "model.neuron={kind='bisnn', tau_mem=2.0}"]
PROXIMAL = "federation.aggregator={kind='fedprox', mu=0.5}"
CASES = {
    "binary, Adam": [],
    "real, SGD": ["weights.precision=full", "optimizer={name='SGD', lr=0.1, options={momentum=0.9}}"],
    "Bayesian": ["weights={precision='bayesian', relaxed=true}", "learner.rho=1e-3", "learner.draws=2"],
    "padded": ["model.norm=scale", "learner.loss=every-step", "learner.clip=0.5"],
    "convolution": ["model.layers=['4c3p2', '8']", "federation.statistics=home", "latent_optimizer.name=AdamW"],
    "online, Bayesian": [*ONLINE, "weights={precision='bayesian', relaxed=true}"],
    "online, convolution": [*ONLINE, "model.layers=['4c3', 'p2', '8']", PROXIMAL],
    "margins": ["federation.label_margin=1", "learner.loss=every-step", "federation.statistics=home"],
    "online, margins": [*ONLINE, "federation.label_margin=0.5"],
    "through time": ["model.norm=bntt", PROXIMAL],
}


@pytest.fixture(scope="module")
def dataset():
    return load_data(load_recipe("federated-digits", SMALL))


def recipe(*more):
    return load_recipe("federated-digits", [*SMALL, *more])


def client(dataset, given, dtype=torch.float32):
    return Client(given, dataset, list(torch.arange(sum(SIZES)).split(SIZES)), Place(dtype=dtype))


def values(message):
    return {name: part["value"] for some in message.parts.values() for name, part in some.items()}


def apart(one, other):
    """Largest distance between tensors of the same name, in their lengths."""
    assert one.keys() == other.keys()
    return max(float((a - other[name]).norm() / a.norm().clamp_min(1e-12)) for name, a in one.items())


@pytest.mark.parametrize("case", CASES)
def test_replies_of_stacked_clients_are_those_of_clients_one_after_the_other(case, dataset):
    """In double precision; in the second round one more learns beside those whose moments are older."""
    given = recipe("federation.epochs=2", *CASES[case])
    alone = client(dataset, given, torch.float64)
    stacked = recipe("federation.epochs=2", "federation.stacked=4", *CASES[case])
    together = Together(client(dataset, stacked, torch.float64))
    order = Server(given, dataset, SIZES).order()
    begun = order.roles["latent"] | order.roles["real"]
    states, others = ({k: {} for k in range(5)} for _ in range(2))
    for number, some in ((1, (0, 2, 4)), (2, (0, 1, 3, 4))):
        order = replace(order, round=number)
        messages = together.work(order, [(k, others[k]) for k in some])
        for k, message in zip(some, messages, strict=True):
            wanted = alone.work(order, k, states[k])
            assert (message.round, message.client, message.examples) == (number, k, SIZES[k])
            assert message.metrics == pytest.approx(wanted.metrics, rel=1e-9)
            assert apart(values(message), values(wanted)) < 1e-9
            assert all(bool((values(message)[name] != start).any()) for name, start in begun.items())
            assert others[k].keys() == states[k].keys()
            assert others[k]["learner"]["updates"] == states[k]["learner"]["updates"]


def local(dataset, given):
    return Local(Server(given, dataset, SIZES), client(dataset, given), Store())


def test_rounds_are_recorded_as_those_of_clients_one_after_the_other(dataset):
    more = ["federation.state=reset", "federation.stragglers=0.5", "federation.dropouts=0.2"]
    one, other = local(dataset, recipe(*more)), local(dataset, recipe(*more, "federation.stacked=2"))
    for _ in range(2):
        row, same = one.round(), other.round()
        for name in ("asked", "late", "dropped", "replies", "refused", "bits_up", "bits_down", "state", "accuracy"):
            assert row[name] == same[name], name
        assert row["client_loss"] == pytest.approx(same["client_loss"], rel=1e-4)
        assert row["deviation"] == pytest.approx(same["deviation"], rel=1e-4)
    first, second = (engine.server.session.model.state_dict() for engine in (one, other))
    assert apart(first, second) < 1e-4
    assert one.store.small == other.store.small


def test_a_federation_of_stacked_clients_that_is_stopped_goes_on_to_the_same_end(tmp_path):
    more = [*SMALL, "federation.stacked=2", "federation.rounds=2", "federation.updates=2"]
    calls = []

    def signalled(message):
        calls.append(message.client)
        if len(calls) == 7:
            os.kill(os.getpid(), signal.SIGINT)
        return message

    with pytest.raises(Interrupted, match="stopped in round 2"):
        bitspike.federate("federated-digits", tmp_path / "run", overrides=more, tamper=signalled)
    again = bitspike.federate("federated-digits", tmp_path / "run", overrides=more, resume=True)
    whole = bitspike.federate("federated-digits", tmp_path / "whole", overrides=more)
    assert again.result["test"] == whole.result["test"]
    found, wanted = again.model.state_dict(), whole.model.state_dict()
    assert all(torch.equal(tensor, wanted[name]) for name, tensor in found.items())


class Doubled(nn.Module):
    def forward(self, x):
        return 2 * x


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ([*ONLINE, "federation.steps=5"], "2 with federation.steps"),
        (["model.layers=['8', 'd0.5']"], r"2 with 'dropout2' \(Dropout\), which draws numbers"),
        (["learner.spike_penalty=2"], "2 with learner.spike_penalty 2, wanted 1, or a penalty of 0"),
        (["latent_optimizer.name=RMSprop"], "2 with optimizer.name 'RMSprop', wanted 1, or 'SGD', 'Adam' or 'AdamW'"),
    ],
)
def test_what_cannot_be_stacked_is_refused(more, said, dataset):
    with pytest.raises(BitspikeError, match=f"federation.stacked: got {said}"):
        local(dataset, recipe("federation.stacked=2", *more))


def test_a_network_that_is_not_a_plain_one_is_refused():
    given = load_recipe("federated-rows-hybrid", ["federation.stacked=2"])
    with pytest.raises(BitspikeError, match=r"federation.stacked: got 2 with model.kind 'lmu'"):
        bitspike.federate(given, "never", dataset=load_data(given))


def test_modules_of_ones_own_are_not_stacked(dataset):
    learner = client(dataset, recipe()).session.learner
    learner.model.add_module("doubled", Doubled())
    with pytest.raises(BitspikeError, match=r"'doubled' \(Doubled\), a module of one's own"):
        stack_of(learner, 2)


def test_other_engines_do_not_stack(tmp_path):
    with pytest.raises(BitspikeError, match="got 2 with --engine flower, wanted 1, or --engine local"):
        bitspike.federate("federated-digits", tmp_path / "run", overrides=["federation.stacked=2"], engine="flower")
    assert not (tmp_path / "run").exists()


HUGE = "optimizer={name='SGD', lr=1e30}"


def test_a_loss_that_is_not_finite_stops_as_it_does_alone(dataset):
    said = []
    for stacked in (1, 2):
        given = recipe(f"federation.stacked={stacked}", "weights.precision=full", "model.norm=scale", HUGE)
        with pytest.raises(BitspikeError) as caught:
            local(dataset, given).round()
        said.append(str(caught.value))
    assert said[0] == said[1]
    assert said[0].startswith("client 0: ")
    assert "at update 2, first non-finite value in layer" in said[0]
