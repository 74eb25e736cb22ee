"""Layers that report themselves: one of a user's own, a recurrent one, and one that says nothing."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import bitspike
from bitspike.energy import OperationCounter
from bitspike.layers import Recurrent
from bitspike.neurons import LIF
from bitspike.weights import StraightThrough, quantise

STEPS, BATCH = 4, 3


class Scattered(nn.Module):
    """A layer of its own: every input meets two weights, one of each row."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.rand(2, inputs) + 0.5)

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([(x * row).sum(-1) for row in self.weight], -1)


class Reported(Scattered):
    def report_operations(self, tally: Any, given: tuple[Any, ...], output: Tensor) -> None:
        tally.product("rows", self.weight, given[0], 2)


def spikes(*shape: int) -> Tensor:
    torch.manual_seed(3)
    return (torch.rand(*shape) < 0.4).float()


def test_a_layer_of_ones_own_is_counted_as_it_reports() -> None:
    x = spikes(STEPS, BATCH, 5)
    found = bitspike.estimate_energy(nn.Sequential(Reported(5), LIF()), x).counts
    assert found.uncounted == ()
    (layer,) = found.layers
    assert (layer.name, layer.kind, layer.weights, layer.dense) == ("0.rows", "Reported", 10, STEPS * 5 * 2)
    assert layer.events == layer.ac == pytest.approx(2 * float(x.sum()) / BATCH)


def test_a_layer_that_reports_nothing_is_named() -> None:
    found = bitspike.estimate_energy(nn.Sequential(Scattered(5), LIF()), spikes(STEPS, BATCH, 5)).counts
    assert (found.layers, found.uncounted) == ((), ("0 (Scattered)",))


def test_what_recurrent_neurons_feed_back_is_counted_at_every_step() -> None:
    model = nn.Sequential(Recurrent(6, LIF(theta=0.5)), nn.Linear(6, 2))
    quantise(model, StraightThrough, 0, leave=("1",))
    x = 3 * torch.rand(STEPS, BATCH, 6)
    y = model[0](x).detach()
    with OperationCounter(model) as counter, counter.presentation(BATCH, inputs=x):
        model(x)
    found = counter.counts()
    feedback, readout = sorted(found.layers, key=lambda layer: layer.name)
    assert float(y[:-1].sum()) > 0
    assert (feedback.name, feedback.weights, feedback.weight_bits) == ("0.feedback", 36, 1.0)
    assert feedback.events == feedback.ac == pytest.approx(6 * float(y[:-1].sum()) / BATCH)
    assert readout.events == pytest.approx(2 * float(y.sum()) / BATCH)
    (neurons,) = found.neurons
    assert neurons.updates == neurons.state == STEPS * 6
