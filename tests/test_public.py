"""The public names of the package."""

from __future__ import annotations

import importlib
import pkgutil

import pytest
import torch

import bitspike
from bitspike.neurons import LIF


def test_a_public_name_means_the_same_whatever_was_imported_before() -> None:
    """Importing a module sets its name on the package, over a public name that is the same."""
    first = {name: getattr(bitspike, name) for name in bitspike.__all__}
    assert all(getattr(bitspike, name) is value for name, value in first.items())
    modules = {module.name for module in pkgutil.iter_modules(bitspike.__path__)}
    assert not modules & set(bitspike.__all__)


def test_every_public_name_is_listed_and_typed_once() -> None:
    assert sorted(bitspike._HOMES) == sorted(set(bitspike.__all__) - {"BitspikeError"})


def test_the_energy_room_may_be_called_as_the_function_it_was() -> None:
    model, x = torch.nn.Linear(3, 2), torch.ones(1, 3)
    with pytest.warns(FutureWarning, match=r"bitspike\.energy\(\.\.\.\) is bitspike\.estimate_energy"):
        found = bitspike.energy(model, x)
    assert found.to_dict() == bitspike.estimate_energy(model, x).to_dict()
    with pytest.warns(FutureWarning) as said:
        assert bitspike.metrics.energy(model, x).to_dict() == found.to_dict()
    assert "estimate_energy" in str(said[-1].message)


# What went to another room or got another name in 0.3, for one release: where it was, and what it is now.
OLD = {
    "metrics.bits": "energy.bits",
    "metrics.LevelCollector": "energy.LevelCollector",
    "metrics.sweep": "energy.sweep",
    "layers.OnePass": "layers.Fused",
    "layers.LMU": "cells.LMU",
    "layers.ParallelLMU": "cells.ParallelLMU",
}


@pytest.mark.parametrize("old", OLD)
def test_an_old_name_works_for_one_release_and_says_what_it_is_now(old: str) -> None:
    room, _, name = old.rpartition(".")
    new_room, _, new = OLD[old].rpartition(".")
    with pytest.warns(FutureWarning, match=f"bitspike.{old} is bitspike.{OLD[old]} now"):
        value = getattr(importlib.import_module(f"bitspike.{room}"), name)
    assert value is getattr(importlib.import_module(f"bitspike.{new_room}"), new)


@pytest.mark.parametrize("reset", ["soft", "hard"])
def test_the_steps_of_lif_are_found_by_their_old_names(reset: str) -> None:
    with pytest.warns(FutureWarning, match="with_reset"):
        step = getattr(bitspike.neurons, f"lif_{reset}_step")
    assert step == LIF(reset=reset).step


@pytest.mark.parametrize(
    ("room", "name", "known"),
    [("neurons", "NEURONS", "lif"), ("neurons", "SURROGATES", "boxcar"), ("neurons", "CURVES", "soft-lif"),
     ("weights", "PRECISIONS", "bayesian"), ("coding", "ENCODERS", "direct")],
)  # fmt: skip
def test_dictionaries_of_before_the_registry_are_found(room: str, name: str, known: str) -> None:
    with pytest.warns(FutureWarning, match=f"bitspike.{room}.{name} is "):
        assert known in getattr(importlib.import_module(f"bitspike.{room}"), name)
