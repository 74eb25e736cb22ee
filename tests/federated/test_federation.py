"""Federations in one process: one client is a training; who takes part; what clients and servers keep."""

from __future__ import annotations

import pytest
import torch

import bitspike
from bitspike import Session, load_recipe
from bitspike.errors import BitspikeError
from bitspike.federated.aggregators import Aggregator
from bitspike.federated.client import Client
from bitspike.federated.local import Local
from bitspike.federated.schedule import round_of, settling
from bitspike.federated.server import Server
from bitspike.federated.store import Store
from bitspike.run.assemble import load_data

SMALL = ["model.layers=['16']", "encoder.steps=3", "federation.rounds=3", "federation.clients=4", "federation.epochs=1"]
ONE = ["federation.clients=1", "federation.partition.kind=iid"]


@pytest.fixture(scope="module")
def dataset():
    return load_data(load_recipe("federated-digits"))


def recipe(*more):
    return load_recipe("federated-digits", [*SMALL, *more])


def engine(recipe, dataset, rows, tamper=None):
    client = Client(recipe, dataset, rows)
    return Local(Server(recipe, dataset, [len(some) for some in rows]), client, Store(), tamper)


def tensors(session):
    return {name: tensor.clone() for name, tensor in session.model.state_dict().items()}


def equal(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_one_client_with_all_data_is_a_training(dataset):
    given = recipe(*ONE, "federation.state=kept")
    local = engine(given, dataset, [torch.arange(len(dataset.train))])
    alone = Session(given, dataset, key=("client", 0), span=(3, 1, 3 * local.client.session.per_epoch))
    while not local.server.finished:
        local.round()
        alone.advance(alone.per_epoch)
        assert equal(tensors(local.server.session), tensors(alone))
    assert local.server.rows[-1]["accuracy"] == alone.records[-1]["validation"]["accuracy"]
    rates, told = ([record["learning_rate"] for record in s.records] for s in (alone, local.server.session))
    assert told == pytest.approx(rates, rel=1e-5)
    assert rates[0] > rates[1] > rates[2]
    local.settle()
    alone.learner.finish(lambda: alone.train.statistics(40, alone.epochs))
    assert equal(tensors(local.server.session), tensors(alone))


def test_one_client_whose_moments_are_reset_is_a_training_that_resets_them(dataset):
    # An epoch has 41 batches: rounds end within epochs.
    given = recipe(*ONE, "federation.updates=17", "federation.state=reset")
    local = engine(given, dataset, [torch.arange(len(dataset.train))])
    alone = Session(given, dataset, key=("client", 0), span=(3, 1, 51))
    fresh = alone.learner.state_dict()
    for number in range(3):
        local.round()
        alone.learner.load_state_dict({**fresh, "updates": 17 * number})
        alone.advance(17)
        assert equal(tensors(local.server.session), tensors(alone))


def rows_of(dataset, given):
    from bitspike.federated.partition import share_out

    return share_out(given.federation, dataset.train, True, given.seed)


def test_clients_do_not_hear_of_each_other_and_arrival_does_not_matter(dataset):
    given = recipe("federation.state=kept", "federation.aggregator.kind=mean")
    rows = rows_of(dataset, given)
    local = engine(given, dataset, rows)
    server, order, now = local.server, local.server.order(), local.server.round()
    messages = [local.client.work(order, k, {}) for k in (2, 0, 3, 1)]
    other = Client(given, dataset, rows)
    alone = other.work(order, 2, {})
    assert messages[0].sha256() == alone.sha256()
    server.close(now, messages)
    second = engine(given, dataset, rows).server
    second.close(now, sorted(messages, key=lambda message: message.client))
    assert equal(tensors(server.session), tensors(second.session))


def test_a_round_with_too_few_replies_leaves_the_network_and_says_so(dataset):
    given = recipe("federation.least=3")
    lost = engine(given, dataset, rows_of(dataset, given), lambda message: message if message.client < 2 else None)
    before = tensors(lost.server.session)
    row = lost.round()
    assert (row["state"], row["replies"]) == ("too few replies", 2)
    assert equal(tensors(lost.server.session), before)
    nobody = engine(given, dataset, rows_of(dataset, given), lambda message: None)
    assert nobody.round()["replies"] == 0
    assert nobody.round()["round"] == 2


def test_another_version_and_another_recipe_are_refused_on_both_sides(dataset, monkeypatch):
    from bitspike.federated import messages
    from bitspike.federated.flower.workers import Worker

    given = recipe()
    rows = rows_of(dataset, given)
    local = engine(given, dataset, rows)
    order = local.server.order()
    monkeypatch.setattr(messages, "PROTOCOL", messages.PROTOCOL + 1)
    asked = {"client": 0, "what": "work", "late": False, "state": {}}
    with pytest.raises(BitspikeError, match="got one of another recipe or another version of bitspike"):
        Worker(Client(given, dataset, rows)).answer(vars(order), asked)
    later = engine(given, dataset, rows).server
    row = later.close(later.round(), [local.client.work(order, k, {}) for k in (0, 1)])
    assert row["replies"] == 0
    assert set(row["refused"].values()) == {"recipe: another one, or of another version of bitspike"}


def test_stragglers_drop_outs_and_participation(dataset):
    part = recipe("federation.clients=50", "federation.fraction=0.25", "federation.stragglers=1.0").federation
    rounds = [round_of(part, 0, number) for number in range(1, 20)]
    assert all(len(now.asked) == 12 and len(set(now.asked)) == 12 for now in rounds)
    assert all(len(now.late) == 11 for now in rounds)  # the first that was drawn is never late
    assert len({now.asked for now in rounds}) == 19
    assert round_of(part, 0, 5) == rounds[4] != round_of(part, 1, 5)
    some = recipe("federation.clients=200", "federation.dropouts=0.3", "federation.stragglers=0.5").federation
    counts = [(len(now.silent), len(now.late)) for now in (round_of(some, 0, number) for number in range(50))]
    silent, late = (sum(column) / 10_000 for column in zip(*counts, strict=True))
    # Half of those that are there.
    assert (silent, late) == (pytest.approx(0.3, abs=0.02), pytest.approx(0.35, abs=0.02))
    assert not round_of(recipe().federation, 0, 1).late


def test_all_clients_settle_the_statistics_up_to_a_hundred():
    few = recipe("federation.clients=10", "federation.fraction=0.2").federation
    assert few.asked == 2
    assert settling(few, 0) == list(range(10))
    many = recipe("federation.clients=300", "federation.fraction=0.2").federation
    assert len(set(settling(many, 0))) == 100
    assert settling(many, 0) == settling(many, 0) != settling(many, 1)
    more = recipe("federation.clients=300", "federation.fraction=0.5").federation
    assert len(settling(more, 0)) == more.asked == 150
    absent = recipe("federation.clients=10", "federation.dropouts=0.5").federation
    assert 0 < len(settling(absent, 0)) < 10


def test_noise_is_as_large_as_it_says(dataset):
    from bitspike.federated.client import noisy
    from bitspike.federated.codecs import Setting

    base = {"real": {"w": torch.zeros(200, 200)}, "statistic": {"n": torch.ones(4, 10)}}
    sent = {"real": {"w": torch.full((200, 200), -0.5)}, "statistic": base["statistic"]}
    found = noisy(sent, base, 2.0, Setting(0, 1, 1))
    assert float((found["real"]["w"] + 0.5).std()) == pytest.approx(1.0, rel=0.05)
    assert torch.equal(found["statistic"]["n"], base["statistic"]["n"].double())
    same = noisy(sent, base, 0.0, Setting(0, 1, 1))
    assert torch.equal(same["real"]["w"], sent["real"]["w"])


def test_fedprox_pulls_by_its_closed_form(dataset):
    """One update with plain SGD: w = (w' + eta mu w_server) / (1 + eta mu)."""
    more = [*ONE, "federation.updates=1", "optimizer.name=SGD", "latent_optimizer.name=SGD", "schedule.kind=constant"]
    more += ["weights.precision=straight-through", "federation.state=reset"]
    free = recipe(*more)
    pulled = recipe(*more, "federation.aggregator.kind=fedprox", "federation.aggregator.mu=2.0")
    rows = [torch.arange(len(dataset.train))]
    start = engine(free, dataset, rows).server.roles
    ends = []
    for given in (free, pulled):
        local = engine(given, dataset, rows)
        local.round()
        ends.append(local.server.roles)
    for role, rate in (("latent", 0.1), ("real", 5e-3)):
        for name, at in start[role].items():
            wanted = (ends[0][role][name] + 2 * rate * at) / (1 + 2 * rate)
            assert torch.allclose(ends[1][role][name], wanted, atol=1e-6)
            assert not torch.equal(ends[0][role][name], ends[1][role][name])


ONLINE = ["learner.rule=online", "learner.burn_in=1"]


def test_slices_of_time_are_for_rules_that_go_on_and_for_clients_that_keep_their_state(dataset):
    for more, said in (
        ([], "got 3 with learner.rule 'backprop'"),
        (ONLINE, "'reset' with federation"),
    ):
        given = recipe("federation.steps=3", "federation.state=reset", "model.neuron={kind = 'bisnn'}", *more)
        with pytest.raises(BitspikeError, match=said):
            engine(given, dataset, rows_of(dataset, given))


def test_a_client_with_one_example_learns_by_rules_that_can_alone(dataset):
    rows = [torch.arange(1), torch.arange(1, len(dataset.train))]
    with pytest.raises(BitspikeError, match="a client with one example, wanted two or more"):
        engine(recipe("federation.clients=2"), dataset, rows)


def test_statistics_at_home_stay_there(dataset):
    given = recipe("federation.statistics=home")
    local = engine(given, dataset, rows_of(dataset, given))
    assert "statistic" not in local.server.order().roles
    row = local.round()
    assert set(local.store.get(0)["home"]) != set()
    assert row["accuracy"] > 0.2  # by the statistics of the server's own inputs
    travelling = engine(recipe(), dataset, rows_of(dataset, given)).round()
    assert row["bits_up"] < travelling["bits_up"]


def test_own_ways_are_found_by_name(dataset):
    @bitspike.register("aggregator", "lead")
    class Lead(Aggregator):
        """The reply of one client alone."""

        def __init__(self, client: int = 0) -> None:
            self.client = client

        def combine(self, replies, base):
            return replies[self.client].roles

    given = recipe("federation.aggregator.kind=lead", "federation.aggregator.client=2")
    local = engine(given, dataset, rows_of(dataset, given))
    alone = engine(given, dataset, rows_of(dataset, given))
    order = alone.server.order()
    local.round()
    sent = alone.client.work(order, 2, {}).parts["real"]["norm_dense1.bias"]["value"]
    assert torch.equal(local.server.roles["real"]["norm_dense1.bias"], sent)
    with pytest.raises(
        BitspikeError, match=r"federation.aggregator.mu: got 2.0 with federation.aggregator.kind 'lead'"
    ):
        recipe("federation.aggregator.kind=lead", "federation.aggregator.mu=2.0")
