"""A model of one's own in the registry: weights and dropout are named by the seed, answers are checked."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import bitspike
from bitspike.data import DataSet, load
from bitspike.errors import BitspikeError
from bitspike.run.recipe_files import parse_recipe
from bitspike.run.session import Session


class Mine(nn.Module):
    """Layers of PyTorch, which draw from its global generator."""

    def __init__(self, outputs: int, more: int = 0) -> None:
        super().__init__()
        self.hidden, self.dropout, self.out = nn.Linear(64, 16), nn.Dropout(0.5), nn.Linear(16, outputs + more)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.out(self.dropout(torch.relu(self.hidden(x.flatten(2)))))
        return y


@pytest.fixture(scope="module")
def digits() -> DataSet:
    return load("digits")


RECIPE = """
name = "own"
data.set = "digits"
encoder.steps = 2
model.kind = "mine"
training.epochs = 1
"""


def session(digits: DataSet, seed: int = 0, more: int = 0) -> Session:
    return Session(parse_recipe(RECIPE, "own", [f"model.more={more}"], seed), digits)


def weights(one: Session) -> Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in one.model.parameters()])


def test_it_is_a_function_of_its_seed_and_goes_on_after_a_cut_as_if_there_had_been_none(digits: DataSet) -> None:
    bitspike.register("model", "mine")(Mine)
    torch.manual_seed(1)
    whole = session(digits)
    torch.manual_seed(2)
    again, other = session(digits), session(digits, seed=1)
    assert torch.equal(weights(whole), weights(again))
    assert not torch.equal(weights(whole), weights(other))
    whole.advance(4)
    again.advance(2)
    state, before = again.snapshot(), torch.random.get_rng_state()
    other = session(digits)
    other.restore(state)
    other.advance(2)
    assert torch.equal(weights(whole), weights(other))
    assert torch.equal(before, torch.random.get_rng_state())


def test_answers_of_another_shape_are_refused(digits: DataSet) -> None:
    bitspike.register("model", "mine")(Mine)
    with pytest.raises(BitspikeError, match=r"model answer to .*got shape \(2, 64, 20\), wanted \(2, 64, 10\)"):
        session(digits, more=10).advance(1)


def test_what_is_no_module_is_refused_by_its_name(digits: DataSet) -> None:
    @bitspike.register("model", "mine")
    class Bare:
        def __init__(self, outputs: int, more: int = 0) -> None: ...

    with pytest.raises(BitspikeError, match=r"model 'mine': got a Bare, wanted a torch.nn.Module"):
        session(digits)
