"""Servers with a rate for each number: by hand, in the limit of the mean, carried on, and what they refuse."""

from __future__ import annotations

import math
import os
import signal

import pytest
import torch

import bitspike
from bitspike import load_recipe
from bitspike.errors import BitspikeError
from bitspike.federated.adaptive import ServerAdam, ServerYogi
from bitspike.federated.aggregators import Mean, Reply, WeightedMean
from bitspike.federated.server import Server
from bitspike.run.assemble import load_data
from bitspike.run.signals import Interrupted

SMALL = ["model.layers=['8']", "encoder.steps=3", "federation.rounds=3", "federation.clients=4", "federation.epochs=1"]


def replies_of(*values, examples=(1, 3)):
    return [
        Reply(k, n, {"real": {"w": torch.tensor(v)}}) for k, (n, v) in enumerate(zip(examples, values, strict=True))
    ]


def network(seed):
    source = torch.Generator().manual_seed(seed)
    roles = {"latent": {"a": torch.randn(7, 5, generator=source)}, "real": {"b": torch.randn(6, generator=source)}}
    return {**roles, "statistic": {"n": 1 + torch.rand(4, 3, generator=source)}}


def test_two_rounds_by_hand():
    """Changes 0.5 and -2 of the weighted mean, then 1 and 0; b1 = 0.5, b2 = 0.75, tau = 0.5, rate = 2."""
    start = {"real": {"w": torch.tensor([1.0, 2.0])}}
    first = replies_of([1.5, -4.0], [1.5, 1.3333333730697632])
    adam, yogi = (kind(rate=2.0, betas=(0.5, 0.75), tau=0.5) for kind in (ServerAdam, ServerYogi))
    once = adam.combine(first, start)["real"]["w"]
    # m = (0.25, -1), v = 0.75 * 0.25 + 0.25 * (0.25, 4)
    wanted = [1 + 0.5 / (0.5 + 0.5), 2 - 2 / (math.sqrt(0.1875 + 1) + 0.5)]
    assert once.tolist() == pytest.approx(wanted, rel=1e-6)
    moved = {"real": {"w": once}}
    second = replies_of((once + torch.tensor([1.0, 0.0])).tolist(), (once + torch.tensor([1.0, 0.0])).tolist())
    twice = adam.combine(second, moved)["real"]["w"]
    # m = (0.625, -0.5), v = 0.75 * (0.25, 1.1875) + 0.25 * (1, 0)
    steps = [1.25 / (math.sqrt(0.4375) + 0.5), -1 / (math.sqrt(0.890625) + 0.5)]
    assert (twice - once).tolist() == pytest.approx(steps, rel=1e-5)
    # Yogi: 0.25 stays (its change is as large), 0.25 + 0.25 * 4; then 0.25 + 0.25 * 1, and 1.25, whose change is 0.
    once = yogi.combine(first, start)["real"]["w"]
    assert once.tolist() == pytest.approx([1.5, 2 - 2 / (math.sqrt(1.25) + 0.5)], rel=1e-6)
    ahead = once + torch.tensor([1.0, 0.0])
    twice = yogi.combine(replies_of(ahead.tolist(), ahead.tolist()), {"real": {"w": once}})["real"]["w"]
    steps = [1.25 / (math.sqrt(0.5) + 0.5), -1 / (math.sqrt(1.25) + 0.5)]
    assert (twice - once).tolist() == pytest.approx(steps, rel=1e-5)


@pytest.mark.parametrize(("kind", "rate"), [(ServerAdam, 2.0**60), (ServerYogi, 2.0**61)])
@pytest.mark.parametrize(("weighted", "mean"), [(True, WeightedMean), (False, Mean)])
def test_where_tau_outweighs_all_changes_it_is_the_mean(kind, rate, weighted, mean):
    """Bit for bit, with b1 = b2 = 0: Adam's sqrt v = |d| is nothing beside tau, Yogi's sqrt(tau^2 - d^2) is tau."""
    base, replies = network(0), [Reply(k, 5 * k + 1, network(k + 1)) for k in range(3)]
    found = kind(rate=rate, betas=(0.0, 0.0), tau=2.0**60, weighted=weighted).combine(replies, base)
    for role, some in mean().combine(replies, base).items():
        for name, tensor in some.items():
            assert torch.equal(found[role][name], tensor), name


