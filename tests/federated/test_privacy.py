"""Clipped and noisy sums, and what they tell: epsilon of the accountant that is an extra."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import math

import pytest
import torch

import bitspike
from bitspike import load_recipe
from bitspike.errors import BitspikeError
from bitspike.federated.aggregators import Reply
from bitspike.federated.roles import distances, each

INSTALLED = importlib.util.find_spec("dp_accounting") is not None
SMALL = ["model.layers=['8']", "encoder.steps=3", "federation.rounds=2", "federation.epochs=1", "federation.clients=6"]
PRIVATE = ["federation.privacy={clip = 0.5, noise = 1.0}", "federation.aggregator.kind=mean"]
PRIVATE += ["federation.statistics=home"]


@pytest.mark.skipif(INSTALLED, reason="the extra is here")
def test_what_is_missing_is_named_with_what_installs_it(tmp_path):
    with pytest.raises(BitspikeError, match=r"federation.privacy: not installed; .*\.\[privacy\]"):
        bitspike.federate("federated-digits", tmp_path / "run", overrides=[*SMALL, *PRIVATE])
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["federation.aggregator.kind=median"], "'median' with federation.privacy, wanted 'mean'"),
        (["federation.statistics=sums"], "'sums' with federation.privacy, wanted 'home'"),
        (["data.mean_image=true"], "data.mean_image: got true with federation.privacy, wanted false"),
    ],
)
def test_what_would_tell_more_is_refused(tmp_path, more, said):
    with pytest.raises(BitspikeError, match=said):
        bitspike.federate("federated-digits", tmp_path / "run", overrides=[*SMALL, *PRIVATE, *more])


def private(clients=100, asked=10, folder=None, **options):
    from bitspike.federated.privacy import Private
    from bitspike.tables.federation import Privacy

    return Private(Privacy(**options), clients, asked, folder)


@pytest.mark.skipif(not INSTALLED, reason="needs the extra 'privacy'")
def test_updates_are_clipped_and_noise_has_its_size(tmp_path):
    one = private(clip=2.0, noise=1.5, folder=tmp_path)
    base = {"latent": {"a": torch.ones(100, 100)}, "real": {"b": torch.zeros(10)}, "statistic": {}}
    roles = {"latent": {"a": base["latent"]["a"] + 3}, "real": {"b": base["real"]["b"] - 1}, "statistic": {}}
    clipped = one.clipped(Reply(0, 1, roles, distances=distances(roles, base)), base)
    found = distances(clipped.roles, base)
    assert math.hypot(*found.values()) == pytest.approx(2.0)
    assert found["latent", "a"] / found["real", "b"] == pytest.approx(300 / math.sqrt(10), rel=1e-4)
    short = {"latent": {"a": base["latent"]["a"] + 1e-3}, "real": base["real"], "statistic": {}}
    reply = Reply(0, 1, short, distances=distances(short, base))
    assert one.clipped(reply, base) is reply
    noise = one.noisy(base, base, 4, 4, 1)["latent"]["a"] - base["latent"]["a"]
    assert float(noise.std()) == pytest.approx(1.5 * 2.0 / 4, rel=0.03)
    again = private(clip=2.0, noise=1.5, folder=tmp_path).noisy(base, base, 4, 4, 1)
    assert all(torch.equal(t, one.noisy(base, base, 4, 4, 1)[role][name]) for role, name, t in each(again))
    two = [private().noisy(base, base, 4, 4, 1)["latent"]["a"] for _ in range(2)]
    assert not torch.equal(*two)
    # Of four replies that were due one was refused: it counts as no change, and the noise is that of four.
    three = one.noisy(roles, base, 3, 4, 1)["latent"]["a"] - one.noisy(base, base, 4, 4, 1)["latent"]["a"]
    torch.testing.assert_close(three, torch.full_like(three, 3 * 3 / 4), rtol=1e-5, atol=1e-5)
    assert (tmp_path / "privacy-key.json").stat().st_mode & 0o077 == 0


@pytest.mark.skipif(not INSTALLED, reason="needs the extra 'privacy'")
def test_no_reply_is_refused_for_its_length(tmp_path):
    """A refusal by the median of all would say more of a client than its clipped update does."""

    def huge(message):
        tensors = message.parts["latent"]
        if message.client == 3:
            tensors = {name: {"value": 1e6 * part["value"]} for name, part in tensors.items()}
        return dataclasses.replace(message, parts={**message.parts, "latent": tensors})

    run = bitspike.federate("federated-digits", tmp_path / "run", overrides=[*SMALL, *PRIVATE], tamper=huge)
    rows = json.loads((run.path / "federation.json").read_text())["rounds"]
    assert [(row["replies"], row["refused"]) for row in rows] == [(6, {})] * 2


@pytest.mark.skipif(not INSTALLED, reason="needs the extra 'privacy'")
def test_epsilon_of_all_clients_is_that_of_the_gaussian_mechanism():
    """Renyi divergence of order a over R rounds: R a / (2 s^2), s = noise / 2."""
    one = private(clients=10, asked=10, noise=8.0)
    rounds, s = 20, 4.0
    classic = min(rounds * a / (2 * s * s) + math.log(1e5) / (a - 1) for a in torch.linspace(1.1, 60, 2000).tolist())
    found = one.epsilon(rounds)
    assert classic * 0.7 < found <= classic
    assert [one.epsilon(0), one.epsilon(5) < one.epsilon(10) < found] == [0.0, True]
    assert private(clients=100, asked=10, noise=8.0).epsilon(rounds) < found / 2


@pytest.mark.skipif(not INSTALLED, reason="needs the extra 'privacy'")
def test_a_private_federation_says_its_epsilon_and_nothing_of_single_clients(tmp_path):
    run = bitspike.federate("federated-digits", tmp_path / "run", overrides=[*SMALL, *PRIVATE])
    rows = json.loads((run.path / "federation.json").read_text())["rounds"]
    assert 0 < rows[0]["epsilon"] < rows[1]["epsilon"]
    assert "client_loss" not in rows[0]
    assert "deviation" not in rows[0]
    assert rows[0]["by_client"] is None
    assert "epsilon of differential privacy" in bitspike.report(run.path).read_text()
    hybrid = load_recipe("federated-rows-hybrid", ["federation.rounds=1", *PRIVATE[:2], "model.hidden=4"])
    with pytest.raises(BitspikeError, match="which is measured on a client's examples"):
        bitspike.federate(hybrid, tmp_path / "hybrid")
