"""The rules of `bitspike init`: from facts of the data to keys of a recipe."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from bitspike.run.rules import Facts, batch_size, choices, layers, updates, window

SERIES = Facts(
    "classification", "series", 200, 140, 20, (1,), 150, counts={"1": 100, "2": 100},
    options={"path": "a.npz", "time": True},
)  # fmt: skip
TABLE = Facts("classification", "vector", 178, 125, 18, (13,), counts={"a": 59, "b": 71}, options={"path": "a.csv"})
VALUES = Facts("regression", "vector", 442, 309, 45, (10,), options={"path": "a.csv"})
PICTURES = Facts(
    "classification", "image", 900, 630, 90, (3, 100, 200), counts={"a": 450, "b": 450}, options={"path": "a"}
)
EVENTS = Facts(
    "classification", "events", 500, 350, 50, (2, 128, 128), counts={"a": 250, "b": 250}, milliseconds=300.0,
    options={"path": "a"},
)  # fmt: skip


def keys(facts: Facts, **given: Any) -> dict[str, Any]:
    return {choice.key: choice.value for choice in choices(facts, **given)}


def test_a_series_is_seen_through_windows() -> None:
    made = keys(SERIES)
    assert made["encoder.name"] == "windows"
    assert (made["encoder.steps"], made["encoder.width"], made["encoder.stride"]) == (150, 37, 10)
    assert made["data.options.normalise"] == "standard"
    assert made["data.options.time"] is True
    assert made["weights.precision"] == "bayesian"
    assert made["latent_optimizer.lr_sum"] == 500


@pytest.mark.parametrize(
    ("steps", "features", "per_step", "wanted"),
    [(29, 12, False, (2, 7)), (100, 6, True, (1, 16)), (1, 3, False, (1, 1)), (3, 1, False, (1, 3)),
     (10, 1, False, (1, 4)), (1000, 1, False, (63, 250)), (1000, 128, False, (63, 63)), (50, 9000, False, (4, 4))],
)  # fmt: skip
def test_windows_are_a_quarter_and_move_by_a_sixteenth(
    steps: int, features: int, per_step: bool, wanted: tuple[int, int]
) -> None:
    stride, width = window(steps, features, per_step)
    assert (stride, width) == wanted
    assert stride <= width <= steps


def test_lengths_set_the_window_and_the_longest_the_steps() -> None:
    made = keys(dataclasses.replace(SERIES, steps=400, lengths=(5, 60, 400)))
    assert (made["encoder.steps"], made["encoder.width"], made["encoder.stride"]) == (400, 15, 4)


def test_a_class_for_each_step_is_answered_at_each() -> None:
    made = keys(dataclasses.replace(SERIES, per_step=True))
    assert (made["encoder.stride"], made["learner.decoder"]) == (1, "last")
    assert "learner.decoder" not in keys(SERIES)


def test_values_without_time_are_a_constant_current() -> None:
    made = keys(TABLE)
    assert (made["encoder.name"], made["encoder.steps"]) == ("direct", 4)
    assert made["model.layers"] == ["128"]
    assert made["data.validation"] == 0.2
    assert "data.class_weights" not in made


def test_numbers_to_predict_get_one_layer_and_few_updates() -> None:
    made = keys(VALUES)
    assert (made["model.layers"], made["training.updates"]) == (["128"], 400)
    assert made["latent_optimizer.lr_sum"] == 200


def test_pictures_and_events_are_convolved() -> None:
    made = keys(PICTURES)
    assert made["data.options.size"] == [16, 32]
    assert made["model.layers"] == ["16c5s2", "32c3s2", "128"]
    assert "data.options.normalise" not in made
    assert layers(EVENTS)[0][:2] == ["p2", "p2"]
    assert keys(EVENTS)["encoder.dt"] * keys(EVENTS)["encoder.steps"] == pytest.approx(300)
    assert layers(dataclasses.replace(PICTURES, shape=(1, 8, 8)))[0] == ["128", "64"]


def test_balance_groups_and_precision() -> None:
    assert keys(dataclasses.replace(TABLE, counts={"a": 90, "b": 30}))["data.class_weights"] is True
    assert "data.class_weights" not in keys(dataclasses.replace(TABLE, counts={"a": 89, "b": 30}))
    grouped = dataclasses.replace(TABLE, groups=0, options={"path": "a.csv", "group": "subject"})
    assert keys(grouped)["data.options.group"] == "subject"
    assert "data.validation" not in keys(grouped)
    assert "latent_optimizer.lr_sum" not in keys(TABLE, precision="full")
    assert keys(TABLE, precision="straight-through")["weights.precision"] == "straight-through"


def test_updates_grow_with_examples_between_bounds() -> None:
    def count(training: int, classes: int = 2) -> int:
        facts = dataclasses.replace(TABLE, training=training, counts={str(c): 5 for c in range(classes)})
        return updates(facts)[0]

    assert [count(50), count(5000), count(1_000_000), count(50, 27)] == [1000, 1000, 3000, 1500]
    assert count(19_000) == 2969
    assert [batch_size(n) for n in (50, 1999, 2000, 20_000)] == [32, 32, 64, 128]
