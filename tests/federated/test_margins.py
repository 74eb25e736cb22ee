"""Margins by a client's own labels: by hand, off, where they are refused, and in a federation."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

import bitspike
from bitspike import load_recipe
from bitspike.errors import BitspikeError
from bitspike.federated.client import Client
from bitspike.federated.margins import margins
from bitspike.federated.server import Server
from bitspike.learners import BackpropLearner, OnlineLearner
from bitspike.run.assemble import load_data

SMALL = ["model.layers=['8']", "encoder.steps=3", "federation.rounds=2", "federation.clients=4", "federation.epochs=1"]
ONLINE = ["learner.rule=online", "learner.burn_in=1", "model.neuron={kind='bisnn'}"]


@pytest.fixture(scope="module")
def dataset():
    return load_data(load_recipe("federated-digits"))


def test_margins_are_those_of_the_counts():
    """16 and 1 examples, none, and 81 of a class each; -1 is none."""
    targets = torch.cat([torch.full((16,), 0), torch.tensor([1, -1, -1]), torch.full((81,), 3)])
    assert margins(targets, 4, 2.0).tolist() == pytest.approx([1.0, 2.0, 1e4, 2 / 3])


class Alone(torch.nn.Module):
    def forward(self, events):
        return events


def learner(rule):
    return (BackpropLearner if rule == "backprop" else OnlineLearner)(Alone(), None)


def loss_of(one, logits, targets):
    """Mean loss of logits (B, C), by either rule."""
    if hasattr(one, "local_loss"):
        return one.local_loss(logits, targets)
    return one.example_losses(logits.unsqueeze(0), targets)[0].mean()


@pytest.mark.parametrize("rule", ["backprop", "online"])
def test_a_loss_by_hand_and_an_unseen_class_is_left_alone(rule):
    """Counts 16, 1, 0 and tau = 1: logits (1, 1, 50) are (0.5, 0) to the loss."""
    logits, targets = torch.tensor([[1.0, 1.0, 50.0]], requires_grad=True), torch.tensor([0])
    one = learner(rule)
    without = loss_of(one, logits, targets)
    assert torch.equal(without, F.cross_entropy(logits, targets))
    assert one.with_margins(logits) is logits
    one.margins = margins(torch.tensor([0] * 16 + [1]), 3, 1.0)
    loss = loss_of(one, logits, targets)
    assert loss.item() == pytest.approx(math.log(1 + math.exp(-0.5)), rel=1e-6)
    (gradient,) = torch.autograd.grad(loss, logits)
    p = 1 / (1 + math.exp(-0.5))
    assert gradient.tolist() == [pytest.approx([p - 1, 1 - p, 0.0], rel=1e-5)]
    assert gradient[0, 2] == 0


@pytest.mark.parametrize("rule", ["backprop", "online"])
def test_two_classes_with_one_read_out(rule):
    """Counts 16 and 1, tau = 1: sigmoid(r - 0.5) is the chance of the second; alone, a class has no loss."""
    readout, targets = torch.tensor([[0.3], [-2.0]], requires_grad=True), torch.tensor([1, 0])
    one = learner(rule)
    one.margins = margins(torch.tensor([0] * 16 + [1]), 2, 1.0)
    wanted = (math.log(1 + math.exp(0.2)) + math.log(1 + math.exp(-2.5))) / 2
    assert loss_of(one, readout, targets).item() == pytest.approx(wanted, rel=1e-6)
    one.margins = margins(torch.ones(5, dtype=torch.int64), 2, 1.0)
    loss = loss_of(one, readout, torch.tensor([1, 1]))
    assert loss.item() == 0
    assert not bool(torch.autograd.grad(loss, readout)[0].any())


@pytest.mark.parametrize("more", [[], ONLINE])
def test_clients_have_margins_of_their_own_and_the_network_of_old_is_left_where_they_are_off(more, dataset):
    rows = [torch.nonzero(dataset.train.y < 4)[:, 0], torch.nonzero(dataset.train.y >= 4)[:, 0]]
    sent = {}
    for tau in (None, 0, 1.0):
        given = load_recipe("federated-digits", [*SMALL, *more, "federation.clients=2",
                            *([] if tau is None else [f"federation.label_margin={tau}"])])  # fmt: skip
        client, order = Client(given, dataset, rows), Server(given, dataset, [len(some) for some in rows]).order()
        replies = [client.work(order, k, {}).parts["latent"] for k in (0, 1)]
        sent[tau] = [{name: part["value"] for name, part in reply.items()} for reply in replies]
        unseen = None if not tau else client.session.learner.margins.eq(1e4).tolist()
        assert unseen == (None if not tau else [True] * 4 + [False] * 6)
    for k in (0, 1):
        assert all(torch.equal(tensor, sent[0][k][name]) for name, tensor in sent[None][k].items())
        assert any(not torch.equal(tensor, sent[1.0][k][name]) for name, tensor in sent[None][k].items())


def test_a_federation_of_skewed_clients_learns_with_it(tmp_path):
    more = [*SMALL, "model.layers=['32']", "federation.partition.alpha=0.1", "federation.label_margin=1.0"]
    run = bitspike.federate("federated-digits", tmp_path / "run", overrides=[*more, "federation.rounds=4"])
    assert run.result["test"]["accuracy"] > 0.4
    assert run.recipe.federation.label_margin == 1.0


@pytest.mark.parametrize(
    ("name", "more", "said"),
    [
        ("federated-digits-vowel", [], r"got 1 with learner\.rule 'vowel', wanted 0, or 'backprop' or 'online'"),
        ("federated-digits", [*ONLINE, "learner.loss=smooth-l1"], r"got 1 with learner\.loss 'smooth-l1', wanted 0"),
    ],
)
def test_what_has_no_softmax_of_logits_refuses_it(name, more, said):
    given = load_recipe(name, [*more, "federation.label_margin=1"])
    with pytest.raises(BitspikeError, match=rf"federation\.label_margin: {said}"):
        Server(given, load_data(given), [100] * given.federation.clients)


def test_values_have_no_classes():
    given = load_recipe("regression-1d-full", ["federation={label_margin=2.0, clients=2}"])
    with pytest.raises(BitspikeError, match=r"label_margin: got 2 with regression, wanted 0, or classification"):
        Server(given, load_data(given), [10, 10])
