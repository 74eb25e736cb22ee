"""SCAFFOLD: the optimum of all clients, one client as a training, controls that add up, and what is refused."""

from __future__ import annotations

import json
import math
import os
import shutil
import signal

import pytest
import torch
import torch.nn.functional as F

import bitspike
from bitspike import Session, load_recipe
from bitspike.data.given import given
from bitspike.errors import BitspikeError
from bitspike.federated.aggregators import Reply
from bitspike.federated.client import Client
from bitspike.federated.local import Local
from bitspike.federated.messages import Message
from bitspike.federated.partition import share_out
from bitspike.federated.roles import each
from bitspike.federated.scaffold import Scaffold, gains
from bitspike.federated.server import Server
from bitspike.federated.store import Store
from bitspike.run.assemble import load_data
from bitspike.run.signals import Interrupted

SMALL = ["model.layers=['8']", "encoder.steps=3", "federation.rounds=4", "federation.clients=5", "federation.epochs=1"]
PLAIN = ["optimizer={name='SGD', lr=0.05}", "latent_optimizer={name='SGD', lr=0.5}"]
SCAFFOLD = [*SMALL, *PLAIN, "federation.aggregator.kind=scaffold"]


@pytest.fixture(scope="module")
def dataset():
    return load_data(load_recipe("federated-digits"))


def recipe(*more):
    return load_recipe("federated-digits", [*SCAFFOLD, *more])


def engine(recipe, dataset, rows=None, tamper=None):
    rows = share_out(recipe.federation, dataset.train, True, recipe.seed) if rows is None else rows
    server = Server(recipe, dataset, [len(some) for some in rows])
    return Local(server, Client(recipe, dataset, rows), Store(), tamper)


def tensors(session):
    return {name: tensor.clone() for name, tensor in session.model.state_dict().items()}


