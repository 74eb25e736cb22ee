"""`bitspike.energy`: events and operations of networks that ran, against counting one by one."""

from __future__ import annotations

import json

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import bitspike
from bitspike.convert import hybridise, relu_to_spiking, spiking
from bitspike.draws import generator
from bitspike.errors import BitspikeError
from bitspike.models import feedforward
from bitspike.neurons import LIF, SoftLIF, SoftNeuron, redraw_carry

STEPS, BATCH = 6, 3


def sparse(*shape: int, share: float = 0.3) -> Tensor:
    return (torch.rand(*shape, generator=generator("energy", *shape)) < share).float()


def reached(spikes: Tensor, weights: Tensor, **how: int) -> float:
    """Sum of counts (N, C, H, W) times the weights that each meets: a convolution with ones, border and all."""
    return float(F.conv2d(spikes.double(), torch.ones_like(weights).double(), **how).sum())


def test_a_convolution_with_a_border_by_hand() -> None:
    """One channel, 3 x 3 pixels, 3 x 3 kernel, border of 1: a corner meets 4 weights, an edge 6, the middle 9."""
    model = feedforward((1, 3, 3), 2, ["2c3"], LIF)
    for place, weights in (((0, 0), 4), ((0, 1), 6), ((1, 1), 9), ((2, 2), 4)):
        x = torch.zeros(STEPS, BATCH, 1, 3, 3)
        x[0, :, 0, place[0], place[1]] = 1.0
        x[2, :, 0, place[0], place[1]] = 1.0
        layer = bitspike.estimate_energy(model, x).counts.layers[0]
        assert (layer.events, layer.ac, layer.graded) == (2 * weights * 2, 2 * weights * 2, 0)
        # Once for each place, with two output channels; and with the nine weights of the border's places.
        assert (layer.dense, layer.connections) == (2 * (4 * 4 + 4 * 6 + 9), 2 * 9 * 9)
        assert layer.once == 2 * weights
        assert layer.levels == 2


def test_a_spiking_network_against_counting_its_spikes() -> None:
    model = feedforward((2, 6, 6), 3, ["4c3", "p2", "7"], LIF).eval()
    x = sparse(STEPS, BATCH, 2, 6, 6)
    seen: dict[str, Tensor] = {}
    for name in ("spikes1", "spikes3"):
        model.get_submodule(name).register_forward_hook(lambda m, a, y, name=name: seen.__setitem__(name, y))
    found = bitspike.estimate_energy(model, x)
    first, second, last = found.counts.layers
    pooled = F.max_pool2d(seen["spikes1"].flatten(0, 1), 2)
    assert first.events == pytest.approx(reached(x.flatten(0, 1), model.conv1.layer.weight, padding=1) / BATCH)
    assert second.events == pytest.approx(float(pooled.sum()) * 7 / BATCH)
    assert last.events == pytest.approx(float(seen["spikes3"].sum()) * 3 / BATCH)
    assert found.network.ac == pytest.approx(first.events + second.events + last.events)
    assert found.network.neuron_updates == STEPS * (4 * 36 + 7)
    # What a network that runs once would be sent: sums over time.
    sums = x.sum(0)
    assert first.levels == len(sums.unique())
    assert first.once == pytest.approx(reached((sums != 0).float(), model.conv1.layer.weight, padding=1) / BATCH)
    assert last.levels == len(seen["spikes3"].sum(0).unique())
    synops = first.events + second.events + last.events
    loihi = found.devices["loihi"]
    assert loihi is not None
    assert loihi.synops == pytest.approx(27.1e-12 * synops)
    assert loihi.neurons == pytest.approx(81e-12 * STEPS * (4 * 36 + 7))


