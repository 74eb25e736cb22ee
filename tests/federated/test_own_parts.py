"""Codecs, aggregators, partitions and learners of one's own that give what nobody can use are refused by their name."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

import bitspike
from bitspike import load_recipe, registry
from bitspike.errors import BitspikeError
from bitspike.federated.aggregators import WeightedMean
from bitspike.federated.codecs.base import Codec
from bitspike.federated.partition import Partition
from bitspike.learners import Learner
from bitspike.run.assemble import load_data

SMALL = ["model.layers=['8']", "encoder.steps=2", "federation.rounds=2", "federation.clients=3", "federation.epochs=1"]
SMALL += ["federation.partition.kind=iid"]
HALF = (torch.float16,)


@pytest.fixture(scope="module")
def dataset():
    return load_data(load_recipe("federated-digits"))


@pytest.fixture
def own():
    """Registers a class as 'mine' for the length of a test."""
    rooms = []

    def register(room, base, **methods):
        bitspike.register(room, "mine")(type("Mine", (base,), methods))
        rooms.append(room)

    yield register
    for room in rooms:
        del registry._entries[room]["mine"]


def refused(dataset, path, said, *more):
    with pytest.raises(BitspikeError, match=said) as caught:
        bitspike.federate("federated-digits", path, overrides=[*SMALL, *more], dataset=dataset)
    assert len(str(caught.value).splitlines()) == 1
    assert not (path / "result.json").exists()


def half(self, role, name, value, base, setting, state):
    return {"value": value.half()}


def without_first(codec, new, base, replies):
    return {role: dict(list(some.items())[1:]) for role, some in new.items()}


CODECS = {
    "dtype": ({"write": half}, r"got float16 for '\S+' part 'value', wanted float32, as its `parts` says"),
    "part too many": (
        {"write": lambda s, role, name, value, *_: {"value": value, "more": value}},
        r"got \['value', 'more'\] for '\S+', wanted \['value'\], as its `parts` says",
    ),
    "shape": (
        {"write": lambda s, role, name, value, *_: {"value": value.flatten()}},
        r"got shape \(\d+,\) for '\S+' part 'value', wanted \(\d+, \d+\), as its `parts` says",
    ),
    "no parts": ({"write": lambda *_: None}, r"got None for '\S+', wanted \['value'\]"),
    "no tensor": ({"write": lambda *_: {"value": 1.0}}, r"got float for '\S+' part 'value', wanted a tensor"),
    "no form": ({"parts": lambda *_: None}, r"got None for '\S+' from `parts`, wanted dtypes and shape of each part"),
    "one dtype": (
        {"parts": lambda s, role, name, shape: {"value": (torch.float32, shape)}},
        r"got .* for '\S+' part 'value' from `parts`, wanted \(\(dtype, ...\), \(size, ...\)\)",
    ),
    "no message": ({"encode": lambda *_: None}, "got None for a message, wanted "),
    "read shape": (
        {"read": lambda s, role, name, parts, *_: parts["value"].flatten()[:1]},
        r"got shape \(1,\) for latent '\S+' from `read`, wanted a tensor of shape \(\d+, \d+\)",
    ),
    "read nothing": ({"read": lambda *_: None}, r"got None for latent '\S+' from `read`, wanted a tensor of shape"),
    "decode one": ({"decode": lambda s, packet, base, setting: base}, "got dict from `decode`, wanted the tensors"),
    "learned less": ({"learned": without_first}, r"got no latent '\S+' from `learned`, wanted one of shape"),
    "space": ({"space": lambda *_: None}, "got None from `space`, wanted tensors by role and name"),
}


@pytest.mark.parametrize("name", CODECS)
def test_a_codec(name, own, dataset, tmp_path):
    methods, said = CODECS[name]
    own("codec", Codec, **methods)
    refused(dataset, tmp_path / "run", rf"federation\.codec 'mine': {said}", "federation.codec.kind=mine")


def test_a_codec_that_says_what_it_writes_is_used(own, dataset, tmp_path):
    own("codec", Codec, write=half, parts=lambda s, role, name, shape: {"value": (HALF, shape)})
    more = [*SMALL, "federation.codec.kind=mine"]
    run = bitspike.federate("federated-digits", tmp_path / "run", overrides=more, dataset=dataset)
    assert run.result["test"]["accuracy"] > 0.3
    assert not any("round" in line for line in run.result["warnings"])


def test_a_codec_that_loses_all_that_was_learned_is_said(own, dataset, tmp_path):
    own("codec", Codec, read=lambda s, role, name, parts, base, setting: base)
    more = [*SMALL, "federation.codec.kind=mine"]
    run = bitspike.federate("federated-digits", tmp_path / "run", overrides=more, dataset=dataset)
    assert "nothing has been learned" in run.result["warnings"][-1]


def changed(change):
    return lambda self, replies, base: change(WeightedMean.combine(self, replies, base))


def more_names(found):
    return {role: {**some, "odd": torch.zeros(1)} for role, some in found.items()}


AGGREGATORS = {
    "nothing": ({"combine": lambda *_: None}, "got None from `combine`, wanted tensors by role and name"),
    "a role less": (
        {"combine": changed(lambda found: {"statistic": found["statistic"]})},
        r"got no latent '\S+' from `combine`, wanted one of shape \(\d+, \d+\)",
    ),
    "names more": ({"combine": changed(more_names)}, "got latent 'odd' from `combine`, wanted no more than"),
    "shape": (
        {"combine": changed(lambda found: {r: {n: t[:1] for n, t in some.items()} for r, some in found.items()})},
        r"got shape \(1, \d+\) for latent '\S+' from `combine`, wanted a tensor of shape \(\d+, \d+\)",
    ),
    "a list": ({"combine": changed(lambda found: {role: [] for role in found})}, "got list for role 'latent' from"),
    "settled": ({"settle": lambda *_: {}}, r"got no statistic '\S+' from `settle`, wanted one of shape"),
}


@pytest.mark.parametrize("name", AGGREGATORS)
def test_an_aggregator(name, own, dataset, tmp_path):
    methods, said = AGGREGATORS[name]
    own("aggregator", WeightedMean, **methods)
    refused(dataset, tmp_path / "run", rf"federation\.aggregator 'mine': {said}", "federation.aggregator.kind=mine")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (lambda rows, clients: None, "got None from `shares`, wanted a list of 3 tensors of row numbers"),
        (lambda rows, clients: 7, "got int from `shares`, wanted a list of 3"),
        (lambda rows, clients: [None] * clients, "got .*, wanted row numbers of each client"),
        (lambda rows, clients: [rows], "got 1 shares, wanted 3, one for each of federation.clients"),
        (lambda rows, clients: [rows] * clients, r"got \d+ rows, wanted each of the"),
    ],
)
def test_a_partition(given, said, own, dataset, tmp_path):
    own("partition", Partition, shares=lambda s, labels, numbers, k, seed: given(torch.arange(len(numbers)), k))
    refused(dataset, tmp_path / "run", rf"federation\.partition 'mine': {said}", "federation.partition={kind='mine'}")
    assert not (tmp_path / "run").exists()


class Descent(Learner):
    """By the signs of gradients; it says that its loss is `LOSS`."""

    LOSS: object = math.nan

    def __init__(self, model, optimisation, task, seed, way: float = 0.01):
        super().__init__(model, optimisation, task, seed)
        self.way = way

    def fit_batch(self, events, targets, examples=None):
        loss = nn.functional.cross_entropy(self.model(events).mean(0), targets)
        loss.backward()
        with torch.no_grad():
            for parameter in self.model.parameters():
                if parameter.grad is not None:
                    parameter -= self.way * parameter.grad.sign()
                    parameter.grad = None
        self.updates += 1
        return {"loss": self.LOSS, "examples": float(len(targets))}

    def outputs(self, events, every_step=False):
        return self.model(events).softmax(-1)


@pytest.mark.parametrize(("loss", "said"), [(math.nan, "got nan"), (torch.tensor(1.0), "got Tensor")])
def test_a_learner_whose_loss_is_no_number_is_named_with_its_client(loss, said, own, dataset, tmp_path):
    own("learner", Descent, LOSS=loss, __init__=Descent.__init__)
    refused(dataset, tmp_path / "run", rf"client \d: Mine.fit_batch 'loss': {said}", "learner={rule='mine'}")
