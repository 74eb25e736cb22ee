"""Layers over time: constants are computed once and equal the long way; normalisation equals torch's."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from bitspike.errors import BitspikeError
from bitspike.layers import ChannelScale, Stepwise, TemporalBatchNorm

from ..nearness import off


def test_a_constant_input_is_multiplied_once():
    rows = []
    layer = nn.Linear(4, 3)
    layer.register_forward_hook(lambda m, args, out: rows.append(len(args[0])))
    x = torch.rand(5, 4)
    expanded, copied = x.expand(6, 5, 4), x.repeat(6, 1, 1)
    one, many = Stepwise(layer)(expanded), Stepwise(layer)(copied)
    assert rows == [5, 30]
    assert off(one, many) < 1e-6
    assert one.stride(0) == 0


def test_gradient_through_a_constant_input_is_that_of_all_steps():
    layer = nn.Linear(4, 3).double()
    weight = torch.randn(6, 5, 3, dtype=torch.float64)
    x = torch.rand(5, 4, dtype=torch.float64)
    gradients = []
    for events in (x.expand(6, 5, 4), x.repeat(6, 1, 1)):
        layer.zero_grad()
        (Stepwise(layer)(events) * weight).sum().backward()
        gradients.append(layer.weight.grad.clone())
    assert off(*gradients) < 1e-14


def test_normalisation_over_time_equals_torch_on_joined_rows():
    x = torch.randn(4, 6, 3, 5, 5)
    ours, theirs = TemporalBatchNorm(3), nn.BatchNorm2d(3)
    assert off(ours(x), theirs(x.flatten(0, 1)).view_as(x)) < 1e-5
    assert off(ours.running_var, theirs.running_var) < 1e-5
    ours.eval(), theirs.eval()
    assert off(ours(x), theirs(x.flatten(0, 1)).view_as(x)) < 1e-5


def test_map_statistics_are_kept_apart():
    norm = TemporalBatchNorm(2)
    norm(torch.randn(3, 8, 2) + 5)
    before = norm.running_mean.clone()
    norm.map = True
    norm(torch.randn(3, 8, 2) - 5)
    assert torch.equal(norm.running_mean, before)
    assert (norm.map_mean < 0).all()


def test_channel_scale_and_refusal():
    scale = ChannelScale(3, start=0.5)
    assert torch.allclose(scale(torch.ones(2, 4, 3, 5, 5)), torch.full((2, 4, 3, 5, 5), 0.5))
    with pytest.raises(BitspikeError, match=r"layer input: got \(4, 3\), wanted \(T, B, \*features\)"):
        Stepwise(nn.Linear(3, 3))(torch.rand(4, 3))