@pytest.mark.parametrize("synapse", ["alpha", None])
@pytest.mark.parametrize("chunk", [1, 7, 30])
def test_a_spiking_twin_against_counting_its_spikes(synapse: str | None, chunk: int) -> None:
    """Spikes behind an average pool whose windows overlap and hang over the edge stay whole events."""
    rate = SoftLIF(amplitude=0.02, gain=2.0)
    model = feedforward((2, 8, 8), 4, ["5c3", "a3s2", "6l3", "9"], lambda: SoftNeuron(rate), norm="bias").eval()
    with torch.no_grad():
        for name, weights in model.named_parameters():
            weights.fill_(0.8) if name.endswith("bias") else weights.mul_(4.0)
    x = torch.rand(BATCH, 2, 8, 8, generator=generator("images"))
    net = spiking(model, synapse=synapse, chunk=chunk)
    fired: dict[str, list[Tensor]] = {}
    hooks = [
        unit.register_forward_hook(lambda m, a, y, name=name: fired.setdefault(name, []).append(y / m.height))
        for name, unit in net.units().items()
    ]
    net.present(x, 0.03)
    for hook in hooks:
        hook.remove()
    one, two, three = (torch.cat(fired[name]).round() for name in ("spikes1", "spikes3", "spikes4"))
    assert min(float(s.sum()) for s in (one, two, three)) > 0
    found = bitspike.estimate_energy(net, x, time=0.03)
    image, local, dense, readout = found.counts.layers
    # The image is shown for all the time and multiplied once.
    assert (image.rows, image.events) == (1, 0)
    assert (
        image.graded
        == image.mac
        == pytest.approx(reached((x != 0).float(), model.conv1.layer.weight, padding=1) / BATCH)
    )
    windows = F.avg_pool2d(one.flatten(0, 1), 3, 2, ceil_mode=True, divisor_override=1)
    assert float(windows.sum()) > float(one.sum())
    ones = torch.ones(6, 5, 3, 3)
    assert local.events == pytest.approx(reached(windows, ones, padding=1) / BATCH)
    assert dense.events == pytest.approx(float(two.sum()) * 9 / BATCH)
    assert readout.events == pytest.approx(float(three.sum()) * 4 / BATCH)
    assert local.levels == len(windows.unflatten(0, (30, BATCH)).sum(0).unique())
    neurons = 5 * 64 + 6 * 16 + 9
    assert found.network.neuron_updates == 30 * neurons
    filters = 30 * (neurons + 4) if synapse else 0
    assert found.network.more["filter_updates"] == filters
    assert found.network.bytes["state"] == 8 * (30 * neurons * 2 + filters * 2)
    assert [n.name for n in found.counts.neurons] == ["spikes1", "spikes3", "spikes4"]
    # In batches, each from rest: the same means.
    again = bitspike.estimate_energy(net, [x[:2], x[2:]], time=0.03)
    assert again.network.ac == pytest.approx(found.network.ac, rel=1e-9)


def plain() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(36, 8), nn.ReLU(),
        nn.Linear(8, 3),
    ).eval()  # fmt: skip


def test_a_hybrid_against_counting_its_counts() -> None:
    torch.manual_seed(0)
    x = torch.rand(5, 1, 6, 6)
    net = hybridise(plain(), 3, steps=2, data=x)
    seen: dict[str, Tensor] = {}
    for name, quantiser in net.quantised().items():
        quantiser.observers.append(lambda q, y, new, name=name: seen.__setitem__(name, q.counts(y).clone()))
    found = bitspike.estimate_energy(net, x)
    first, second, last = found.counts.layers
    assert (first.rows, first.graded) == (1, first.mac)
    one, two = seen.values()
    windows = F.avg_pool2d(one.flatten(0, 1), 2, divisor_override=1)
    assert second.events == pytest.approx(float(windows.sum()) * 8 / 5)
    assert last.events == pytest.approx(float(two.sum()) * 3 / 5)
    assert last.levels == len(two.sum(0).unique())
    redraw_carry(net, 1)
    assert bitspike.estimate_energy(net, x).network.ac != found.network.ac


