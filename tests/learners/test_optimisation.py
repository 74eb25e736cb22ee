"""Groups of parameters with a weight decay of their own."""

from __future__ import annotations

from collections import OrderedDict

import pytest
import torch
from torch import nn

from bitspike.errors import BitspikeError
from bitspike.learners import Optimisation, Schedule
from bitspike.learners.optimisation import OptimiserChoice


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        OrderedDict(conv1=nn.Conv2d(1, 2, 3), local3=nn.Linear(4, 4), local4=nn.Linear(4, 4), readout=nn.Linear(4, 2))
    )


def test_decay_falls_on_the_weights_of_the_layers_named() -> None:
    model = network()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    choice = OptimiserChoice("SGD", 0.5, decay={"local*": 0.1, "readout": 0.2})
    optimisation = Optimisation(model, choice, None, Schedule(), 10)
    for p in model.parameters():
        p.grad = torch.zeros_like(p)
    optimisation.step(0)
    for name, p in model.named_parameters():
        decay = 0.0 if "bias" in name else {"local": 0.1, "reado": 0.2}.get(name[:5], 0.0)
        assert torch.allclose(p, before[name] * (1 - 0.5 * decay)), name


def test_without_a_path_that_fits_the_options_hold() -> None:
    model = network()
    before = model.conv1.weight.detach().clone()
    choice = OptimiserChoice("SGD", 0.5, {"weight_decay": 0.4}, {"readout": 0.0})
    optimisation = Optimisation(model, choice, None, Schedule(), 10)
    kept = model.readout.weight.detach().clone()
    for p in model.parameters():
        p.grad = torch.zeros_like(p)
    optimisation.step(0)
    assert torch.allclose(model.conv1.weight, before * 0.8)
    assert torch.equal(model.readout.weight, kept)


def test_a_path_that_fits_nothing_is_refused() -> None:
    with pytest.raises(BitspikeError, match=r"optimizer decay: got 'dense\*', wanted a path that fits one of conv1"):
        Optimisation(network(), OptimiserChoice(decay={"dense*": 0.1}), None, Schedule(), 10).zero_grad()


def test_the_rate_drops_to_a_fifth_after_a_third_and_two_thirds() -> None:
    """Of 100 rounds: after 33 and after 66."""
    schedule = Schedule("drops")
    factors = [schedule.factor(done / 100) for done in range(100)]
    assert factors == pytest.approx([1.0] * 33 + [0.2] * 33 + [0.04] * 34)
    assert Schedule("drops", drop=0.5, at=(0.5,)).factor(0.75) == 0.5
    with pytest.raises(BitspikeError, match=r"schedule at: got \[1.5\], wanted shares of training"):
        Schedule("drops", at=(1.5,))
