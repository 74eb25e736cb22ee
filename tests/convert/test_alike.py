"""A hybrid whose presentations would mix is refused where data are given; hooks and attributes of the model stay."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bitspike.convert import hybridise
from bitspike.errors import BitspikeError

from ..nearness import off


@pytest.fixture(autouse=True)
def seeded() -> None:
    """Of a few units of ReLU all may be silent."""
    torch.manual_seed(0)


BATCH = "wanted the batch as the first dimension throughout"


class Positions(nn.Module):
    """Attention over a sequence that comes first, (L, B, E), with its places."""

    def __init__(self) -> None:
        super().__init__()
        self.before, self.attention, self.end = nn.Linear(8, 8), nn.MultiheadAttention(8, 2), nn.Linear(8, 3)
        self.act = nn.ReLU()
        self.register_buffer("places", torch.randn(500, 1, 8))

    def forward(self, x: Tensor) -> Tensor:
        h = self.act(self.before(x + self.places[: x.size(0)]))
        h, _ = self.attention(h, h, h)
        y: Tensor = self.end(self.act(h))
        return y


class Along(nn.Module):
    """A sum along the first dimension."""

    def __init__(self, last: bool) -> None:
        super().__init__()
        self.layer, self.last = nn.Linear(5, 6), last

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.layer(x)).cumsum(0)
        return y[-1] if self.last else y


class OneSize(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(5, 6)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.layer(x)).view(4, 6)


@pytest.mark.parametrize(
    ("make", "shape", "message"),
    [
        (Positions, (6, 4, 8), f"answers that depend on the other rows of a batch, {BATCH}"),
        (lambda: Along(False), (6, 4, 5), f"answers that depend on the other rows of a batch, {BATCH}"),
        (lambda: Along(True), (4, 4, 5), f"answers that depend on the other rows of a batch, {BATCH}"),
        (lambda: Along(False), (1, 5), f"code in which one presentation of a batch changes .* another, {BATCH}"),
        (OneSize, (4, 5), r"code for batches of one size \(.*\), wanted code for batches of any size"),
    ],
)
def test_presentations_that_would_mix_are_refused(
    make: Any, shape: tuple[int, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(BitspikeError, match=f"^hybridise model: got {message}"):
        hybridise(make(), 1e4, steps=4, data=torch.randn(shape))
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("rows", [1, 6])
def test_rows_that_stand_alone_are_taken(rows: int) -> None:
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3)).eval()
    x = torch.randn(rows, 1, 8, 8)
    hybrid = hybridise(model, 1e5, steps=3, data=x)
    assert hybrid.steps == 3
    assert off(hybrid(x), model(x)) < 1e-3


def test_hooks_of_the_outermost_module_are_called() -> None:
    model = nn.Sequential(nn.Linear(5, 6), nn.ReLU(), nn.Linear(6, 2)).eval()
    model.register_forward_hook(lambda module, given, answer: 2 * answer)
    x = torch.randn(4, 5)
    assert off(hybridise(model, 1e5)(x), model(x)) < 1e-3
    hooked = OneSize()
    hooked.register_forward_hook(lambda module, given, answer: 2 * answer)
    with pytest.raises(BitspikeError, match=r"its code cannot be traced .it has forward hooks"):
        hybridise(hooked)


class Sized(nn.Module):
    """Asks its LSTM what it is made of, as many do."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.cell = nn.LSTM(5, 6, 2, batch_first=True), nn.GRUCell(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        self.lstm.flatten_parameters()
        start = x.new_zeros(self.lstm.num_layers, len(x), self.lstm.hidden_size)
        y, _ = self.lstm(x, (start, start))
        h: Tensor = self.cell(y[:, -1], x.new_zeros(len(x), self.cell.hidden_size))
        return h


def test_an_open_module_has_the_attributes_of_the_one_it_stands_for() -> None:
    model, x = Sized().eval(), torch.randn(4, 7, 5)
    hybrid = hybridise(model, 1e5, steps=None, data=x)
    for each in (hybrid, copy.deepcopy(hybrid), pickle.loads(pickle.dumps(hybrid))):
        assert off(each(x), model(x)) < 1e-3
    assert len(list(hybrid.parameters())) == len(list(model.parameters()))
    with pytest.raises(AttributeError):
        _ = next(m for m in hybrid.modules() if hasattr(m, "num_layers")).no_such_thing


class By(nn.Module):
    def __init__(self, function: Any) -> None:
        super().__init__()
        self.layer, self.function = nn.Linear(6, 6), function

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.function(F.relu(self.layer(x)))
        return y


@pytest.mark.parametrize("function", [F.rrelu, torch.rrelu, F.glu], ids=["F.rrelu", "torch.rrelu", "F.glu"])
def test_functions_that_cannot_be_swapped_are_refused(function: Any) -> None:
    with pytest.raises(BitspikeError, match=r"^hybridise (rrelu|glu): got (rrelu|glu) called as a function, wanted"):
        hybridise(By(function))
    assert list(hybridise(By(function), layers="relu").quantised()) == ["relu"]


def test_a_logistic_function_by_its_other_name_is_swapped() -> None:
    assert list(hybridise(By(torch.special.expit)).quantised()) == ["relu", "sigmoid"]
