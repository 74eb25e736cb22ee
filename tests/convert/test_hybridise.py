from __future__ import annotations

import copy
import math
import pickle
import re
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bitspike.convert import dehybridise, hybridise
from bitspike.energy import LevelCollector
from bitspike.errors import BitspikeError
from bitspike.layers import Stepwise, TemporalBatchNorm
from bitspike.neurons import Static, TemporalQuantiser, at_step, redraw_carry

from ..nearness import off

sys.path.insert(0, str(Path(__file__).parent))
from networks import Branching, ConvNet, Sized, images, seeded

MLP = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.SiLU(), nn.Linear(16, 8), nn.GELU(), nn.Linear(8, 4)).eval()
HOUSE = nn.Sequential(Stepwise(nn.Conv2d(1, 3, 3)), TemporalBatchNorm(3), Static(), Stepwise(nn.Flatten())).eval()
MODELS = [seeded(ConvNet), seeded(Sized), seeded(Branching), MLP, HOUSE]


def static(model: nn.Module, x: Tensor) -> Tensor:
    y: Tensor = model(x.unsqueeze(0))[0] if model is HOUSE else model(x)
    return y


@pytest.mark.parametrize("model", MODELS, ids=lambda model: type(model).__name__)
@pytest.mark.parametrize("steps", [1, 4])
def test_the_static_limit_is_the_original_network(model: nn.Module, steps: int) -> None:
    x = images()
    hybrid = hybridise(model, 8.0, steps=steps, data=x)
    with at_step(hybrid, None):
        assert torch.equal(hybrid(x), static(model, x))
    # n is near 8e6 at the typical value: the steps are finer than float32 sees.
    with at_step(hybrid, 1e6):
        assert off(hybrid(x), static(model, x)) < 1e-4


def test_the_original_comes_back_with_the_same_tensors_and_stays_usable() -> None:
    model, x = seeded(ConvNet), images()
    before = {name: tensor.data_ptr() for name, tensor in model.state_dict().items()}
    answer = model(x)
    hybrid = hybridise(model, 4.0, data=x)
    assert torch.equal(model(x), answer)
    own = {tensor.data_ptr() for name, tensor in hybrid.named_parameters()}
    assert own == {tensor.data_ptr() for tensor in model.parameters()}
    back = dehybridise(hybrid)
    assert back is model
    assert {name: tensor.data_ptr() for name, tensor in back.state_dict().items()} == before
    assert isinstance(model.act, nn.ReLU)
    assert model.act.inplace


def test_the_names_of_what_was_swapped() -> None:
    assert list(hybridise(seeded(ConvNet)).quantised()) == ["act", "act_2", "leaky_relu"]
    assert list(hybridise(seeded(Sized)).quantised()) == ["tanh"]
    assert list(hybridise(seeded(Branching)).quantised()) == ["act"]
    assert list(hybridise(MLP).quantised()) == ["2", "4"]


def test_layers_are_chosen_by_name_and_pattern() -> None:
    model, x = seeded(ConvNet), images()
    choices: list[Any] = [
        ("act", ["act"]),
        (["act_2"], ["act_2"]),
        ("*u", ["leaky_relu"]),
        (["act*"], ["act", "act_2"]),
    ]
    for asked, found in choices:
        hybrid = hybridise(model, 2.0, layers=asked, data=x)
        assert list(hybrid.quantised()) == found
        with at_step(hybrid, None):
            assert torch.equal(hybrid(x), model(x))
    counts = hybridise(model, {"act": 2.0, "*": 8.0}, data=x).quantised()
    plain = hybridise(model, 1.0, data=x).quantised()
    for name, factor in (("act", 2.0), ("act_2", 8.0), ("leaky_relu", 8.0)):
        assert torch.allclose(counts[name].final, factor * plain[name].final)