def test_statistics_are_sums_and_moments_are_carried_on():
    base, replies = network(0), [Reply(k, 5 * k + 1, network(k + 1)) for k in range(3)]
    whole, again, fresh = ServerAdam(), ServerAdam(), ServerAdam()
    new = whole.combine(replies, base)
    assert torch.equal(new["statistic"]["n"], WeightedMean().combine(replies, base)["statistic"]["n"])
    assert set(whole.first) == set(whole.second) == {"latent", "real"}
    again.load_state_dict(whole.state_dict())
    again.check_state(base)
    wanted, found, other = (one.combine(replies, new)["latent"]["a"] for one in (whole, again, fresh))
    assert torch.equal(found, wanted)
    assert not torch.equal(other, wanted)


def of_one_moment(state):
    del state["second"]


def of_another_shape(state):
    state["first"]["real"]["b"] = torch.ones(2)


def of_another_name(state):
    state["first"]["real"]["c"] = torch.ones(6)


def below_zero(state):
    state["second"]["real"]["b"] = -torch.ones(6)


@pytest.mark.parametrize("damage", [of_one_moment, of_another_shape, of_another_name, below_zero])
def test_a_damaged_state_is_refused(damage):
    one, other = ServerYogi(), ServerYogi()
    one.combine([Reply(0, 1, network(1))], network(0))
    state = one.state_dict()
    damage(state)

    def taken_up():
        other.load_state_dict(state)
        other.check_state(network(0))

    with pytest.raises((BitspikeError, ValueError), match=r"got .* wanted two moments|of another network|below 0"):
        taken_up()


def test_a_federation_that_is_stopped_goes_on_to_the_same_end(tmp_path):
    more, heard = [*SMALL, "federation.aggregator.kind=yogi", "federation.aggregator.rate=0.05"], []

    def signalled(message):
        heard.append(message.client)
        if len(heard) == 10:
            os.kill(os.getpid(), signal.SIGINT)
        return message

    whole = bitspike.federate("federated-digits", tmp_path / "whole", overrides=more)
    with pytest.raises(Interrupted, match="stopped in round 3"):
        bitspike.federate("federated-digits", tmp_path / "run", overrides=more, tamper=signalled)
    again = bitspike.federate("federated-digits", tmp_path / "run", overrides=more, resume=True)
    found, wanted = again.model.state_dict(), whole.model.state_dict()
    assert all(torch.equal(tensor, wanted[name]) for name, tensor in found.items())
    mean = bitspike.federate("federated-digits", tmp_path / "mean", overrides=SMALL).model.state_dict()
    assert any(not torch.equal(tensor, mean[name]) for name, tensor in found.items())


def test_what_it_refuses():
    more = [*SMALL, "federation.aggregator.kind=adam"]
    for wrong, said in (("betas=[0.9]", "betas"), ("betas=[0.9, 1.0]", "betas"), ("tau=0", "tau"), ("rate=-1", "rate")):
        with pytest.raises(BitspikeError, match=rf"federation\.aggregator\.{said}"):
            load_recipe("federated-digits", [*more, f"federation.aggregator.{wrong}"])
    with pytest.raises(BitspikeError, match=r"federation\.aggregator 'adam', which takes whole replies"):
        load_recipe("federated-digits", [*more, "federation.codec.kind=components"])
    given = load_recipe("federated-digits-bayes", ["federation.aggregator.kind=adam"])
    with pytest.raises(BitspikeError, match=r"got 'adam' with federation.codec 'posterior-samples', wanted one that"):
        Server(given, load_data(given), [100] * given.federation.clients)
