"""The layer notation of local layers, pools with a stride, dropout, and networks with biases only."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from bitspike.errors import BitspikeError
from bitspike.layers import Dropout, Local2d
from bitspike.models import feedforward
from bitspike.neurons import SoftNeuron


def shapes(model: nn.Module, x: torch.Tensor) -> dict[str, tuple[int, ...]]:
    found: dict[str, tuple[int, ...]] = {}
    for name, module in model.named_children():
        x = module(x)
        found[name] = tuple(x.shape[2:])
    return found


def test_sizes_through_a_network_as_on_the_page() -> None:
    model = feedforward((3, 24, 24), 10, ["64c5", "a3s2", "64c5", "a3s2", "64l3", "32l3s2", "d.25"], SoftNeuron, "bias")
    found = shapes(model, torch.zeros(1, 1, 3, 24, 24))
    sizes = {"pool2": (64, 12, 12), "pool4": (64, 6, 6), "local5": (64, 6, 6), "local6": (32, 3, 3), "readout": (10,)}
    assert {name: found[name] for name in sizes} == sizes
    assert isinstance(model.local5.layer, Local2d)
    assert isinstance(model.dropout7, Dropout)
    assert model.dropout7.p == 0.25
    assert not any("norm" in name for name in found)
    assert all(m.bias is not None for m in model.modules() if isinstance(m, nn.Linear | nn.Conv2d | Local2d))


@pytest.mark.parametrize("side", [4, 5, 6, 7, 8, 9])
@pytest.mark.parametrize("pool", ["a3s2", "p3s2", "a2s1", "a3s3"])
def test_pools_that_hang_over_the_edge_have_the_size_they_say(side: int, pool: str) -> None:
    model = feedforward((2, side, side), 3, ["4c3", pool, "8"], SoftNeuron, "bias")
    assert model(torch.rand(1, 2, 2, side, side)).shape == (1, 2, 3)


def test_a_mean_over_the_edge_is_over_what_lies_inside() -> None:
    model = feedforward((1, 4, 4), 3, ["1c1", "a3s2", "8"], SoftNeuron, "bias")
    y = model.pool2(torch.arange(16.0).view(1, 1, 1, 4, 4))[0, 0, 0]
    assert y.tolist() == [[5.0, 6.5], [11.0, 12.5]]


def test_weights_start_by_seed_and_with_given_deviations() -> None:
    layers, spreads = ["16c3", "16l3", "400"], [0.1, 0.02, 0.3, 0.01]

    def made(seed: int) -> nn.Sequential:
        return feedforward((2, 8, 8), 5, layers, SoftNeuron, "bias", keys=(seed, "init"), deviations=spreads)

    one, again, other = (made(seed).state_dict() for seed in (0, 0, 1))
    weights = [name for name in one if name.endswith("weight")]
    assert [one[name].std().item() for name in weights] == pytest.approx(spreads, rel=0.15)
    assert all(torch.equal(one[name], again[name]) for name in one)
    assert not any(torch.equal(one[name], other[name]) for name in weights)
    assert all(one[name].abs().max() == 0 for name in one if name.endswith("bias"))
    for wrong in (spreads[:2], [*spreads, 1.0]):
        with pytest.raises(BitspikeError, match=r"^model deviations: got \d numbers, wanted one for each weight layer"):
            feedforward((2, 8, 8), 5, layers, SoftNeuron, "bias", deviations=wrong)


@pytest.mark.parametrize("layer", ["a2s3", "p9", "l3", "d2", "16l", "a3s2s2"])
def test_what_cannot_be_read_or_built_is_refused(layer: str) -> None:
    with pytest.raises(BitspikeError, match=r"^model layers\[0\]: got '" + layer):
        feedforward((2, 8, 8), 5, [layer], SoftNeuron)