def test_the_input_is_presented_and_its_weights_used_once() -> None:
    model, rows = seeded(ConvNet), {}
    hybrid = hybridise(model, 4.0, steps=6, data=images())
    hooks = [
        module.register_forward_hook(lambda m, i, y, name=name: rows.__setitem__(name, len(y)))
        for name, module in model.named_children()
        if isinstance(module, nn.Conv2d | nn.Linear)
    ]
    answer = hybrid(images())
    for hook in hooks:
        hook.remove()
    assert rows == {"first": 5, "skip": 5, "second": 30, "dense": 30, "out": 30}
    assert answer.shape == (5, 4)
    assert off(hybrid.readouts(images()).mean(0), answer) < 1e-5
    hybrid.steps = 2
    assert hybrid.readouts(images()).shape == (2, 5, 4)


def test_the_mean_over_draws_is_the_static_network_where_what_follows_is_linear() -> None:
    x = images()
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.Tanh(), nn.Linear(16, 4)).eval()
    hybrid = hybridise(model, 1.0, steps=3, data=x)
    draws = []
    with torch.no_grad():
        for draw in range(600):
            redraw_carry(hybrid, draw)
            draws.append(hybrid.readouts(x))
    stacked = torch.stack(draws)
    error = (stacked.mean(0) - model(x)) / (stacked.std(0) / math.sqrt(600))
    assert error.abs().max() < 5
    # The error is diffused: of the mean over T steps it falls as 1/T, not as 1/sqrt(T).
    spread = [stacked[:, : t + 1].mean(1).std(0).mean() for t in range(3)]
    assert spread[2] < 0.45 * spread[0]


@pytest.mark.parametrize("scale", ["channel", "layer"])
def test_counts_at_the_typical_value_are_those_asked_for(scale: str) -> None:
    model, x = seeded(ConvNet), images(40)
    hybrid = hybridise(model, 6.0, data=x, scale=scale, percentile=1.0)
    with torch.no_grad():
        activity = torch.relu(model.norm(model.first(x)))
    largest = activity.amax((0, 2, 3)).view(6, 1, 1) if scale == "channel" else activity.max()
    counts = hybrid.quantised()["act"].final * largest
    assert counts.shape == largest.shape
    assert torch.allclose(counts[largest > 0], torch.tensor(6.0), rtol=1e-5)


def test_a_dead_channel_gets_the_median_scale() -> None:
    model = nn.Sequential(nn.Linear(3, 3, bias=False), nn.ReLU(), nn.Linear(3, 2)).eval()
    with torch.no_grad():
        model[0].weight.copy_(torch.diag(torch.tensor([1.0, 4.0, -1.0])))
    hybrid = hybridise(model, 8.0, data=torch.ones(10, 3), scale="channel")
    assert hybrid.quantised()["1"].final.tolist() == [8.0, 2.0, 8.0]


def test_a_limit_bounds_levels() -> None:
    x = images(30)
    hybrid = hybridise(MLP, 8.0, steps=2, data=x, percentile=0.5, limit=3)
    with torch.no_grad(), LevelCollector(hybrid) as collector:
        hybrid(x)
    assert collector.levels().total.largest == 3


def test_the_gradient_is_that_of_the_static_network() -> None:
    x = images()
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.Tanh(), nn.Linear(16, 4))
    hybrid = hybridise(model, 64.0, steps=3, data=x)
    target = torch.linspace(-1, 1, 20).view(5, 4)
    grads: list[list[Tensor]] = []
    # The loss is linear: its gradient sees the network's Jacobian alone, which the straight-through rule gives.
    for net in (model, hybrid):
        model.zero_grad()
        (net(x) * target).sum().backward()
        grads.append([p.grad.clone() for p in model.parameters()])
    # Weights behind a quantiser meet quantised inputs, the others see what the static network does.
    for one, other in zip(grads[0][:2], grads[1][:2], strict=True):
        assert off(one, other) < 1e-5
    assert torch.allclose(grads[0][2], grads[1][2], atol=0.05)


