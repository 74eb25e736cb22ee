"""A learner of a person's own: what its __init__ does not take, or does not hand on, is refused before it trains."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import bitspike
from bitspike.data.given import given
from bitspike.errors import BitspikeError
from bitspike.learners import Learner
from bitspike.learners.backprop import BackpropLearner

X = torch.rand(60, 3, generator=torch.Generator().manual_seed(0))


class Idle(Learner):
    """Learns nothing, which is enough to be looked at."""

    def fit_batch(self, events: Tensor, targets: Tensor, *_: Any, **__: Any) -> dict[str, float]:
        self.updates += 1
        return {"loss": 0.0, "examples": float(len(targets))}

    def outputs(self, events: Tensor, every_step: bool = False) -> Tensor:
        readout: Tensor = self.model(events)
        return readout.softmax(-1) if self.task == "classification" else readout.sigmoid()


def learned(made: type[Learner], y: Tensor, *overrides: str) -> bitspike.Session:
    rule = made.__name__.lower()
    bitspike.register("learner", rule)(made)
    recipe = bitspike.load_recipe("digits-full", [f"learner={{rule = '{rule}'}}", "model.layers=['4']", *overrides])
    return bitspike.Session(recipe, given((X, y), time=False)[0])


def test_class_weights_that_a_rule_does_not_take_are_refused() -> None:
    class Plain(Idle):
        def __init__(self, model: Any, optimisation: Any, task: Any, seed: Any) -> None:
            super().__init__(model, optimisation, task, seed)

    class Weighs(Plain):
        def __init__(self, model: Any, optimisation: Any, task: Any, seed: Any, class_weights: Any) -> None:
            super().__init__(model, optimisation, task, seed)
            self.weights = class_weights

    y = (torch.arange(60) % 4 == 0).long()
    wanted = r"^data.class_weights: got true with learner.rule 'plain', whose __init__ takes none, wanted false"
    with pytest.raises(BitspikeError, match=wanted):
        learned(Plain, y, "data.class_weights=true")
    assert learned(Weighs, y, "data.class_weights=true").learner.weights.shape == (2,)  # type: ignore[attr-defined]
    assert learned(Plain, y).advance(2) == 2


def test_a_rule_made_of_backpropagation_learns_with_its_options_and_one_of_its_own() -> None:
    class Slower(BackpropLearner):
        """Takes all that its parent does."""

        def __init__(self, way: float = 0.5, **more: Any) -> None:
            super().__init__(**more)
            self.way = way

    class Same(BackpropLearner):
        """Has no __init__ of its own."""

        calls = 0

        def example_losses(self, *given: Any) -> Any:
            self.calls += 1
            return super().example_losses(*given)

    class Forgets(BackpropLearner):
        """Takes neither class weights nor what changes over training."""

        def __init__(self, model: Any, optimisation: Any, task: Any, seed: Any) -> None:
            super().__init__(model, optimisation, task, seed)

    y = torch.arange(60) % 3
    slower = learned(Slower, y, "learner.way=0.25")
    assert slower.advance(2) == 2
    assert slower.learner.way == 0.25
    same, usual = learned(Same, y, "learner.clip=0.5", "learner.draws=2"), learned(BackpropLearner, y)
    assert {"loss", "draws", "clip", "spike_penalty"} <= set(type(same.recipe.learner).model_fields)
    assert not {"steps", "feed_forward", "key"} & set(type(same.recipe.learner).model_fields)
    assert same.advance(2) == 2
    assert same.learner.calls == 4
    assert same.learner.clip == 0.5
    # As the rule of the package, where nothing is changed.
    again = learned(Same, y)
    again.advance(3)
    usual.advance(3)
    states = again.model.state_dict(), usual.model.state_dict()
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[1])
    assert learned(Forgets, y).advance(1) == 1
    with pytest.raises(BitspikeError, match=r"^learner.rule 'forgets': got Forgets, whose __init__ takes no 'class_we"):
        learned(Forgets, y, "data.class_weights=true")


def test_a_rule_that_keeps_its_parents_task_or_seed_is_refused() -> None:
    class Alone(Idle):
        def __init__(self, model: Any, optimisation: Any) -> None:
            super().__init__(model, optimisation)

    y = torch.arange(60) % 3
    assert learned(Alone, y).advance(2) == 2
    with pytest.raises(BitspikeError, match=r"^learner.rule 'alone': its seed: got 0, wanted 7, which its __init__"):
        learned(Alone, y, "seed=7")
    with pytest.raises(BitspikeError, match=r"^learner.rule 'alone': its task: got classification, wanted regression"):
        learned(Alone, X[:, :1], "training.criterion=rmse")
