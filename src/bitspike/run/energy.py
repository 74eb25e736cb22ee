"""The energy account of a run's network, on its test examples."""

from __future__ import annotations

from bitspike.energy import Energy, estimate_energy
from bitspike.learners import Learner
from bitspike.run.batches import Batches
from bitspike.run.recipe import Recipe


def energy_of(recipe: Recipe, learner: Learner, test: Batches, samples: int) -> Energy:
    """Counted on what one member of an ensemble of `samples` (0: MAP) does with the first test examples, times them."""
    members, one = max(1, samples), min(1, samples)
    batches = test.evaluation(recipe.evaluation.energy_examples)
    return estimate_energy(
        learner.model, batches, run=lambda x: learner.predict(x, one), time_first=True, draws=members
    )
