"""Layers that name what their operands are made of."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from bitspike.errors import BitspikeError
from bitspike.layers import Recomputed, Stepwise
from bitspike.layers.product import FewBitConv2d, FewBitLinear, weight_kind
from bitspike.neurons import LIF
from bitspike.products import measure, table
from bitspike.weights import BayesianBinary, StraightThrough, quantise, redraw, use_map


@pytest.fixture(autouse=True)
def fixed_choice(monkeypatch):
    """The integer and sparse ways win everywhere, whatever this machine measures."""
    times = {"float32": 1.0, "int8": 0.2, "sparse 0.02": 0.01, "sparse 0.2": 0.3}
    monkeypatch.setattr("bitspike.products.problem.SMALL", 0)
    monkeypatch.setattr(table, "seconds", lambda *_: times)


@pytest.mark.parametrize("make", [None, StraightThrough])
def test_spikes_that_are_int8_are_taken_as_they_are(make):
    x = measure.operand("spikes", (12, 40), 0.2)
    layer = FewBitLinear(40, 8, x_kind="spikes")
    if make is not None:
        quantise(layer, make, 0)
    found = []
    for given in (x, x.to(torch.int8)):
        layer.zero_grad()
        y = layer(given)
        y.square().sum().backward()
        found.append([y, *(p.grad for p in layer.parameters())])
    assert all(map(torch.equal, *found))


@pytest.mark.parametrize("spikes", [True, False])
@pytest.mark.parametrize("learn_input", [True, False])
def test_recomputed_products_of_spikes_are_those_that_are_kept(spikes, learn_input):
    x = measure.operand("spikes" if spikes else "real", (13, 4, 40), 0.2).requires_grad_(learn_input)
    product = Stepwise(FewBitLinear(40, 8, bias=False, x_kind="spikes" if spikes else "real"))
    neuron, seen = LIF(theta=0.2, learn=("theta",)), []
    product.layer.register_forward_pre_hook(lambda module, args: seen.append(args[0].dtype))
    found = []
    for layer in (lambda x: neuron.run(product(x)), Recomputed(product, neuron, 5).run):
        y, last = layer(x)
        loss = (y * torch.arange(13.0).view(13, 1, 1)).sum() + last.v.square().sum()
        wanted = [*product.parameters(), *neuron.parameters(), *([x] if learn_input else [])]
        found.append([y, last.v, *torch.autograd.grad(loss, wanted)])
    assert (torch.int8 in seen) == (spikes and not learn_input)
    assert 0 < found[0][0].mean() < 1
    for kept, again in zip(*found, strict=True):
        torch.testing.assert_close(again, kept, rtol=1e-5, atol=1e-4)


def test_the_kind_of_the_weights_follows_their_parametrization():
    assert weight_kind(nn.Linear(3, 2)) == "real"
    plain = quantise(FewBitLinear(3, 2, bias=False), StraightThrough, 0)
    assert weight_kind(plain) == "signs"
    relaxed = quantise(FewBitLinear(3, 2, bias=False), BayesianBinary, 0)
    assert weight_kind(relaxed) == "real"
    use_map(relaxed, True)
    assert weight_kind(relaxed) == "signs"
    use_map(relaxed, False)
    assert weight_kind(relaxed.eval()) == "signs"
    hard = quantise(FewBitLinear(3, 2), lambda: BayesianBinary(relaxed=False, rule="straight-through"), 0)
    assert weight_kind(hard) == "signs"


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("make", [None, StraightThrough, BayesianBinary])
@pytest.mark.parametrize("training", [True, False])
def test_layers_give_what_torchs_give(make, training, bias):
    spikes = measure.operand("spikes", (6, 4, 9, 9), 0.2)
    pairs = [
        (FewBitLinear(81, 12, bias=bias, x_kind="spikes"), nn.Linear(81, 12, bias=bias), spikes.flatten(2)),
        (
            FewBitConv2d(4, 6, 3, padding=1, bias=bias, x_kind="spikes"),
            nn.Conv2d(4, 6, 3, padding=1, bias=bias),
            spikes,
        ),
        (
            FewBitConv2d(4, 6, 3, stride=2, padding="valid", bias=bias, x_kind="spikes"),
            nn.Conv2d(4, 6, 3, stride=2, padding="valid", bias=bias),
            spikes,
        ),
    ]
    for ours, theirs, x in pairs:
        outputs = []
        for layer in (ours, theirs):
            if make is not None:
                quantise(layer, make, 0)
                redraw(layer, 1)
        theirs.load_state_dict(ours.state_dict())
        for layer in (ours, theirs):
            layer.train(training)
            y = layer(x)
            (y * torch.linspace(-1, 1, y.numel()).view_as(y)).sum().backward()
            outputs.append([y, *(p.grad for p in layer.parameters())])
        for mine, other in zip(*outputs, strict=True):
            torch.testing.assert_close(mine, other, rtol=1e-5, atol=1e-4)
        assert isinstance(ours, nn.Linear | nn.Conv2d)


def test_inputs_that_are_no_spikes_are_refused():
    layer = quantise(FewBitLinear(33, 12, bias=False, x_kind="spikes"), StraightThrough, 0)
    with pytest.raises(BitspikeError, match="product x: got"):
        layer(torch.full((8, 33), 0.5))
    with pytest.raises(BitspikeError, match="product policy: got 'precise'"):
        FewBitLinear(3, 2, policy="precise")


def test_a_layer_explains_itself():
    layer = FewBitLinear(33, 12, x_kind="spikes", policy="float32")
    assert layer.explain((5, 8, 33)) == ("float32", "asked for by the policy")
    conv = FewBitConv2d(4, 6, 3, padding="same", x_kind="spikes")
    assert conv.explain((5, 4, 9, 9)) == ("float32", "padding 'same', mode 'zeros'")
    method, reason = FewBitConv2d(4, 6, 3, padding=1, x_kind="spikes").explain((5, 4, 9, 9))
    assert method
    assert reason
    assert "x_kind='spikes', policy='float32'" in repr(layer)
