from __future__ import annotations

import copy
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from bitspike.convert import dehybridise, hybridise
from bitspike.energy import LevelCollector
from bitspike.errors import BitspikeError
from bitspike.neurons import at_step

from ..nearness import off

sys.path.insert(0, str(Path(__file__).parent))
from networks import GatedCell, OverTime, seeded, sequences

CELLS = {
    "own": (lambda: GatedCell(4, 16), ["cell.sigmoid", "cell.sigmoid_2", "cell.tanh"]),
    "functions": (lambda: GatedCell(4, 16, True), ["cell.sigmoid", "cell.sigmoid_2", "cell.tanh"]),
    "GRUCell": (lambda: nn.GRUCell(4, 16), ["cell.reset", "cell.update", "cell.new"]),
    "RNNCell": (lambda: nn.RNNCell(4, 16, nonlinearity="relu"), ["cell.hidden"]),
}
LAYERS = {
    "RNN": lambda: nn.RNN(4, 16, 2),
    "GRU": lambda: nn.GRU(4, 16, 2, batch_first=True),
    "LSTM": lambda: nn.LSTM(4, 16, 2),
    "LSTM, no bias": lambda: nn.LSTM(4, 16, bias=False, batch_first=True),
}


@pytest.mark.parametrize("name", CELLS)
def test_a_cell_is_stepped_with_its_carry(name: str) -> None:
    make, names = CELLS[name]
    model, x = seeded(lambda: OverTime(make(), 16)), sequences()
    hybrid = hybridise(model, 16.0, steps=None, data=x)
    assert list(hybrid.quantised()) == names
    with at_step(hybrid, None):
        assert off(hybrid(x), model(x)) < 1e-5
    answer = hybrid(x)
    assert torch.equal(hybrid(x), answer)
    assert 0 < (answer - model(x)).abs().max() < 0.1
    assert dehybridise(hybrid) is model
    with LevelCollector(hybrid) as collector:
        hybrid(x)
    found = collector.levels()
    assert (found.total.presentations, found.total.values) == (5, len(names) * 7 * 5 * 16)


def test_the_carry_goes_from_step_to_step() -> None:
    model, x = seeded(lambda: OverTime(GatedCell(4, 16), 16)), sequences(40)
    hybrid = hybridise(model, 1.0, steps=None, data=x)
    seen: dict[str, list[tuple[torch.Tensor, torch.Tensor]]] = {}
    for name, quantiser in hybrid.quantised().items():
        quantiser.observers.append(lambda q, y, new, name=name: seen.setdefault(name, []).append((q.counts(y), new)))
    hybrid(x)
    for name, found in seen.items():
        assert [new for _, new in found] == [5] + [0] * 39, name
        assert torch.stack([n for n, _ in found]).std() > 0


@pytest.mark.parametrize("name", LAYERS)
def test_recurrent_layers_of_torch_are_opened(name: str) -> None:
    layer, x = seeded(LAYERS[name]), sequences()
    hybrid = hybridise(layer, 16.0, steps=None, data=x)
    with at_step(hybrid, None):
        (one, end), (other, last) = hybrid(x), layer(x)
        flat = [end, last] if isinstance(end, torch.Tensor) else [*end, *last]
        assert off(one, other) < 1e-5
        for a, b in zip(flat[: len(flat) // 2], flat[len(flat) // 2 :], strict=True):
            assert off(a, b) < 1e-5
        again, _ = hybrid(x, last)
        assert off(again, layer(x, last)[0]) < 1e-5
    assert 0 < (hybrid(x)[0] - layer(x)[0]).abs().max() < 0.2
    assert {id(p) for p in hybrid.parameters()} == {id(p) for p in layer.parameters()}


def test_the_gradient_of_a_cell_is_the_static_one_where_steps_are_fine() -> None:
    x = sequences()
    model: Any = seeded(lambda: OverTime(GatedCell(4, 16), 16))
    hybrid = hybridise(model, 1e6, steps=None, data=x)
    grads = []
    for net in (model, hybrid):
        model.zero_grad()
        net(x).square().sum().backward()
        grads.append([p.grad.clone() for p in model.parameters()])
    for one, other in zip(*grads, strict=True):
        assert off(one, other) < 1e-3


def test_a_copy_begins_without_the_carry() -> None:
    model, x = seeded(lambda: OverTime(GatedCell(4, 16), 16)), sequences()
    hybrid = hybridise(model, 2.0, steps=None, data=x)
    answer = hybrid(x)
    assert torch.equal(copy.deepcopy(hybrid)(x), answer)


@pytest.mark.parametrize(
    ("make", "steps", "message"),
    [
        (lambda: nn.GRU(4, 8), 4, "hybridise steps: got 4 with GRU, wanted none: its sequence is time"),
        (lambda: nn.LSTM(4, 8, bidirectional=True), None, "hybridise nn.LSTM: got two directions or a projection"),
    ],
)
def test_what_is_refused(make: Any, steps: int | None, message: str) -> None:
    with pytest.raises(BitspikeError, match=f"^{message}"):
        hybridise(make(), steps=steps)
