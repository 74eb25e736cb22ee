"""What is registered without the methods that its room asks for is refused by name, before anything is learned."""

from __future__ import annotations

import pytest
from torch import nn

import bitspike
from bitspike import registry
from bitspike.errors import BitspikeError

SMALL = ["training.epochs=1", "model.layers=['4']", "encoder.steps=2"]
TABLES = {
    "neuron": ("digits-st", "model.neuron", "kind", "wanted a torch.nn.Module"),
    "precision": ("digits-st", "weights", "precision", "wanted a bitspike.weights.Precision"),
    "encoder": ("digits-st", "encoder", "name", "wanted a bitspike.coding.Encoder"),
    "learner": ("digits-st", "learner", "rule", "wanted a bitspike.learners.Learner"),
    "surrogate": ("digits-st", "model.neuron.surrogate", "name", "wanted a function of u and width"),
    "partition": ("federated-digits", "federation.partition", "kind", "without 'shares', wanted"),
    "aggregator": ("federated-digits", "federation.aggregator", "kind", "wanted a bitspike.federated.aggregators.Agg"),
    "codec": ("federated-digits", "federation.codec", "kind", "wanted a bitspike.federated.codecs.base.Codec"),
    "exploit": ("tune-digits", "population.exploit", "kind", "without 'source', wanted"),
}


class Other:
    """Of no room."""

    def __init__(self, k: float = 2.0) -> None:
        self.k = k


@pytest.fixture
def other(request):
    room = request.param
    bitspike.register(room, "other")(Other)
    yield room
    del registry._entries[room]["other"]


@pytest.mark.parametrize("other", TABLES, indirect=True)
def test_a_class_of_another_kind_is_refused(other, tmp_path):
    recipe, table, key, said = TABLES[other]
    start = {"federated-digits": bitspike.federate, "tune-digits": bitspike.tune}.get(recipe, bitspike.train)
    with pytest.raises(BitspikeError, match=f"{other} 'other': got Other.*{said}"):
        start(recipe, tmp_path / "r", overrides=[SMALL[1], f"{table}={{{key}='other'}}"])
    assert not (tmp_path / "r").exists()
    if recipe == "digits-st":  # and stands in nobody's way
        assert bitspike.train(recipe, tmp_path / "r", overrides=SMALL).result


@pytest.mark.parametrize("other", ["norm"], indirect=True)
def test_a_norm_has_gains(other, tmp_path):
    with pytest.raises(
        BitspikeError, match=r"model norm 'other': got a Other, wanted a torch.nn.Module with a .weight."
    ):
        bitspike.train("digits-st", tmp_path / "r", overrides=[*SMALL, "model.norm='other'"])


@pytest.mark.parametrize("other", ["neuron"], indirect=True)
def test_a_function_is_asked_for_what_it_makes(other, tmp_path):
    del registry._entries["neuron"]["other"]
    made = [Other(), nn.Tanh()]
    bitspike.register("neuron", "other")(lambda: made.pop(0))
    with pytest.raises(BitspikeError, match="neuron 'other': got Other"):
        bitspike.train("digits-st", tmp_path / "r", overrides=[*SMALL, "model.neuron={kind='other'}"])