def equal(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


# Two clients with other inputs and other answers to them; a network of nothing but its read-out.
LOGISTIC = ["model.layers=[]", "model.norm=bias", "weights.precision=full", "encoder.steps=1", "schedule.kind=constant",
            "optimizer={name='SGD', lr=0.5}", "federation.clients=2", "federation.rounds=25", "federation.epochs=6",
            "federation.measured=8", "training.batch=200"]  # fmt: skip


def two_clients():
    source = torch.Generator().manual_seed(3)
    x, y = [], []
    for scale, slope, offset in ((1.0, 2.0, 1.5), (3.0, -0.7, -1.0)):
        some = scale * torch.randn(100, 2, generator=source)
        chance = torch.sigmoid(slope * some[:, 0] + 0.5 * some[:, 1] + offset)
        x.append(some)
        y.append((torch.rand(100, generator=source) < chance).long())
    data = given((torch.cat(x), torch.cat(y)), time=False, classes=["a", "b"], seed=0)[0]
    far = data.train.x.norm(dim=1) > 2
    return data, [torch.nonzero(~far)[:, 0], torch.nonzero(far)[:, 0]]


def slopes(data, rows, roles):
    """Gradient of the mean of the clients' losses, as one vector."""
    weight, bias = (roles["real"][f"readout.layer.{name}"].double().requires_grad_() for name in ("weight", "bias"))
    x, y = data.train.x.double(), data.train.y
    losses = [F.cross_entropy(x[some] @ weight.T + bias, y[some]) for some in rows]
    return torch.cat([g.flatten() for g in torch.autograd.grad(sum(losses) / len(losses), [weight, bias])])


def test_several_local_steps_end_at_the_optimum_of_the_sum_and_the_mean_does_not():
    data, rows = two_clients()
    left = {}
    for kind in ("mean", "scaffold"):
        local = engine(load_recipe("federated-digits", [*LOGISTIC, f"federation.aggregator.kind={kind}"]), data, rows)
        while not local.server.finished:
            local.round()
        left[kind] = float(slopes(data, rows, local.server.roles).norm())
    assert left["mean"] > 0.1
    assert left["scaffold"] < 1e-6
    # At the optimum c is 0, and the clients' controls, which are their own gradients, are not.
    assert max(float(c.abs().max()) for _, _, c in each(local.server.aggregator.control)) < 1e-6
    own = local.store.get(0)["control"]["own"]["real"]["readout.layer.weight"]
    assert float(own.norm()) > 0.1
    wanted = slopes(data, rows[:1], local.server.roles)[:4].view_as(own)
    assert torch.allclose(own.double(), wanted, atol=1e-5)


def test_two_replies_by_hand():
    """K lr = 0.5 and 0.25: mean gradients 2 and -4, s = 2 - 1 and -4 - 1, and of four clients c = 1 + (1 - 5) / 4."""
    base, control = ({"real": {"w": torch.tensor([value])}} for value in (3.0, 1.0))
    replies = [{"real": {"w": torch.tensor([2.0])}}, {"real": {"w": torch.tensor([4.0])}}]
    rates = [{"real": 0.5}, {"real": 0.25}]
    steps = [gains(base, now, rate, control)["real"]["w"].item() for now, rate in zip(replies, rates, strict=True)]
    assert steps == [1.0, -5.0]
    server = Scaffold(rate=2.0)
    server.clients, server.control = 4, control
    came = [Reply(k, 9, now, rates=rate) for k, (now, rate) in enumerate(zip(replies, rates, strict=True))]
    assert server.combine(came, base)["real"]["w"].item() == 3.0
    assert server.control["real"]["w"].item() == 0.0
    assert Scaffold(rate=2.0).combine(came[:1], base)["real"]["w"].item() == 1.0
    assert gains(base, replies[0], {"real": 0.0}, control)["real"]["w"].item() == 0.0


ONE = ["federation.clients=1", "federation.partition.kind=iid", "federation.rounds=3", "federation.state=kept"]
ONLINE = ["learner.rule=online", "learner.burn_in=1", "model.neuron={kind='bisnn'}", "federation.updates=30"]


@pytest.mark.parametrize("more", [["federation.epochs=1"], ["learner.clip=0.5", "federation.updates=17"], ONLINE])
def test_one_client_is_a_training(more, dataset):
    """Under a cosine schedule, by one update a batch and by one a time step: c and c_k are equal, bit for bit."""
    local = engine(recipe(*ONE, *more), dataset, [torch.arange(len(dataset.train))])
    client = local.client
    turn = client.turn(client.session.per_epoch)
    span = (round(3 * turn / client.session.per_epoch) or 1, 1, 3 * client.updates(client.session.per_epoch))
    alone = Session(local.client.recipe, dataset, key=("client", 0), span=span)
    while not local.server.finished:
        local.round()
        for _ in range(turn):
            if alone.epoch_over:
                alone.epoch, alone.batch = alone.epoch + 1, 0
            alone.learn()
        assert equal(tensors(local.server.session), tensors(alone))
    assert max(float(c.abs().max()) for _, _, c in each(local.server.aggregator.control)) > 1e-4


def test_a_reply_holds_the_sum_of_the_rates_of_its_updates_and_bits_are_counted(dataset):
    given = recipe("federation.updates=3")
    local = engine(given, dataset)
    order = local.server.order()
    sent = local.client.work(order, 2, {}).parts["control"]
    assert all(not bool(c.any()) for _, _, c in each(order.controls))
    schedule = local.client.session.learner.optimisation
    factors = [schedule.factor(update) for update in range(3)]
    assert sent["real"]["value"].item() == pytest.approx(0.05 * sum(factors), rel=1e-12)
    assert sent["latent"]["value"].item() == pytest.approx(0.5 * sum(factors), rel=1e-12)
    assert factors[2] < factors[0]
    row = local.round()
    learned, statistics = 64 * 8 + 8 * 10 + 2 * 18, 2 * 18
    assert row["bits_up"] == 5 * (32 * (learned + statistics) + 2 * 64)
    assert row["bits_down"] == 5 * 32 * (2 * learned + statistics)


def effective(local, client):
    """c_k as it is when the client is asked next."""
    carried = local.store.get(client).get("control")
    if carried is None:
        return {}
    took = local.server.taken.get(client) == carried["round"] and carried["step"]
    parts = [carried["own"], carried["step"]] if took else [carried["own"]]
    return {(role, name): sum(part[role][name] for part in parts if part) for part in parts if part
            for role, name, _ in each(part)}  # fmt: skip


@pytest.mark.parametrize("state", ["kept", "reset"])
def test_c_is_the_mean_of_the_clients_controls_whatever_becomes_of_replies(state, dataset):
    """Late, silent, lost and refused ones, and a round with too few."""
    more = ["federation.stragglers=0.3", "federation.dropouts=0.2", "federation.participants=4", "federation.least=2"]
    number = [0]

    def tamper(message):
        number[0] += 1
        if message.round == 4 or number[0] % 5 == 0:
            return None
        return Message(**{**vars(message), "examples": 0}) if number[0] % 7 == 0 else message

    local = engine(recipe(f"federation.state={state}", "federation.rounds=12", *more), dataset, tamper=tamper)
    states = []
    while not local.server.finished:
        row = local.round()
        states.append((row["state"], bool(row["refused"]), bool(row["late"]), bool(row["dropped"])))
        known = [effective(local, client) for client in range(5)]
        for role, name, control in each(local.server.aggregator.control):
            total = sum(own[role, name] for own in known if own)
            assert torch.allclose(control, torch.as_tensor(total / 5, dtype=control.dtype), atol=1e-6)
            assert number[0] < 10 or float(control.abs().max()) > 1e-4
    assert {said for said, *_ in states} == {"aggregated", "too few replies"}
    assert all(any(column) for column in list(zip(*states, strict=True))[1:])


STOPPED = ["federation.stragglers=0.4", "federation.participants=3", "federation.state=disk"]


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """A run that was stopped in its third round, and one that was not."""
    folder, heard = tmp_path_factory.mktemp("stopped"), []

    def signalled(message):
        heard.append(message.client)
        if len(heard) == 8:
            os.kill(os.getpid(), signal.SIGINT)
        return message

    more = [*SCAFFOLD, *STOPPED]
    with pytest.raises(Interrupted, match="stopped in round 3"):
        bitspike.federate("federated-digits", folder / "run", overrides=more, tamper=signalled)
    return folder / "run", more


def test_a_federation_that_is_stopped_goes_on_to_the_same_end(stopped, tmp_path):
    path, more = stopped
    shutil.copytree(path, tmp_path / "run")
    again = bitspike.federate("federated-digits", tmp_path / "run", overrides=more, resume=True)
    whole = bitspike.federate("federated-digits", tmp_path / "whole", overrides=more)
    assert equal(again.model.state_dict(), whole.model.state_dict())
    rows, wanted = (json.loads((run.path / "federation.json").read_text())["rounds"] for run in (again, whole))
    assert rows == wanted
    bitspike.report(again.path)


def test_a_control_of_another_network_is_refused_in_a_line(stopped, tmp_path):
    path, more = stopped
    shutil.copytree(path, tmp_path / "run")
    for place in (tmp_path / "run/clients").glob("*.json"):
        content = json.loads(place.read_text())
        content["state"]["control"]["step"]["real"]["odd"] = content["state"]["control"]["step"]["real"].popitem()[1]
        place.write_text(json.dumps(content))
    with pytest.raises(BitspikeError, match=r"state of client \d: damaged, .*a control's step of another network"):
        bitspike.federate("federated-digits", tmp_path / "run", overrides=more, resume=True)


def rates(message, value):
    control = {role: {"value": torch.tensor(value, dtype=torch.float64)} for role in message.parts["control"]}
    return Message(**{**vars(message), "parts": {**message.parts, "control": control}})


def without_rates(message):
    return Message(**{**vars(message), "parts": {r: some for r, some in message.parts.items() if r != "control"}})


def test_replies_with_rates_that_are_none_are_refused(dataset):
    local = engine(recipe("federation.partition.kind=iid"), dataset)
    now, order = local.server.round(), local.server.order()
    messages = [local.client.work(order, k, {}) for k in range(5)]
    for broken, said in (
        (rates(messages[0], math.nan), "control: a sum of learning rates of nan"),
        (rates(messages[0], -1.0), "control: a sum of learning rates of -1.0"),
        (rates(messages[0], 1e-40), "control: a sum of learning rates that is too small"),
        (rates(messages[0], 1e-4), "norm: over its learning rates, update of"),
        (without_rates(messages[0]), "form: role"),
    ):  # fmt: skip
        valid, refused, _ = local.server.read(now, [broken, *messages[1:]])
        assert [reply.client for reply, _ in valid] == [1, 2, 3, 4]
        assert refused["0"].startswith(said)
    assert len(local.server.read(now, messages)[0]) == 5


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["latent_optimizer.name=Adam"], r"latent_optimizer\.name: got 'Adam' with federation\.aggregator 'scaffold'"),
        (["optimizer.options={momentum=0.9}"], r"optimizer\.options\.momentum: got it with .* plain SGD"),
        (["federation.codec.kind=sign"], r"codec\.kind: got 'sign' with .*'scaffold', wanted 'full'"),
        (["federation.stacked=2"], r"federation\.stacked: got 2 with federation\.aggregator 'scaffold', wanted 1"),
        (["federation.privacy={}", "federation.statistics=home"], r"got 'scaffold' with federation\.privacy"),
    ],
)  # fmt: skip
def test_what_it_is_not_defined_for_is_refused_by_name(more, said, dataset):
    with pytest.raises(BitspikeError, match=said):
        engine(recipe(*more), dataset)


def test_rules_with_an_update_of_their_own_are_refused():
    given = load_recipe("federated-digits-vowel", ["federation.aggregator.kind=scaffold"])
    with pytest.raises(BitspikeError, match=r"learner\.rule: got 'vowel' with federation\.aggregator 'scaffold'"):
        Server(given, load_data(given), [100] * given.federation.clients)
