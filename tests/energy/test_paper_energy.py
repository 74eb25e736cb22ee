"""Sizes of the paper's networks, every published FLOP total and every published efficiency."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import pytest
import torch
from torch import nn

from bitspike.energy import Counts, LayerCount, NeuronCount, estimate_energy
from bitspike.energy.counts import fan_in
from bitspike.energy.paper_energy import LayerSize, NetworkSize, paper_account, paper_energy
from bitspike.energy.reports import POOLS
from bitspike.errors import BitspikeError
from bitspike.layers import Local2d
from bitspike.models import feedforward
from bitspike.models.sequence import Gated, SequenceNetwork
from bitspike.neurons import LIF, SoftNeuron
from bitspike.run.recipe_files import load_recipe


@torch.no_grad()
def network_size(model: nn.Module, example: torch.Tensor) -> NetworkSize:
    """Sizes of what `model` runs on `example`, one example as the model takes it; works on the device "meta" too."""
    layers: list[LayerSize] = []
    pooled: list[int] = []

    def weigh(module: Any, arguments: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        layers.append(LayerSize("", output.numel(), output.numel() * fan_in(module), module.weight.numel()))

    def pool(module: nn.Module, arguments: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        pooled.append(arguments[0].numel())

    with ExitStack() as hooks:
        for module in model.eval().modules():
            if isinstance(module, nn.Linear | nn.Conv2d | Local2d):
                hooks.enter_context(module.register_forward_hook(weigh))
            elif isinstance(module, POOLS):
                hooks.enter_context(module.register_forward_hook(pool))
        model(example)
    return NetworkSize(tuple(layers), sum(pooled))


def of_layers(layers: list[str], shape: tuple[int, ...], classes: int) -> NetworkSize:
    model = feedforward(shape, classes, layers, SoftNeuron, norm="bias")
    return network_size(model, torch.zeros(1, 1, *shape))


def imagenet() -> NetworkSize:
    """The AlexNet-like network on 227 x 227 pixels, which gives the published 55 x 55 places of the first layer."""

    def conv(*sizes: int) -> list[nn.Module]:
        return [nn.Conv2d(*sizes), nn.ReLU()]

    def pool() -> nn.Module:
        return nn.AvgPool2d(3, 2, ceil_mode=True)

    with torch.device("meta"):
        model = nn.Sequential(
            *conv(3, 64, 11, 4), pool(), *conv(64, 192, 5, 1, 2), pool(), *conv(192, 384, 3, 1, 1),
            *conv(384, 256, 3, 1, 1), *conv(256, 256, 3, 1, 1), pool(), nn.Flatten(),
            nn.Linear(9216, 4096), nn.ReLU(), nn.Linear(4096, 4096), nn.ReLU(), nn.Linear(4096, 1000),
        )  # fmt: skip
        return network_size(model, torch.zeros(1, 3, 227, 227))


DIGITS = ["16c5", "a2", "64c5", "a2", "2000", "d0.5"]
OBJECTS = ["64c5", "a3s2", "64c5", "a3s2", "64l3", "32l3"]
NETWORKS = {
    "mnist": lambda: of_layers(DIGITS, (1, 28, 28), 10),
    "svhn": lambda: of_layers(DIGITS, (3, 28, 28), 10),
    "cifar10": lambda: of_layers(OBJECTS, (3, 24, 24), 10),
    "cifar100": lambda: of_layers(OBJECTS, (3, 24, 24), 100),
    "imagenet": imagenet,
}
PUBLISHED = {
    "mnist": (27_088, 6_318_000, 11_623_200, 23_298_576, 25_088),
    "svhn": (27_088, 6_318_800, 12_250_400, 24_552_976, 25_088),
    "cifar10": (49_536, 2_109_376, 19_512_576, 39_120_768, 46_080),
    "cifar100": (49_536, 2_213_056, 19_616_256, 39_328_128, 46_080),
    "imagenet": (493_184, 61_090_496, 714_188_480, 1_429_246_976, 376_832),
}
RATES = {
    "cifar10": (173.3, 99.0, 9.7, 7.2),
    "mnist": (4.6, 15.6, 4.2),
    "imagenet": (178.1, 48.8, 26.6, 30.6, 35.6, 19.1, 10.7),
}
# network, seconds per image, efficiency as printed and as recomputed from the published rates
EFFICIENCY = [
    ("cifar10", 0.200, 0.76, 0.765), ("cifar10", 0.150, 0.98, 0.984), ("cifar10", 0.080, 1.64, 1.645),
    ("cifar10", 0.060, 2.04, 2.035), ("mnist", 0.200, 5.94, 5.941), ("mnist", 0.100, 10.24, 10.242),
    ("mnist", 0.060, 14.42, 14.417), ("mnist", 0.060, 14.42, 14.417), ("imagenet", 0.200, 1.39, 1.386),
    ("imagenet", 0.080, 2.88, 2.877), ("imagenet", 0.060, 3.51, 3.506),
]  # fmt: skip


@pytest.mark.parametrize("name", NETWORKS)
def test_neurons_weights_synapses_and_flops_are_the_published_ones(name: str) -> None:
    size = NETWORKS[name]()
    assert (size.neurons, size.weights, size.synapses, size.flops(), size.pooled) == PUBLISHED[name]


def test_layer_by_layer() -> None:
    cifar, mnist = NETWORKS["cifar10"](), NETWORKS["mnist"]()
    assert [layer.units for layer in cifar.layers] == [36_864, 9_216, 2_304, 1_152, 10]
    assert [layer.synapses for layer in cifar.layers] == [2_764_800, 14_745_600, 1_327_104, 663_552, 11_520]
    assert [layer.synapses for layer in mnist.layers] == [313_600, 5_017_600, 6_272_000, 20_000]
    assert cifar.flops(pools=False) == 39_074_688


def test_the_recipes_are_those_networks() -> None:
    for name, layers in (("soft-lif-mnist", DIGITS), ("soft-lif-cifar10", OBJECTS)):
        recipe = load_recipe(name)
        assert recipe.model.layers == layers  # type: ignore[union-attr]
    assert recipe.data.crop == 24


@pytest.mark.parametrize(("name", "seconds", "printed", "exact"), EFFICIENCY)
def test_every_published_efficiency(name: str, seconds: float, printed: float, exact: float) -> None:
    found = paper_energy(NETWORKS[name](), RATES[name], seconds)
    assert found["efficiency"] == pytest.approx(printed, abs=0.01)
    assert found["efficiency"] == pytest.approx(exact, abs=0.002)


@pytest.mark.parametrize(
    ("name", "synops", "updates"),
    [("cifar10", 2.693e9, 49.5e6), ("mnist", 1.21e8, 27.1e6), ("imagenet", 5.409e10, 4.932e8)],
)
def test_synaptic_operations_and_updates_per_second(name: str, synops: float, updates: float) -> None:
    found = paper_energy(NETWORKS[name](), RATES[name], 0.2)
    assert found["synops_per_second"] == pytest.approx(synops, rel=1e-3)
    assert found["updates_per_second"] == pytest.approx(updates, rel=2e-3)


def test_the_written_formula_leaves_the_input_layer_out() -> None:
    size = NETWORKS["cifar10"]()
    written = paper_energy(size, RATES["cifar10"], 0.2, input_layer=False)
    assert written["snn"] == pytest.approx(45.6e6, abs=0.1e6)
    assert written["efficiency"] == pytest.approx(0.86, abs=0.005)


def test_what_does_not_fit_is_refused() -> None:
    size = NETWORKS["mnist"]()
    with pytest.raises(BitspikeError, match=r"^paper_energy rates: got 2 rates, wanted 3, one per layer"):
        paper_energy(size, (1.0, 2.0), 0.2)
    with pytest.raises(BitspikeError, match=r"^paper_energy: got \[1.0, -2.0, 0.0\] Hz"):
        paper_energy(size, (1.0, -2.0, 0.0), 0.2)


def test_a_local_layer_is_counted_as_a_convolution_of_its_size() -> None:
    from bitspike.energy import OperationCounter
    from bitspike.layers import Local2d, Stepwise

    x = torch.rand(1, 2, 3, 6, 5) * (torch.rand(1, 2, 3, 6, 5) > 0.4)
    counts = []
    for layer in (nn.Conv2d(3, 4, 3, 2, 1), Local2d(3, 4, (6, 5), 3, 2, 1)):
        model = Stepwise(layer)
        with OperationCounter(model) as counter:
            model(x)
            counter.add_examples(2)
        counts.append(counter.counts())
    conv, local = (c.layers[0] for c in counts)
    assert (conv.mac, conv.dense, conv.reads) == (local.mac, local.dense, local.reads)
    assert (local.kind, local.weights, counts[1].uncounted) == ("Local2d", 9 * 4 * 27, ())


def test_the_account_of_a_network_that_ran_is_the_formula_on_its_rates() -> None:
    """Real pixels: as printed. Spikes from outside: charged as spikes."""
    x = (torch.rand(9, 3, 1, 8, 8, generator=torch.Generator().manual_seed(0)) < 0.4).float()
    model = feedforward((1, 8, 8), 4, ["6c3", "a2", "9"], LIF).eval()
    with torch.no_grad():
        for name, weights in model.named_parameters():
            if name.endswith("weight"):
                weights.add_(0.1)
    for data, pixels in ((x, False), ((x[:1] + 0.5).expand(9, -1, -1, -1, -1), True)):
        found = estimate_energy(model, data)
        size = network_size(model, data[:1, :1])
        assert [(c.units, c.connections) for c in found.counts.layers] == [(n.units, n.synapses) for n in size.layers]
        assert found.counts.pooled == size.pooled
        seconds = 9 * 0.001
        rates = [n.spikes / n.neurons / seconds for n in found.counts.neurons]
        assert max(rates) > 0
        wanted = paper_energy(size, rates, seconds, input_layer=pixels)
        outside = 0.0 if pixels else 0.08 * found.counts.layers[0].events
        assert found.paper is not None
        assert found.paper.flops == size.flops(pools=False)
        assert found.paper.flops_with_pools == size.flops()
        assert found.paper.snn == pytest.approx(wanted["snn"] + outside)
        assert found.paper.efficiency == pytest.approx(size.flops(pools=False) / (wanted["snn"] + outside))
        line = found.cross_over["FLOPs"]
        assert (line.network, line.opponent, line.unit) == (found.paper.snn, found.paper.flops, "FLOP")
        assert line.fixed + line.slope * line.here == pytest.approx(line.network)


@pytest.mark.parametrize(("name", "seconds", "printed", "exact"), EFFICIENCY)
def test_the_published_rates_give_the_published_efficiency_as_counts(
    name: str, seconds: float, printed: float, exact: float
) -> None:
    """Counts that a network of the published size and rates would leave: the account finds the printed number."""
    size, steps = NETWORKS[name](), round(seconds * 1000)
    layers = [
        LayerCount(n.name, "", n.weights, 32, n.synapses, n.units, n.synapses // n.units, graded=float(k == 0))
        for k, n in enumerate(size.layers)
    ]
    neurons = [
        NeuronCount(n.name, n.units, updates=n.units * steps, spikes=n.units * rate * seconds)
        for n, rate in zip(size.layers, RATES[name], strict=False)
    ]
    found = paper_account(Counts(1, tuple(layers), tuple(neurons), (), False))
    assert found is not None
    assert found.efficiency == pytest.approx(exact, abs=0.002)
    assert found.efficiency == pytest.approx(printed, abs=0.01)
    # More spikes than this, and usual hardware costs less.
    assert found.cross is not None
    assert found.cross.winner == ("network" if exact > 1 else "opponent")
    assert found.cross.at is not None
    assert (found.cross.here < found.cross.at) == (exact > 1)


def test_networks_that_the_formula_does_not_cover_have_no_account() -> None:
    x = torch.rand(5, 2, 6)
    assert estimate_energy(SequenceNetwork(Gated("lstm", 6, 4), 3), x).paper is None
    plain = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 2))
    found = estimate_energy(plain, x[0]).paper
    assert found is not None
    assert (found.flops, found.snn) == (5 + 2 * (30 + 10), None)
    assert estimate_energy(nn.Sequential(nn.Linear(6, 5), nn.Linear(5, 2)), x[0]).paper is None
