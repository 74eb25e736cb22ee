"""The opponent of the same bits, and the spikes per synapse at which a spiking network stops winning."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from bitspike.energy import Counts, Device, Energy, LayerCount, NeuronCount, account, estimate_energy
from bitspike.models import feedforward
from bitspike.neurons import LIF


def counts(events: float = 60.0, levels: int = 4, weight_bits: float = 32.0) -> Counts:
    """20 inputs reach 5 units by 100 synapses, 8 steps; these reach 3 outputs."""
    first = LayerCount("in", "Linear", 100, weight_bits, 100, 5, 20, ac=events, reads=events, events=events, once=50,
                       magnitude=events, levels=levels, rows=8, input_values=160, input_bits=160)  # fmt: skip
    last = LayerCount("out", "Linear", 15, weight_bits, 15, 3, 5, ac=events / 10, reads=events / 10, events=events / 10,
                      once=10, magnitude=events / 10, levels=2, rows=8, input_values=40, input_bits=40)  # fmt: skip
    neurons = NeuronCount("n", 5, updates=40, state=40, values=40, spikes=events / 30, bits=40)
    return Counts(1, (first, last), (neurons,), (), False)


def scaled(found: Counts, factor: float) -> Counts:
    """The same network with `factor` times as many spikes."""

    def more(layer: LayerCount) -> LayerCount:
        names = ("mac", "ac", "add_real", "reads", "events", "magnitude")
        return replace(layer, **{name: factor * getattr(layer, name) for name in names if layer.driven})

    neurons = tuple(replace(n, spikes=n.spikes * factor) for n in found.neurons)
    return replace(found, layers=tuple(map(more, found.layers)), neurons=neurons)


def test_the_opponent_by_hand() -> None:
    """4 levels are 2 bits: two additions for each of 100 connections; 2 levels one, for each of 15."""
    found = account(counts()).opponent
    assert (found.mac, found.ac, found.neuron_updates) == (0, 215, 5)
    assert found.joules_compute == pytest.approx(215 * 0.9e-12)
    assert found.bytes["weights"] == 115 * 4
    assert found.bytes["activations"] == 2 * (20 * 2 + 5 * 1) / 8
    assert found.more["activation_bits"] == pytest.approx((100 * 2 + 15) / 115)
    skipping = account(counts()).opponent_skipping
    assert (skipping.ac, skipping.bytes["weights"]) == (2 * 50 + 10, 60 * 4)


@pytest.mark.parametrize(
    ("levels", "weight_bits", "mac", "ac"),
    [
        (2, 32, 0, 100 + 15), (3, 32, 0, 200 + 15), (17, 32, 0, 500 + 15),
        # Six additions cost more than one multiply-add, 5.4 against 4.6 pJ.
        (33, 32, 100, 15), (1 << 32, 32, 100, 15), (1000, 1, 0, 100 + 15), (1000, 2, 0, 200 + 15),
    ],
)  # fmt: skip
def test_bits_of_the_opponent(levels: int, weight_bits: float, mac: float, ac: float) -> None:
    found = account(counts(levels=levels, weight_bits=weight_bits)).opponent
    assert (found.mac, found.ac) == (mac, ac)


def test_what_is_real_in_the_network_is_real_in_the_opponent() -> None:
    both = counts()
    real = replace(both.layers[0], ac=0.0, events=0.0, mac=60.0, graded=60.0, rows=1, input_values=20)
    found = account(replace(both, layers=(real, both.layers[1])))
    assert (found.opponent.mac, found.opponent.ac) == (100, 15)
    # Only the second layer is driven by spikes.
    assert found.spikes_per_synapse == 6 / 15
    assert found.cross_over["arithmetic"].fixed == pytest.approx(60 * 4.6e-12)


def test_closed_form_by_hand() -> None:
    found = account(counts()).cross_over
    arithmetic = found["arithmetic"]
    assert arithmetic.here == pytest.approx(66 / 115)
    assert (arithmetic.fixed, arithmetic.slope) == (pytest.approx(0, abs=1e-25), pytest.approx(115 * 0.9e-12))
    assert arithmetic.at == pytest.approx(215 / 115)
    assert arithmetic.winner == "network"
    neurons = found["arithmetic and neurons"]
    assert neurons.fixed == pytest.approx(40 * 4.6e-12)
    assert neurons.at == pytest.approx((215 * 0.9 + 5 * 4.6 - 40 * 4.6) / (115 * 0.9))
    loihi = found["loihi / gpu"]
    assert loihi.at == pytest.approx((0.3e-9 * (115 + 5) - 81e-12 * 40) / (27.1e-12 * 115))


def check(before: Energy, factor: float, again: Energy, name: str) -> None:
    """The account at `factor` times the spikes is what the line through it says."""
    line = before.cross_over[name]
    assert again.cross_over[name].network == pytest.approx(line.fixed + line.slope * factor * line.here, rel=1e-9)


@pytest.mark.parametrize("draws", [1, 10])
def test_at_the_cross_over_both_accounts_are_equal(draws: int) -> None:
    base = counts()
    cheap = Device("cheap", 1e-12, 1e-12)
    found = account(base, draws=draws, own=[cheap])
    crossed = 0
    for name, line in found.cross_over.items():
        if line.at is None:
            assert line.opponent < line.fixed
            assert line.winner == "opponent"
            continue
        crossed += 1
        again = account(scaled(base, line.at / line.here), draws=draws, own=[cheap])
        same = again.cross_over[name]
        assert same.network == pytest.approx(same.opponent, rel=1e-9)
        assert same.here == pytest.approx(line.at, rel=1e-9)
        assert line.winner == ("network" if line.here < line.at else "opponent")
    assert crossed >= 4
    assert {"arithmetic", "FLOPs", "memory in cache_8kB", "cheap / gpu"} <= set(found.cross_over)


def test_a_network_that_ran_lies_on_its_line() -> None:
    model = feedforward((1, 6, 6), 3, ["4c3", "p2", "7"], LIF).eval()
    with torch.no_grad():
        for name, weights in model.named_parameters():
            if name.endswith("weight"):
                weights.add_(0.2)
    x = (torch.rand(8, 4, 1, 6, 6, generator=torch.Generator().manual_seed(0)) < 0.3).float()
    found = estimate_energy(model, x)
    assert found.network.more["spikes"] > 0
    for factor in (0.0, 0.5, 3.0):
        again = account(scaled(found.counts, factor))
        for name in found.cross_over:
            check(found, factor, again, name)


def test_without_a_single_spike_the_cross_over_is_still_told() -> None:
    found = account(counts(events=0.0)).cross_over["arithmetic"]
    assert (found.here, found.network) == (0, 0)
    assert found.at == pytest.approx(account(counts()).cross_over["arithmetic"].at)
