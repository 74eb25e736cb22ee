"""Operation counts against brute-force loops and hand calculation, and the bits of weights and spikes."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from bitspike.draws import generator
from bitspike.energy import Counts, OperationCounter, activation_bits, bits, weight_bits
from bitspike.errors import BitspikeError


class Sign(nn.Module):
    """A binary weight."""

    bits = 1.0

    def forward(self, latent: Tensor) -> Tensor:
        return torch.where(latent >= 0, 1.0, -1.0)


class Threshold(nn.Module):
    """Neurons without memory."""

    is_spiking = True

    def forward(self, x: Tensor) -> Tensor:
        return (x > 0).float()


class OverTime(nn.Module):
    """A layer on (T*B, ...) rows."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x.flatten(0, 1)).unflatten(0, x.shape[:2])


def binary(layer: nn.Module) -> nn.Module:
    return parametrize.register_parametrization(layer, "weight", Sign())


def count(model: nn.Module, x: Tensor, examples: int) -> Counts:
    with torch.inference_mode(), OperationCounter(model) as counter:
        model(x)
        counter.add_examples(examples)
    return counter.counts()


def sparse(*shape: int) -> Tensor:
    return (torch.rand(*shape, generator=generator("operations", *shape)) < 0.3).float()


def test_linear_with_spikes_real_weights() -> None:
    x = torch.tensor([[1.0, 0, 1], [0, 0, 0], [1, 1, 1], [0, 1, 0]])
    (layer,) = count(nn.Linear(3, 5), x, 2).layers
    assert (layer.dense, layer.ac, layer.mac, layer.add_real) == (15, 6 * 5 / 2, 0, 0)
    assert (layer.rows, layer.weight_bits, layer.input_bits) == (2, 32, 6)


@pytest.mark.parametrize(
    ("values", "binary_weights", "wanted"),
    [
        ([0.0, 1.0, 1.0, 0.0], False, {"ac": 10}),
        ([0.0, -1.0, 1.0, 0.0], False, {"ac": 10}),
        ([0.0, 3.0, 1.0, 0.0], False, {"ac": 20}),
        ([0.0, 17.0, 1.0, 0.0], False, {"mac": 10}),
        ([0.0, 0.5, 1.0, 0.25], False, {"mac": 15}),
        ([0.0, 1.0, 1.0, 0.0], True, {"ac": 10}),
        ([0.0, 3.0, 1.0, 0.0], True, {"add_real": 10}),
        ([0.0, 0.5, 1.0, 0.25], True, {"add_real": 15}),
        ([0.0, 0.0, 0.0, 0.0], False, {}),
    ],
)
def test_kind_of_operation(values: list[float], binary_weights: bool, wanted: dict[str, float]) -> None:
    layer = nn.Linear(4, 5)
    (got,) = count(binary(layer) if binary_weights else layer, torch.tensor([values]), 1).layers
    assert {name: v for name in ("mac", "ac", "add_real") if (v := getattr(got, name))} == wanted
    assert got.reads == 5 * sum(v != 0 for v in values)


def test_plus_minus_weights_are_found_by_value_not_by_name() -> None:
    layer = nn.Linear(4, 5)
    with torch.no_grad():
        layer.weight.copy_(0.25 * layer.weight.sign())
    (got,) = count(layer, torch.full((1, 4), 0.5), 1).layers
    assert (got.mac, got.add_real, got.weight_bits) == (0, 20, 32)