def test_rates_as_spikes_against_counting_them() -> None:
    torch.manual_seed(0)
    x = torch.rand(5, 1, 6, 6)
    net = relu_to_spiking(plain(), x)
    found = bitspike.estimate_energy(net, x, steps=9)
    net.forget_counts()
    net(x, 9)
    spikes = {name: unit.spikes / 5 for name, unit in net.units().items()}
    assert {n.name: n.spikes for n in found.counts.neurons} == pytest.approx(spikes)
    # Each spike of the first layer falls into one window and meets 8 weights there.
    first, second = spikes.values()
    assert [layer.events for layer in found.counts.layers] == pytest.approx([0, first * 8, second * 3])
    assert found.network.neuron_updates == 9 * (4 * 36 + 8)
    with pytest.raises(BitspikeError, match="energy steps: got None, wanted steps for what relu_to_spiking gave"):
        bitspike.estimate_energy(net, x)


class Functional(nn.Module):
    """Its nonlinearities are calls of functions."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.act, self.out = nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Linear(64, 3)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = torch.tanh(self.out(F.relu(self.act(self.conv(x))).flatten(1)))
        return y


def test_nonlinearities_that_are_functions_are_units_too() -> None:
    found = bitspike.estimate_energy(Functional(), torch.rand(2, 1, 6, 6))
    assert {unit.name: unit.neurons for unit in found.counts.units} == {"act": 64, "relu_1": 64, "tanh_1": 3}
    assert found.twin.neuron_updates == 64 + 64 + 3


def test_an_ordinary_network_costs_what_its_opponent_costs() -> None:
    found = bitspike.estimate_energy(plain(), torch.rand(4, 1, 6, 6) + 0.1)
    assert found.opponent.joules_compute == found.twin.joules_compute
    assert found.opponent_skipping.joules_compute == pytest.approx(found.network.joules_compute)
    assert found.cross_over == {}
    assert found.devices["loihi"] is None


def test_the_model_is_left_as_it_was() -> None:
    model = plain().train()
    bitspike.estimate_energy(model, torch.rand(2, 1, 6, 6))
    assert model.training
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    net = relu_to_spiking(plain(), torch.rand(4, 1, 6, 6))
    bitspike.estimate_energy(net, torch.rand(2, 1, 6, 6), steps=2)
    assert not any("over_time" in m.__dict__ for m in net.modules())


def test_batches_are_a_mean_over_examples_and_print_and_store() -> None:
    model, x = feedforward((5,), 2, ["4"], LIF).eval(), sparse(STEPS, 7, 5)
    whole = bitspike.estimate_energy(model, x)
    parts = bitspike.estimate_energy(model, [(x[:, :4], None), (x[:, 4:], None)])
    assert parts.counts.layers[0].events == pytest.approx(whole.counts.layers[0].events)
    assert parts.counts.layers[0].levels == whole.counts.layers[0].levels
    stored = whole.to_dict()
    assert json.loads(json.dumps(stored)) == stored
    text = str(whole)
    assert "analytic, not measured" in text
    assert "loihi / gpu" in text


def test_what_cannot_be_counted_is_refused() -> None:
    model = feedforward((5,), 2, ["4"], LIF)
    for data, message in (
        ([], "energy data: got no batch, wanted at least one"),
        ([torch.ones(3)], r"energy data: got \(3,\), wanted batches \(T, B, \*features\)"),
        (torch.ones(4, 0, 5), r"energy data: got \(4, 0, 5\)"),
        (["x"], "energy data: got str"),
    ):
        with pytest.raises(BitspikeError, match=message):
            bitspike.estimate_energy(model, data)
    x = torch.ones(3, 2, 5)
    with pytest.raises(BitspikeError, match=r"energy time: got 0\.2, wanted none: only a spiking run"):
        bitspike.estimate_energy(model, x, time=0.2)
    with pytest.raises(BitspikeError, match="energy timesteps: got 5, wanted none: this network spikes"):
        bitspike.estimate_energy(model, x, timesteps=5)
    with pytest.raises(BitspikeError, match="energy timesteps: got 0, wanted a whole number, 1 or more"):
        bitspike.estimate_energy(plain(), torch.rand(1, 1, 6, 6), timesteps=0)
    with pytest.raises(BitspikeError, match=r"energy dt: got -1\.0, wanted a positive number of seconds"):
        bitspike.estimate_energy(plain(), torch.rand(1, 1, 6, 6), timesteps=1, dt=-1.0)
