"""MACs and ACs by rates of neurons: where spikes cost as much as none, the published gain, and what really fired."""

from __future__ import annotations

import pytest
import torch

from bitspike.energy import estimate_energy, mac_ac
from bitspike.errors import BitspikeError
from bitspike.layers import FewBitLinear, Stepwise
from bitspike.models import feedforward
from bitspike.neurons import IF

SIZES = [1.77e6, 37.75e6, 4.19e6]


@pytest.mark.parametrize(("rate", "ratio"), [(5.111, 1.0), (0.9644, 5.3)])
def test_the_ratio_of_a_rate(rate: float, ratio: float) -> None:
    found = mac_ac(SIZES, [rate] * 3)
    assert found.rate == pytest.approx(rate)
    assert found.ratio() == pytest.approx(ratio, abs=1e-3)
    assert found.cross().at == pytest.approx(4.6 / 0.9)
    # Against another network: as many times as much as it has products.
    assert found.ratio(mac_ac([2 * size for size in SIZES])) == pytest.approx(2 * ratio, abs=2e-3)


def test_layers_weigh_by_their_products() -> None:
    found = mac_ac([1.0, 3.0], [4.0, 0.0])
    assert (found.rate, found.ann, found.snn) == pytest.approx((1.0, 4 * 4.6e-12, 0.9e-12 * 4))


def test_break_even_by_spikes_that_came_in() -> None:
    """46 spikes on 9 inputs are 5.111 each: additions cost what multiply-adds would, in both accounts."""
    frames = torch.zeros(9, 1, 9)
    frames.view(-1)[torch.randperm(81, generator=torch.Generator().manual_seed(0))[:46]] = 1
    frames[:, 0, 3] *= -1  # spikes of either sign
    energy = estimate_energy(Stepwise(FewBitLinear(9, 5)), frames)
    assert energy.mac_ac.rate == pytest.approx(46 / 9)
    assert energy.mac_ac.ratio() == pytest.approx(1.0, abs=1e-3)
    assert energy.twin.joules_compute / energy.network.joules_compute == pytest.approx(1.0, abs=1e-3)
    said = energy.to_dict()
    assert said["mac_ac"]["ratio"] == pytest.approx(1.0, abs=1e-3)
    assert said["cross_over"]["MACs and ACs"]["at"] == pytest.approx(4.6 / 0.9)


def network() -> torch.nn.Module:
    return feedforward((1, 4, 4), 3, ["2c3", "a2", "8"], IF, norm="bias")


def test_rates_are_those_of_neurons_also_behind_a_pool() -> None:
    model = network()
    with torch.no_grad():
        for name, p in model.named_parameters():
            p.fill_(1.0 if name.endswith("bias") else 0.0)
    frames = torch.zeros(4, 2, 1, 4, 4)
    frames[1] = 1.0
    energy = estimate_energy(model, frames)
    # Biases of 1 make every neuron fire at every step; each pixel has one spike.
    assert energy.mac_ac.rates == pytest.approx((1.0, 4.0, 4.0))
    assert energy.mac_ac.own_rates == pytest.approx((4.0, 4.0, 4.0))
    macs = (2 * 9 * 16, 8 * 2 * 4, 3 * 8)
    assert energy.mac_ac.macs == macs
    assert energy.mac_ac.snn == pytest.approx(0.9e-12 * (macs[0] + 4 * macs[1] + 4 * macs[2]))
    # Behind the pool each of a window's four spikes meets the weights.
    assert energy.counts.layers[1].events == 4 * 4 * macs[1]


def test_real_inputs_multiply_at_each_step_and_a_network_without_spikes_has_one_side() -> None:
    still = torch.rand(1, 2, 1, 4, 4).expand(5, 2, 1, 4, 4)
    moving = torch.rand(5, 2, 1, 4, 4)
    once, always = (estimate_energy(network(), x).mac_ac.rates[0] for x in (still, moving))
    assert (once, always) == pytest.approx((4.6 / 0.9, 5 * 4.6 / 0.9))
    static = estimate_energy(torch.nn.Sequential(torch.nn.Linear(4, 2)), torch.rand(3, 4))
    assert static.mac_ac.ann == pytest.approx(8 * 4.6e-12)
    assert static.mac_ac.snn is None
    assert static.mac_ac.ratio() is None


def test_what_is_no_account_is_refused() -> None:
    with pytest.raises(BitspikeError, match="mac_ac macs"):
        mac_ac([])
    with pytest.raises(BitspikeError, match=r"mac_ac rates: got .*, wanted 2 numbers"):
        mac_ac([1.0, 2.0], [1.0])
