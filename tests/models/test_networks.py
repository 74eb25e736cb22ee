"""Networks: parameter counts by hand, shapes, seeds, and what cannot be built."""

from __future__ import annotations

import pytest
import torch

import bitspike
from bitspike.errors import BitspikeError
from bitspike.models import feedforward, local_network
from bitspike.neurons import LIF, Static
from bitspike.weights import StraightThrough, quantise


def weights_of(model):
    return {name: p.numel() for name, p in model.named_parameters() if p.ndim > 1}


def test_mlp_has_the_weights_its_sizes_say():
    model = feedforward((1, 28, 28), 10, ["800", "512"], LIF)
    counts = weights_of(model)
    assert list(counts.values()) == [784 * 800, 800 * 512, 512 * 10]
    assert sum(counts.values()) <= 1_100_000
    assert sum(p.numel() for p in model.parameters()) - sum(counts.values()) == 2 * (800 + 512 + 10)
    assert model(torch.rand(3, 2, 1, 28, 28)).shape == (3, 2, 10)


def test_convolutions_strides_and_pools():
    model = feedforward((2, 34, 34), 10, ["16c5s2", "32c3p2", "p2", "a2", "64"], LIF)
    # 34 -> 17 -> 17, pooled 8 -> 4 -> 2
    assert list(weights_of(model).values()) == [16 * 2 * 25, 32 * 16 * 9, 32 * 4 * 64, 64 * 10]
    assert model(torch.rand(2, 3, 2, 34, 34)).shape == (2, 3, 10)


def test_where_norms_stand_and_how_wide_xaviers_weights_are():
    layers = ["4c3", "8"]
    norms = {
        where: [
            name
            for name in dict(feedforward((1, 4, 4), 3, layers, LIF, norm_at=where).named_children())
            if "norm" in name
        ]
        for where in ("all", "hidden", "convolutions")
    }
    assert norms == {
        "all": ["norm_conv1", "norm_dense2", "norm_readout"],
        "hidden": ["norm_conv1", "norm_dense2"],
        "convolutions": ["norm_conv1"],
    }
    model = feedforward((1, 4, 4), 3, ["64c3", "400"], LIF, xavier=0.5)
    for layer, fans in ((model.conv1, 9 * 65), (model.dense2, 64 * 16 + 400)):
        largest = float(layer.layer.weight.detach().abs().max())
        assert largest == pytest.approx(0.5 * (6 / fans) ** 0.5, rel=0.02)
    for options, message in (
        ({"norm_at": "dense"}, "model norm_at: got 'dense', wanted one of all, hidden, convolutions"),
        ({"xavier": 1.0, "deviations": [1.0] * 3}, "model xavier: got 1.0, wanted it left out beside deviations"),
    ):
        with pytest.raises(BitspikeError, match=message):
            feedforward((1, 4, 4), 3, layers, LIF, **options)
    with pytest.raises(BitspikeError, match=r"model xavier: got 1.0, wanted it left out with local layers"):
        feedforward((1, 4, 4), 3, ["4l3"], LIF, xavier=1.0)