def test_training_the_hybrid_trains_the_original() -> None:
    x, y = images(40), torch.arange(40) % 4
    model = seeded(ConvNet)
    hybrid = hybridise(model, 3.0, steps=2, data=x).train()
    optimiser = torch.optim.Adam(hybrid.parameters(), 0.02)
    losses = []
    for step in range(25):
        redraw_carry(hybrid, step)
        loss = nn.functional.cross_entropy(hybrid(x), y)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.8 * losses[0]
    assert model.training
    assert model.norm.num_batches_tracked == 25


def test_copies_and_pickles_answer_alike_and_are_independent() -> None:
    model, x = seeded(ConvNet), images()
    hybrid = hybridise(model, 3.0, steps=2, data=x)
    for twin in (copy.deepcopy(hybrid), pickle.loads(pickle.dumps(hybrid))):
        assert torch.equal(twin(x), hybrid(x))
        twin.steps = 5
        assert hybrid.steps == 2
        assert twin.readouts(x).shape[0] == 5
        original = dehybridise(twin)
        with torch.no_grad():
            original.out.weight.zero_()
        assert not torch.equal(twin(x), hybrid(x))


class Called(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(64, 4)

    def forward(self, x: Tensor) -> Tensor:
        h = self.first(x.flatten(1))
        return torch.tanh(h) if bool((h < 1e9).all()) else h


class Half(Called):
    def __init__(self) -> None:
        super().__init__()
        self.act = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.act(super().forward(x))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: hybridise(nn.Linear(2, 2)), "hybridise model: got Linear with no nonlinearity, wanted a nonlinearity"),
        (lambda: hybridise(Called()), "hybridise model: got Called with no nonlinearity; its code cannot be traced ("),
        (lambda: hybridise(Half(), data=images()), "hybridise model: got tanh called as a function in code that"),
        (lambda: hybridise(Half())(images()), "hybridise model: got tanh called as a function in code that cannot be"),
        (lambda: hybridise(MLP, layers="6"), "hybridise layers: got '6', wanted names or patterns among 2, 4"),
        (lambda: hybridise(MLP, {"2": 1.0}), "hybridise counts: got nothing for layer '4', wanted a number for each"),
        (lambda: hybridise(MLP, {"*": 1.0, "9": 2.0}), "hybridise counts: got '9', by which no layer goes"),
        (lambda: hybridise(MLP, steps=0), "hybrid steps: got 0, wanted a whole number"),
        (lambda: hybridise(MLP, scale="unit"), "hybridise scale: got 'unit', wanted 'layer' or 'channel'"),
        (lambda: hybridise(MLP, percentile=99), "hybridise percentile: got 99, wanted a share"),
        (lambda: hybridise(MLP, data=[]), "hybridise data: got no batch"),
        (lambda: hybridise(hybridise(MLP)), "hybridise model: got a hybrid, wanted the network it was made of"),
        (lambda: dehybridise(MLP), "dehybridise: got Sequential, wanted what hybridise gave"),
        (
            lambda: hybridise(nn.TransformerEncoderLayer(8, 2)),
            "hybridise model: got TransformerEncoderLayer, which has its own inside",
        ),
        (
            lambda: hybridise(nn.Sequential(Stepwise(nn.Sequential(nn.Linear(2, 2), nn.ReLU())))),
            "hybridise 0.layer.1: got a nonlinearity inside a Stepwise",
        ),
    ],
)
def test_what_cannot_be_swapped_is_refused_by_name(make: Any, message: str) -> None:
    with pytest.raises(BitspikeError, match="^" + re.escape(message)):
        make()


def test_quantisers_sit_on_the_steps_of_a_model_that_puts_time_first() -> None:
    x = images()
    hybrid = hybridise(HOUSE, 4.0, steps=3, data=x)
    assert isinstance(hybrid.net[2], TemporalQuantiser)
    assert hybrid.net[0] is HOUSE[0]
    sequence = hybridise(HOUSE, 4.0, steps=None, data=x.unsqueeze(0))
    given = x.unsqueeze(0).expand(3, *x.shape)
    assert torch.equal(sequence(given), hybrid.readouts(x))