def loop_conv(x: Tensor, layer: nn.Conv2d) -> tuple[int, int]:
    """(nonzero meetings, all meetings) of a convolution, one index at a time."""
    (kh, kw), (sh, sw), (dh, dw) = layer.kernel_size, layer.stride, layer.dilation
    ph, pw = layer.padding if isinstance(layer.padding, tuple) else (kh // 2, kw // 2)
    height, width = x.shape[2:]
    rows = (height + 2 * ph - dh * (kh - 1) - 1) // sh + 1
    columns = (width + 2 * pw - dw * (kw - 1) - 1) // sw + 1
    group = x.shape[1] // layer.groups
    met = every = 0
    for o, i, j in itertools.product(range(layer.out_channels), range(rows), range(columns)):
        first = o // (layer.out_channels // layer.groups) * group
        for c, a, b in itertools.product(range(first, first + group), range(kh), range(kw)):
            r, q = i * sh + a * dh - ph, j * sw + b * dw - pw
            if 0 <= r < height and 0 <= q < width:
                every += 1
                met += int(x[:, c, r, q].count_nonzero())
    return met, every


@pytest.mark.parametrize(
    "options",
    [
        {"kernel_size": 3},
        {"kernel_size": 3, "padding": 1},
        {"kernel_size": (3, 2), "stride": (2, 1), "padding": (1, 0)},
        {"kernel_size": 3, "padding": "same", "groups": 2},
        {"kernel_size": 2, "stride": 2, "dilation": 2, "groups": 4},
    ],
)
def test_convolution_equals_a_loop(options: dict[str, int]) -> None:
    layer = nn.Conv2d(4, 8, **options)  # type: ignore[arg-type]
    x = sparse(6, 4, 7, 5)
    (got,) = count(layer, x, 3).layers
    met, every = loop_conv(x, layer)
    assert got.ac == pytest.approx(met / 3, rel=1e-12)
    assert got.dense == every
    assert got.rows == 2


def test_one_dimensional_convolution_equals_the_flat_two_dimensional_one() -> None:
    x = sparse(4, 3, 11)
    (one,) = count(nn.Conv1d(3, 6, 5, padding=2, stride=2), x, 4).layers
    met, every = loop_conv(x[:, :, None], nn.Conv2d(3, 6, (1, 5), padding=(0, 2), stride=(1, 2)))
    assert (one.ac, one.dense) == (met / 4, every)


def test_every_input_active_costs_the_dense_pass() -> None:
    (got,) = count(nn.Conv2d(2, 4, 3, padding=1), torch.ones(5, 2, 6, 6), 5).layers
    assert got.ac == got.dense


def test_network_over_time_with_neurons() -> None:
    steps, batch = 4, 3
    model = nn.Sequential(OverTime(binary(nn.Linear(6, 5, bias=False))), Threshold(), OverTime(nn.Linear(5, 2)))
    x = sparse(steps, batch, 6)
    spikes = model[1](model[0](x))
    counts = count(model, x, batch)
    first, last = counts.layers
    assert (first.name, first.kind, first.weight_bits) == ("0.layer", "Linear", 1)
    assert first.ac == pytest.approx(x.sum().item() * 5 / batch)
    assert last.ac == pytest.approx(spikes.sum().item() * 2 / batch)
    (neurons,) = counts.neurons
    assert (neurons.neurons, neurons.updates, neurons.state) == (5, 5 * steps, 5 * steps)
    got = activation_bits(counts)
    assert got["spikes_per_neuron"] == pytest.approx(spikes.sum(0).mean().item())
    assert got["significant"] == pytest.approx(spikes.mean().item())
    assert got["average"] == 1.0


def test_passes_add_up_to_a_mean_per_presentation() -> None:
    model = nn.Linear(3, 2)
    a, b = torch.ones(4, 3), torch.tensor([[1.0, 0, 0]])
    with OperationCounter(model) as counter:
        model(a)
        counter.add_examples(4)
        model(b)
        counter.add_examples(1)
    assert counter.counts().layers[0].ac == (4 * 6 + 2) / 5
    model(a)
    assert counter.counts().layers[0].ac == (4 * 6 + 2) / 5


def test_activations_of_more_than_one_bit() -> None:
    class Levels(nn.Module):
        is_spiking = True

        def forward(self, x: Tensor) -> Tensor:
            return x.round()

    x = torch.tensor([3.0, 0.0, -1.0, 1.0]).view(2, 1, 2)
    got = activation_bits(count(Levels(), x, 1))
    assert got["average"] == 3  # two bits up to 3, and a sign
    assert got["significant"] == pytest.approx((2 + 0 + 1 + 1) / 4)
    assert got["spikes_per_neuron"] == 5 / 2


def test_counting_needs_examples_and_zero_padding() -> None:
    with pytest.raises(BitspikeError, match=r"operation count examples: got 0, wanted add_examples\(B\)"):
        OperationCounter(nn.Linear(1, 1)).counts()
    around = nn.Conv2d(1, 1, 3, padding=1, padding_mode="circular")
    with pytest.raises(BitspikeError, match="padding_mode 'circular', wanted convolutions padded with zeros"):
        count(around, torch.ones(1, 1, 4, 4), 1)


def test_layers_that_are_not_counted_are_named() -> None:
    model = nn.Sequential(nn.Linear(2, 3), nn.Bilinear(3, 3, 2))
    with OperationCounter(model) as counter:
        model[0](torch.ones(1, 2))
        counter.add_examples(1)
    assert counter.counts().uncounted == ("1 (Bilinear)",)


def test_weight_bits_by_hand() -> None:
    model = nn.Sequential(binary(nn.Linear(6, 5)), nn.BatchNorm1d(5), nn.Linear(5, 2, bias=False))
    got = weight_bits(model, draws=10)
    assert got["by_tensor"] == {
        "0.weight": [30, 300], "0.bias": [5, 160],
        "1.weight": [5, 160], "1.bias": [5, 160], "1.running_mean": [5, 160], "1.running_var": [5, 160],
        "2.weight": [10, 320],
    }  # fmt: skip
    assert (got["binary_weights"], got["real_values"], got["fixed_signs"]) == (30, 35, 0)
    assert got["weights_stored"] == 300 + 32 * 35
    assert weight_bits(model)["weights_stored"] == 30 + 32 * 35


def test_a_shared_weight_a_fixed_readout_and_unused_statistics_are_stored_once_or_not_at_all() -> None:
    class Reader(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.map = False
            self.register_buffer("readout", torch.tensor([[1.0, -1, 1]]))
            self.register_buffer("running_mean", torch.zeros(2))
            self.register_buffer("map_mean", torch.zeros(2))

    one = nn.Linear(3, 3, bias=False)
    tied = nn.Linear(3, 3, bias=False)
    tied.weight = one.weight
    got = weight_bits(nn.Sequential(one, tied, Reader()), draws=3)
    assert got["by_tensor"] == {"0.weight": [9, 288], "2.readout": [3, 3], "2.running_mean": [2, 64]}
    assert got["fixed_signs"] == 3


def test_bits_of_a_result() -> None:
    model = nn.Sequential(OverTime(binary(nn.Linear(6, 5, bias=False))), Threshold())
    got = bits(model, count(model, sparse(2, 3, 6), 3), draws=2)
    assert got["weights_stored"] == 60
    assert 0 < got["spikes_per_neuron"] <= 2
    assert math.isclose(got["significant"], got["spikes_per_neuron"] / 2)
    with pytest.raises(BitspikeError, match="draws: got 0, wanted a whole number, 1 or more"):
        weight_bits(model, draws=0)


def test_the_networks_of_the_models_floor() -> None:
    from bitspike.models.feedforward import feedforward
    from bitspike.models.local import local_network
    from bitspike.neurons.lif import LIF

    model = feedforward((1, 6, 6), 3, ["4c3", "p2", "7"], LIF).eval()
    image = torch.rand(2, 1, 6, 6, generator=generator("image")).expand(5, 2, 1, 6, 6)
    counts = count(model, image, 2)
    assert [layer.rows for layer in counts.layers] == [1, 5, 5]
    assert [layer.dense for layer in counts.layers] == [4 * 16 * 16, 36 * 7, 21]
    assert counts.layers[0].mac == 4 * 16 * 16
    assert counts.layers[1].mac == counts.layers[2].mac == 0
    assert [n.state for n in counts.neurons] == [4 * 36 * 5, 7 * 5]

    online = local_network((6,), 2, ["5"])
    with torch.no_grad(), OperationCounter(online) as counter:
        states = online.initial(3)
        spikes = sparse(4, 3, 6)
        fired = 0.0
        for x in spikes:
            _, out, states = online(x, states)
            fired += out[-1].sum().item()
        counter.add_examples(3)
    counts = counter.counts()
    assert counts.traces
    readout = next(layer for layer in counts.layers if layer.kind == "readout")
    assert readout.ac == pytest.approx(fired * 2 / 3)
    assert counts.neurons[0].updates == 5 * 4
    assert counts.neurons[0].state == 4 * (2 * 6 + 2 * 5)