@pytest.mark.parametrize("layer", ["8", "8r"])
def test_a_model_is_a_function_of_its_keys(layer):
    one, same, other = (feedforward((4,), 2, [layer], LIF, keys=(k, "init")) for k in (0, 0, 1))
    pairs = zip(one.parameters(), same.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    drawn = [name for name, value in one.named_parameters() if value.ndim > 1]
    assert len(drawn) == 2 + layer.count("r")
    ours, others = dict(one.named_parameters()), dict(other.named_parameters())
    assert not any(torch.equal(ours[name], others[name]) for name in drawn)


def test_what_binary_neurons_feed_back_has_a_gain_where_the_layers_have_norms():
    for norm, gained in (("batch", True), ("bias", False)):
        layer = feedforward((4,), 2, ["16r"], LIF, norm=norm, binary=True).spikes1
        assert (layer.gain is not None) == gained
    gained = feedforward((4,), 2, ["16r"], LIF, binary=True).spikes1
    quantise(gained, StraightThrough, 0)
    assert gained.weight().abs().unique().tolist() == [0.25]


def test_local_network_of_two_moons_and_of_images():
    moons = local_network((20,), 1, ["256", "256"])
    assert list(weights_of(moons).values()) == [20 * 256, 256 * 256]
    assert [layer.readout.shape for layer in moons.layers] == [(1, 256), (1, 256)]
    assert set(moons.layers[0].readout.unique().tolist()) == {-1.0, 1.0}
    assert moons.layers[0].gain == pytest.approx(20**-0.5)
    lenet = local_network((2, 26, 26), 10, ["64c7", "p2", "128c7", "128c7", "p2"])
    assert [layer.output_shape for layer in lenet.layers] == [(64, 13, 13), (128, 13, 13), (128, 6, 6)]
    logits, spikes, states = lenet(torch.rand(1, 2, 26, 26), lenet.initial(1))
    assert [r.shape for r in logits] == [(1, 10)] * 3
    # The refractory state keeps the un-pooled spikes.
    assert states[0].refractory.S.shape == (1, 64, 26, 26)
    assert spikes[0].shape == (1, 64, 13, 13)


def test_a_local_network_is_called_measured_and_recorded_like_any_other():
    net = local_network((6,), 3, ["5", "4"])
    x = (torch.rand(7, 2, 6, generator=torch.Generator().manual_seed(0)) < 0.5).float()
    states, fired, last = net.initial(2), [], []
    with torch.no_grad():
        for now in x:
            logits, spikes, states = net(now, states)
            last.append(logits[-1])
            fired.append(spikes[0])
        assert torch.equal(net(x), torch.stack(last))
        recorded = bitspike.record(net, x)
    assert torch.equal(recorded["layers.0"].spikes, torch.stack(fired))
    account = bitspike.estimate_energy(net, x)
    readout = next(layer for layer in account.counts.layers if layer.kind == "readout")
    assert readout.ac == pytest.approx(float(torch.stack(fired).sum()) * 3 / 2)
    bitspike.explain_backend(net, x)
    with pytest.raises(BitspikeError, match=r"local network input: got \(2, 6\), wanted \(T, B, \*features\)"):
        net(x[0])


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: feedforward((4,), 2, ["8x"], LIF), r"model layers\[0\]: got '8x', wanted '512'"),
        (
            lambda: feedforward((4,), 2, ["8c3"], LIF),
            r"got '8c3' on features of shape \(4,\), wanted shape \(C, H, W\)",
        ),
        (lambda: feedforward((1, 4, 4), 2, ["p8"], LIF), r"got 'p8' on 4x4, wanted a smaller pool"),
        (
            lambda: feedforward((4,), 2, ["8"], LIF, norm="layer"),
            "model norm: got 'layer', wanted one of 'batch', ",
        ),
        (lambda: local_network((4,), 2, []), r"model layers: got \[\], wanted at least one"),
        (lambda: local_network((4,), 2, ["p2"]), r"got 'p2', wanted a pool right after a convolution"),
        (
            lambda: local_network((1, 8, 8), 2, ["32l3"]),
            "got '32l3', wanted '256', '64c7' or 'p2' with the online rule",
        ),
        (lambda: local_network((4,), 2, ["d0.5"]), r"got 'd0\.5', wanted '256'"),
        (lambda: local_network((4,), 2, ["64r"]), "got '64r', wanted '256'"),
    ],
)
def test_what_cannot_be_built_is_one_line(build, message):
    with pytest.raises(BitspikeError, match=message):
        build()


def test_a_sequence_handed_to_one_step_is_refused():
    network = local_network((20,), 1, ["8"])
    with pytest.raises(BitspikeError, match=r"local layer input: got \(5, 3, 20\), wanted one time step \(3, 20\)"):
        network(torch.rand(5, 3, 20), network.initial(3))


@pytest.mark.parametrize(("norm", "start"), [("batch", 1.0), ("scale", 1 / 3)])
def test_norms_before_neurons_begin_at_the_gain_asked_for(norm, start):
    model = feedforward((1, 8, 8), 3, ["4c3", "5"], lambda: Static("relu"), norm=norm, norm_gain=4.0)
    gains = {name: p.unique().tolist() for name, p in model.named_parameters() if "norm" in name and "weight" in name}
    assert gains["norm_conv1.weight"] == pytest.approx([4 * start])
    assert gains["norm_readout.weight"] == pytest.approx([1.0 if norm == "batch" else 5**-0.5])
    with pytest.raises(BitspikeError, match=r"model norm_gain: got 4\.0, wanted 1 where norm = 'bias'"):
        feedforward((1, 8, 8), 3, ["5"], lambda: Static("relu"), norm="bias", norm_gain=4.0)
