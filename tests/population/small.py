"""A population that is over in a moment."""

from __future__ import annotations

from bitspike import load_recipe

SMALL = ["model.layers=['8']", "encoder.steps=2", "training.epochs=2", "training.validate_every=1"]
SMALL += ["training.batch=200", "data.validation=60", "evaluation.energy_examples=20"]
SMALL += ["population.size=4", "population.every=3", "population.exploit.fraction=0.3"]
UPDATES = 14  # of a member: five turns


def small(*more, seed=0):
    return load_recipe("tune-digits", [*SMALL, *more], seed)


def untimed(turns):
    """Plain turns without what a clock has measured, and on how many threads."""
    other = ("seconds", "ended", "threads")
    return [{key: value for key, value in turn.line().items() if key not in other} for turn in turns]
