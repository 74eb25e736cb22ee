"""Convolutions of few-bit operands against float64."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from bitspike.errors import BitspikeError
from bitspike.products import conv2d, measure

from ..nearness import off

FORMS = [
    {},
    {"padding": 1},
    {"padding": (2, 0)},
    {"stride": 2, "padding": 1},
    {"dilation": 2, "padding": 2},
    {"groups": 2, "padding": 1},
]


def grads(function, x, w, g):
    x, w = x.clone().requires_grad_(), w.clone().requires_grad_()
    y = function(x, w)
    y.backward(g)
    return y.detach(), x.grad, w.grad


@pytest.mark.parametrize("name", ["dense", "sparse"])
@pytest.mark.parametrize(
    "kinds", [("spikes", "signs"), ("integers", "signs"), ("integers", "integers"), ("signs",) * 2]
)
@pytest.mark.parametrize("form", FORMS)
def test_integer_convolutions_are_bit_equal_to_float64(way, name, kinds, form):
    way(name)
    x = measure.operand(kinds[0], (5, 4, 9, 7), 0.3)
    w = measure.operand(kinds[1], (6, 4 // form.get("groups", 1), 3, 3))
    assert torch.equal(conv2d(x, w, *kinds, **form).double(), F.conv2d(x.double(), w.double(), **form))


@pytest.mark.parametrize("name", ["dense", "sparse"])
@pytest.mark.parametrize("w_kind", ["signs", "real"])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("scale", [0.0, 6.0])
def test_exact_keeps_twice_the_error_of_float32(way, name, w_kind, form, scale):
    way(name)
    torch.manual_seed(1)
    x, w = (torch.rand(12, 24, 14, 14) < 0.2).float(), measure.operand(w_kind, (32, 24 // form.get("groups", 1), 5, 3))
    if w_kind == "real":
        w = w * 10 ** (scale * torch.rand(32, 1, 1, 1))
    g = torch.randn_like(F.conv2d(x, w, **form))
    g = g * 10 ** (scale * torch.rand(1, 32, 1, 1))
    ours, plain = (
        grads(f, x, w, g)
        for f in (lambda a, b: conv2d(a, b, "spikes", w_kind, **form), lambda a, b: F.conv2d(a, b, **form))
    )
    truth = grads(lambda a, b: F.conv2d(a, b, **form), x.double(), w.double(), g.double())
    for mine, theirs, true in zip(ours, plain, truth, strict=True):
        assert (mine - true).abs().max() <= 2 * (theirs - true).abs().max() + 5e-7 * true.abs().max()


def test_fast_rounds_gradients_to_8_bits(way):
    way("dense")
    x, w = measure.operand("spikes", (8, 8, 9, 9), 0.3), measure.operand("signs", (16, 8, 3, 3))
    g = torch.randn(8, 16, 7, 7)
    y, gx, gw = grads(lambda a, b: conv2d(a, b, "spikes", "signs", "fast"), x, w, g)
    truth = grads(F.conv2d, x, w, g)
    assert torch.equal(y, truth[0])
    assert off(gx, truth[1]) < 0.01
    assert off(gw, truth[2]) < 0.01


@pytest.mark.parametrize("name", ["dense", "sparse"])
def test_false_claims_nan_strided_and_empty(way, name):
    way(name)
    x, w = measure.operand("spikes", (4, 7, 9, 3), 0.3).permute(0, 3, 2, 1), measure.operand("signs", (6, 3, 3, 3))
    g = torch.randn(4, 7, 5, 6).permute(0, 3, 1, 2)
    channels_last = w.contiguous(memory_format=torch.channels_last)
    mine, theirs = (grads(f, x, channels_last, g) for f in (lambda a, b: conv2d(a, b, "spikes", "signs"), F.conv2d))
    for one, other in zip(mine, theirs, strict=True):
        assert off(one, other) < 1e-5
    assert conv2d(x[:0], w, "spikes", "signs").shape == (0, 6, 7, 5)
    with pytest.raises(BitspikeError, match="product x: got 2 among 'spikes', wanted 0 or 1 only"):
        conv2d(x * 2, w, "spikes", "signs")
    with pytest.raises(BitspikeError, match=r"product weight: got .* among 'signs'"):
        conv2d(x, w / 2, "spikes", "signs")
    with pytest.raises(BitspikeError, match=r"convolution sizes: got x \(4, 3, 9, 7\)"):
        conv2d(x, w[:, :2], "spikes", "signs")
    real = measure.operand("real", (6, 3, 3, 3))
    real[0, 0, 0, 0] = float("nan")
    assert torch.equal(conv2d(x, real, "spikes", "real").isnan(), F.conv2d(x, real).isnan())


@pytest.mark.parametrize("name", ["dense", "sparse"])
def test_operators_are_well_formed_and_map_over_members(way, name):
    way(name)
    from bitspike.products.operator import product

    x, w = measure.operand("spikes", (4, 3, 9, 7), 0.3), measure.operand("signs", (6, 3, 3, 3))
    torch.library.opcheck(product, (x, w, "spikes", "signs", "exact", [1, 1, 0, 0, 1, 1, 1], True))
    members = torch.stack([w, -w])

    def loss(weight, f):
        return (f(x, weight) ** 2).sum()

    ours, plain = (
        torch.func.vmap(torch.func.grad(lambda v, f=f: loss(v, f)))(members)
        for f in (lambda a, b: conv2d(a, b, "spikes", "signs"), F.conv2d)
    )
    assert off(ours, plain) < 1e-5


def test_float64_takes_torchs_convolution(way):
    way("dense")
    x = measure.operand("spikes", (1, 2, 4, 3), 0.4).double().requires_grad_()
    w = torch.randn(2, 2, 2, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda a, b: conv2d(a, b, "spikes", "real", padding=1), (x, w))
