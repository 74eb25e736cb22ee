"""Broken and hostile replies: each is refused by name or used, and robust sums bear a fifth of them."""

from __future__ import annotations

import copy
import math
import random

import pytest
import torch

from bitspike import load_recipe
from bitspike.federated.aggregators import Mean, Reply, ServerMomentum, WeightedMean
from bitspike.federated.client import Client
from bitspike.federated.local import Local
from bitspike.federated.messages import Message
from bitspike.federated.partition import share_out
from bitspike.federated.robust import Krum, Median, TrimmedMean
from bitspike.federated.roles import each, mapped, sums
from bitspike.federated.server import Server
from bitspike.federated.store import Store
from bitspike.run.assemble import load_data

SMALL = ["model.layers=['32']", "encoder.steps=3", "federation.rounds=3", "federation.clients=5", "federation.epochs=1"]
IID = ["federation.partition.kind=iid"]
REFUSALS = {
    "round", "client", "replay", "recipe", "examples", "digest", "form", "dtype", "shape", "not finite", "statistic",
    "metrics", "norm",
}  # fmt: skip


@pytest.fixture(scope="module")
def dataset():
    return load_data(load_recipe("federated-digits"))


def engine(dataset, *more, recipe="federated-digits", small=SMALL):
    given = load_recipe(recipe, [*small, *IID, *more])
    rows = share_out(given.federation, dataset.train, True, given.seed)
    server = Server(given, dataset, [len(some) for some in rows])
    return Local(server, Client(given, dataset, rows), Store())


@pytest.fixture(scope="module")
def first(dataset):
    """A server, its first round, and all replies to it."""
    local = engine(dataset)
    order = local.server.order()
    return local.server, local.server.round(), [local.client.work(order, k, {}) for k in range(5)]


def changed(message, **what):
    return Message(**{**message.__dict__, **what})


def with_tensor(message, change, role="real", name="norm_dense1.weight"):
    parts = {r: {n: dict(p) for n, p in some.items()} for r, some in message.parts.items()}
    parts[role][name]["value"] = change(parts[role][name]["value"].clone())
    return changed(message, parts=parts)


def without(message):
    parts = {role: dict(some) for role, some in message.parts.items()}
    del parts["real"]["norm_dense1.weight"]
    return changed(message, parts=parts)


