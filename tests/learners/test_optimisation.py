"""Groups of parameters with a weight decay of their own."""

from __future__ import annotations

from collections import OrderedDict

import pytest
import torch
from torch import nn

from bitspike.errors import BitspikeError
from bitspike.learners import Optimisation, Schedule
from bitspike.learners.optimisation import OptimiserChoice
from bitspike.weights import StraightThrough, quantise


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


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"maximize": "False"}, "optimizer.options.maximize: got 'False', wanted true or false"),
        ({"amsgrad": 1}, "optimizer.options.amsgrad: got 1, wanted true or false"),
        ({"foreach": "no"}, "optimizer.options.foreach: got 'no', wanted true or false"),
        ({"weight_decay": "small"}, "optimizer.options.weight_decay: got 'small', wanted a number"),
        ({"betas": [0.9]}, "optimizer.options.betas: got [0.9], wanted 2 numbers"),
        ({"differentiable": True}, "optimizer.options.differentiable: got True, wanted false"),
        ({"momentum": 0.9}, "optimizer options: got {'momentum': 0.9}, wanted options of torch.optim.Adam"),
    ],
)
def test_an_option_of_another_type_is_refused_by_name(options: dict[str, object], said: str) -> None:
    with pytest.raises(BitspikeError) as error:
        OptimiserChoice("Adam", 0.1, options).build(dict(network().named_parameters()), "optimizer")
    assert str(error.value).startswith(said)
    OptimiserChoice("Adam", 0.1, {"maximize": False, "amsgrad": True, "betas": [0.9, 0.99], "eps": 1}).build(
        dict(network().named_parameters()), "optimizer"
    )


def test_the_rate_that_is_told_is_one_that_is_used() -> None:
    model = nn.Sequential(OrderedDict(readout=nn.Linear(4, 2, bias=False)))
    quantise(model, StraightThrough)
    real, latent = OptimiserChoice("Adam", 0.123), OptimiserChoice("Adam", 1.0)
    assert Optimisation(model, real, latent, Schedule(), 10).usual_rate == 1.0
    assert Optimisation(network(), real, None, Schedule(), 10).usual_rate == 0.123
    with pytest.raises(BitspikeError, match=r"^schedule.kind: got 'cosine' with Rprop, which finds steps of its own"):
        Optimisation(network(), OptimiserChoice("Rprop"), None, Schedule("cosine"), 10)
