"""A population that is over in a moment."""

from __future__ import annotations

import torch

from bitspike import load_recipe

SMALL = ["model.layers=['8']", "encoder.steps=2", "training.epochs=2", "training.validate_every=1"]
SMALL += ["training.batch=200", "data.validation=60", "evaluation.energy_examples=20"]
SMALL += ["population.size=4", "population.every=3", "population.exploit.fraction=0.3"]
UPDATES = 14  # of a member: five turns


def small(*more, seed=0):
    return load_recipe("tune-digits", [*SMALL, *more], seed)


def same(one, other):
    """Whether two nested states are equal, bit for bit."""
    if isinstance(one, torch.Tensor):
        return one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other


def untimed(turns):
    """Plain turns without what a clock has measured."""
    return [{key: value for key, value in turn.line().items() if key != "seconds"} for turn in turns]