BROKEN = {
    "round": lambda m: changed(m, round=2),
    "client": lambda m: changed(m, client=77),
    "recipe": lambda m: changed(m, recipe_hash="another"),
    "examples": lambda m: changed(m, examples=0),
    "digest": lambda m: changed(m.sealed(), examples=m.examples + 1),
    "form": without,
    "dtype": lambda m: with_tensor(m, lambda t: t.double()),
    "shape": lambda m: with_tensor(m, lambda t: t[:3]),
    "not finite": lambda m: with_tensor(m, lambda t: t / 0),
    "statistic": lambda m: with_tensor(m, lambda t: -t - 1, "statistic", "norm_dense1.running"),
    "metrics": lambda m: changed(m, metrics={"loss": math.nan}),
    "norm": lambda m: with_tensor(m, lambda t: t * 1e6),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_wrong_is_named_and_the_others_are_used(first, name):
    server, now, messages = first
    valid, refused, _ = server.read(now, [BROKEN[name](messages[0]), *messages[1:]])
    assert [reply.client for reply, _ in valid] == [1, 2, 3, 4]
    (said,) = refused.values()
    assert said.startswith(name)


def test_replays_of_this_round_and_of_one_before(first):
    server, now, messages = first
    valid, refused, _ = server.read(now, [*messages, messages[2]])
    assert len(valid) == 5
    assert refused == {"2": "replay: client 2 has answered in round 1"}
    assert server.read(now, [message.sealed() for message in messages])[1] == {}
    late = server.read(type(now)(2, now.asked), messages[:1])[1]
    assert late == {"0": "round: 1, wanted 2"}


FIELDS = ("round", "client", "examples", "recipe_hash", "digest")
VALUES = (0, -1, 3, 10**30, 10**5000, True, None, "x", 1.5, math.nan, [1])
METRICS = ({}, {"loss": math.inf}, {"examples": -1}, {"other": 1}, None, {"examples": 10**400}, {"loss": "x"}, {1: 2})
TENSORS = (
    lambda t: t * math.nan, lambda t: t * 1e20, lambda t: -t, lambda t: t[:1], lambda t: t.double(), lambda t: t.long(),
    lambda t: t + 1e-3, lambda t: torch.tensor(1.0), lambda t: torch.zeros(0), lambda t: None, lambda t: "text",
    lambda t: t * 0 + 3e38, lambda t: t.half(), lambda t: t.flip(0) if t.ndim else t,
)  # fmt: skip


def damage(message, draw):
    """One to three things of a message made wrong, or odd."""
    for _ in range(draw.randint(1, 3)):
        what = draw.choice(["field", "metrics", "tensor", "tensor", "names"])
        if what == "field":
            message = changed(message, **{draw.choice(FIELDS): draw.choice(VALUES)})
        elif what == "metrics":
            message = changed(message, metrics=draw.choice(METRICS))
        else:
            message = changed(message, parts=damaged(message.parts, what, draw))
    return message


def damaged(parts, what, draw):
    """The same of its tensors (what: "tensor"), or of what is there at all."""
    parts = copy.deepcopy(parts)
    role = draw.choice(sorted(parts))
    some = parts[role] if isinstance(parts[role], dict) else {}
    name = draw.choice(sorted(some)) if some else "odd"
    entry = some[name] if isinstance(some.get(name), dict) else {}
    if what == "names":
        place = draw.choice([parts, some, entry])
        place[draw.choice([*map(str, place), "odd"])] = draw.choice([{}, torch.zeros(1), {"value": torch.zeros(2)}])
    elif entry:
        part = draw.choice(sorted(entry))
        old = entry[part]
        if isinstance(old, torch.Tensor) and old.dtype == torch.uint8:
            entry[part] = torch.randint(0, 256, old.shape, dtype=torch.uint8)
        elif isinstance(old, torch.Tensor) and old.is_floating_point() and old.ndim:
            entry[part] = draw.choice(TENSORS)(old)
    return parts


def fuzzed(dataset, kind, count):
    bayes = ["weights.precision=bayesian", "weights.relaxed=false", "weights.rule=straight-through"]
    more = bayes if kind in ("natural", "posterior-samples") else []
    small = [entry for entry in SMALL if "layers" not in entry] + ["model.layers=['8']"]
    local = engine(dataset, f"federation.codec.kind={kind}", *more, small=small)
    server, order = local.server, local.server.order()
    now, honest = server.round(), [local.client.work(order, k, {}) for k in range(5)]
    draw = random.Random(f"{kind} {count}")
    torch.manual_seed(0)
    outcomes = set()
    for _ in range(count):
        one = damage(honest[0], draw)
        valid, refused, _ = server.read(now, [one, *honest[1:]])
        used = [reply.client for reply, _ in valid]
        assert set(used) >= {1, 2, 3, 4} or one.client in (1, 2, 3, 4)
        reasons = [why for said in refused.values() for why in said.split("; ")]
        assert len(used) + len(reasons) == 5
        assert {why.split(":")[0] for why in reasons} <= REFUSALS
        assert all(bool(torch.isfinite(t).all()) for reply, _ in valid for _, _, t in each(reply.roles))
        outcomes.add(min(len(refused), 1))
    assert outcomes == {0, 1}


@pytest.mark.parametrize("kind", ["full", "top-k", "posterior-samples"])
def test_each_of_many_damaged_messages_is_refused_or_used(dataset, kind):
    fuzzed(dataset, kind, 100)


@pytest.mark.long
@pytest.mark.parametrize("kind", ["full", "top-k", "sign", "eight-bit", "natural", "posterior-samples"])
def test_each_of_ten_thousand_damaged_messages_is_refused_or_used(dataset, kind):
    fuzzed(dataset, kind, 1700)


def some_replies(count=7):
    base = {"latent": {"a": torch.zeros(4, 3)}, "real": {}, "statistic": {"n": sums("statistic", torch.ones(2, 5))}}
    replies = []
    for k in range(count):
        source = torch.Generator().manual_seed(k)
        stat = torch.stack([torch.randn(5, generator=source), torch.rand(5, generator=source)])
        roles = {"latent": {"a": torch.randn(4, 3, generator=source)}, "real": {},
                 "statistic": {"n": sums("statistic", stat)}}  # fmt: skip
        replies.append(Reply(k, k + 1, roles))
    return replies, base


@pytest.mark.parametrize("one", [Mean(), WeightedMean(), ServerMomentum(), Median(), TrimmedMean(), Krum()])
def test_equal_replies_are_taken_as_they_are(one):
    replies, base = some_replies(1)
    same = [Reply(k, 3 * k + 1, replies[0].roles) for k in range(7)]
    found = one.combine(same, base)
    for role, name, tensor in each(found):
        wanted = replies[0].roles[role][name]
        assert torch.allclose(tensor.double() / (tensor[0] if role == "statistic" else 1), wanted.double(), atol=1e-7)


def test_sums_are_those_of_their_definitions():
    replies, base = some_replies()
    stack = torch.stack([reply.roles["latent"]["a"] for reply in replies])
    weights = torch.arange(1.0, 8).view(-1, 1, 1)
    wanted = {
        Mean: stack.mean(0),
        WeightedMean: (weights * stack).sum(0) / weights.sum(),
        Median: stack.median(0).values,
        TrimmedMean: stack.sort(0).values[2:-2].mean(0),
    }
    for kind, tensor in wanted.items():
        assert torch.allclose(kind().combine(replies, base)["latent"]["a"], tensor, atol=1e-6), kind
    momentum = ServerMomentum(beta=0.5)
    once = momentum.combine(replies, base)["latent"]["a"]
    state = momentum.state_dict()
    again = ServerMomentum(beta=0.5)
    again.load_state_dict(state)
    moved = mapped(base, lambda role, name, t: once if role == "latent" else t)
    twice = again.combine(replies, moved)["latent"]["a"]
    assert torch.allclose(twice, once + 0.5 * once + (wanted[WeightedMean] - once), atol=1e-6)


def test_krum_takes_the_replies_that_lie_together():
    replies, base = some_replies(7)
    near = mapped(replies[0].roles, lambda role, name, t: t)
    close = [Reply(k, 1, mapped(near, lambda role, name, t, k=k: t + 0.01 * k)) for k in range(5)]
    far = [
        Reply(5, 1, mapped(near, lambda role, name, t: t + 5)),
        Reply(6, 1, mapped(near, lambda role, name, t: t - 5)),
    ]
    found = Krum(hostile=0.25, chosen=1).combine([*close, *far], base)["latent"]["a"]
    assert torch.allclose(found, near["latent"]["a"] + 0.02, atol=0.011)
    several = Krum(hostile=0.25).combine([*close, *far], base)["latent"]["a"]
    assert torch.allclose(several, near["latent"]["a"] + 0.02, atol=0.011)


def attack(local, way, hostile):
    """What becomes of the replies of `hostile` clients."""

    def tampered(message):
        if message.client not in hostile:
            return message
        parts = {r: {n: dict(p) for n, p in some.items()} for r, some in message.parts.items()}
        for role in ("latent", "real"):
            for name, entry in parts[role].items():
                base, value = local.server.roles[role][name], entry["value"]
                change = value - base
                if way == "flipped":
                    entry["value"] = base - 8 * change
                elif way == "noise":
                    source = torch.Generator().manual_seed(message.round)  # they act together
                    entry["value"] = base + 24 * change.std().nan_to_num() * torch.randn(base.shape, generator=source)
                else:
                    entry["value"] = value * math.nan
        return changed(message, parts=parts)

    return tampered


def federated(dataset, kind, way, *more, small=SMALL, hostile=(3,)):
    local = engine(dataset, f"federation.aggregator.kind={kind}", *more, small=small)
    local.tamper = None if way is None else attack(local, way, hostile)
    while not local.server.finished:
        local.round()
    return local.server.rows


def test_nan_is_refused_and_logged_by_client(dataset):
    rows = federated(dataset, "mean", "nan", "federation.rounds=2")
    assert [row["refused"].keys() for row in rows] == [{"3"}] * 2
    assert all(row["refused"]["3"].startswith("not finite") for row in rows)
    assert all((row["replies"], row["state"]) == (4, "aggregated") for row in rows)


@pytest.mark.long
@pytest.mark.parametrize("way", ["noise", "flipped", "nan"])
def test_a_fifth_of_hostile_clients(dataset, way):
    """On digits: trimmed mean and Krum within 3 points of the honest federation; the mean fails."""
    small = ["federation.rounds=6", "encoder.steps=6"]
    honest = federated(dataset, "weighted-mean", None, small=small)[-1]["accuracy"]
    for kind in ("trimmed-mean", "krum"):
        assert federated(dataset, kind, way, small=small, hostile=(2, 7))[-1]["accuracy"] >= honest - 0.03, kind
    plain = federated(dataset, "mean", way, small=small, hostile=(2, 7))
    if way == "nan":
        assert all(set(row["refused"]) == {"2", "7"} for row in plain)
    else:
        assert plain[-1]["accuracy"] < honest - 0.1
