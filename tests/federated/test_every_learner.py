"""Every way of learning federates through the same lines; an exchange may lie within an example."""

from __future__ import annotations

import pytest
import torch

import bitspike
from bitspike import Session, load_recipe
from bitspike.federated import begun
from bitspike.federated.client import Client
from bitspike.federated.local import Local
from bitspike.federated.server import Server
from bitspike.federated.store import Store
from bitspike.run.assemble import load_data

TWO = ["federation.rounds=2", "federation.clients=2", "evaluation.draws=2", "data.validation=30"]
TWO += ["evaluation.energy_examples=20"]
SHORT = {
    "federated-digits-bayes": ["model.layers=['8']", "encoder.steps=2", "federation.epochs=1"],
    "federated-soft-lif": ["model.layers=['8']", "federation.epochs=1"],
    "federated-rows-hybrid": ["model.hidden=8", "federation.epochs=1"],
    "federated-digits-glm": ["model.hidden=2", "federation.steps=70", "encoder.steps=20", "encoder.dt=50.0"],
    "federated-digits-vowel": ["model.hidden=1", "federation.steps=70", "encoder.steps=10", "encoder.dt=100.0"],
}  # fmt: skip


@pytest.mark.parametrize("name", SHORT)
def test_a_learner_federates_and_ends_as_a_run(name, tmp_path):
    recipe = load_recipe(name, [*SHORT[name], *TWO])
    run = bitspike.federate(recipe, tmp_path / "run", dataset=load_data(recipe))
    assert run.evaluate()["accuracy"] == run.result["test"]["accuracy"] > 0
    assert len(run.result["shipped"]["validation"]) >= 1
    if name == "federated-digits-vowel":  # the page of the others is tests' of federations and of each learner
        assert "How clients learned it together" in bitspike.report(run.path).read_text()


@pytest.fixture(scope="module")
def filmed():
    return load_data(load_recipe("federated-digits-glm", SHORT["federated-digits-glm"]))


@pytest.mark.parametrize("name", ["federated-digits-glm", "online"])
def test_one_client_that_exchanges_within_examples_is_a_training(name, filmed):
    """47 steps a round of examples of 20: the state is carried over the exchange."""
    more = ["federation.clients=1", "federation.rounds=3", "federation.steps=47"]
    if name == "online":
        dataset = load_data(load_recipe("federated-digits"))
        more += ["learner.rule=online", "learner.burn_in=3", "encoder.steps=20", "model.layers=['8']"]
        more += ["model.neuron={kind = 'bisnn'}", "federation.partition.kind=iid", "federation.state=kept"]
        recipe = load_recipe("federated-digits", more)
    else:
        dataset, recipe = filmed, load_recipe(name, [*SHORT[name], *more])
    rows = [torch.arange(len(dataset.train))]
    client = Client(recipe, dataset, rows)
    local = Local(Server(recipe, dataset, [len(rows[0])]), client, Store())
    ends = []
    for _ in range(3):
        local.round()
        ends.append({n: t.clone() for n, t in local.server.session.model.state_dict().items()})
    alone = Session(recipe, dataset, key=("client", 0), span=(1, 1, 141))
    steps = 0
    for number in range(8):
        events, targets, examples = alone.train.batch(1, number, alone.key)
        for begin, end in ((0, 47 - steps), (47 - steps, 20)) if 0 < 47 - steps < 20 else ((0, 20),):
            alone.learner.fit_batch(events[begin:end], targets, examples=examples, reset=begin == 0)
            steps += end - begin
            if steps == 47:
                state = alone.model.state_dict()
                assert all(torch.equal(tensor, state[n]) for n, tensor in ends.pop(0).items())
                steps = 0
        if not ends:
            break
    assert not ends


def test_circuits_of_several_clients_learn_side_by_side_to_the_same_bits(filmed):
    more = [*SHORT["federated-digits-glm"], *TWO, "federation.clients=3", "federation.steps=30"]
    recipe = load_recipe("federated-digits-vowel", [*more, "federation.measured=10"])
    rows = list(torch.arange(len(filmed.train)).tensor_split(3))
    ends, before = [], torch.get_num_threads()
    for threads in (1, 2):
        store = Store()
        local = Local(Server(recipe, filmed, [len(some) for some in rows]), Client(recipe, filmed, rows), store)
        try:
            torch.set_num_threads(threads)
            local.round()
            local.round()
        finally:
            torch.set_num_threads(before)
        assert len(local.others) == (0 if threads == 1 else 2)
        ends.append((local.server.session.model.state_dict(), store.get(2)["learner"]["carried"]))
    for one, other in zip(*ends, strict=True):
        assert all(torch.equal(tensor, other[name]) for name, tensor in one.items())


def test_examples_that_clients_are_in_are_encoded_once_and_kept_up_to_a_limit(filmed, monkeypatch):
    more = [*SHORT["federated-digits-glm"], *TWO, "federation.clients=3", "federation.steps=5"]
    recipe = load_recipe("federated-digits-vowel", [*more, "federation.measured=10"])
    rows = list(torch.arange(len(filmed.train)).tensor_split(3))
    ends, most = [], begun.MOST
    for _ in range(2):
        monkeypatch.setattr(begun, "MOST", most)
        client = Client(recipe, filmed, rows)
        local = Local(Server(recipe, filmed, [len(some) for some in rows]), client, Store())
        local.round()
        kept = dict(client.begun.batches)
        local.round()
        again = [client.begun.batches[k] is batch for k, batch in kept.items()]
        assert client.begun.bytes <= most
        most = client.begun.bytes * 2 // 3
        ends.append((again, local.server.session.model.state_dict()))
    assert ends[0][0] == [True] * 3
    assert len(ends[1][0]) == 2
    for name, tensor in ends[0][1].items():
        assert torch.equal(tensor, ends[1][1][name])


def test_ranges_of_quantisers_are_the_first_clients_for_all(tmp_path):
    recipe = load_recipe("federated-rows-hybrid", [*SHORT["federated-rows-hybrid"], *TWO])
    dataset = load_data(recipe)
    rows = list(torch.arange(len(dataset.train)).tensor_split(3))
    local = Local(Server(recipe, dataset, [len(some) for some in rows]), Client(recipe, dataset, rows), Store())
    local.round()
    server, client = (one.session.model.state_dict() for one in (local.server, local.client))
    assert bool(server["cell.calibrated"])
    assert float(server["cell.memory.final"].std()) > 0  # all alike before
    assert torch.equal(server["cell.memory.final"], client["cell.memory.final"])
    first, second = local.server.rows[0], local.round()
    assert first["bits_down"] > second["bits_down"]
