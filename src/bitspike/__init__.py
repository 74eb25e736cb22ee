"""bitspike: train, calibrate and ship neural networks that compute with a few bits.

The names below are the public API. They are imported on first use, so that the command answers at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bitspike.errors import BitspikeError
from bitspike.version import __version__ as __version__

if TYPE_CHECKING:
    from bitspike.cells import LMU, ParallelLMU
    from bitspike.convert.hybrid.hybridise import dehybridise, hybridise
    from bitspike.convert.relu.rate_curve import RateCurve, accuracy_curve
    from bitspike.convert.relu.rate_network import RateNetwork
    from bitspike.convert.relu.relu_to_spiking import relu_to_spiking
    from bitspike.convert.soft.spiking import Spiking, spiking
    from bitspike.energy import Device, Energy, LevelCollector, sweep
    from bitspike.energy.estimate import estimate_energy
    from bitspike.federated.start import federate
    from bitspike.layers import Local2d, Synapse
    from bitspike.models.explain import explain_backend
    from bitspike.models.plan import Plan, plan_of
    from bitspike.neurons import (
        Noise,
        SoftLIF,
        SoftNeuron,
        StepSchedule,
        TemporalQuantiser,
        at_step,
        fit_to_relu,
        redraw_carry,
        redraw_units,
        set_step,
    )
    from bitspike.neurons.recordings import Monitor, Recording, record
    from bitspike.options import Options
    from bitspike.population.replay import replay
    from bitspike.population.start import tune
    from bitspike.registry import register
    from bitspike.reports import compare, report
    from bitspike.reports.measurement import Measurement
    from bitspike.run.estimator import SpikingClassifier, SpikingRegressor
    from bitspike.run.finished import Run, load
    from bitspike.run.fit import fit
    from bitspike.run.folds import cross_validate
    from bitspike.run.recipe import Recipe
    from bitspike.run.recipe_files import load_recipe, recipe_names
    from bitspike.run.results import write_results
    from bitspike.run.session import Session, advance_together
    from bitspike.run.start import train
    from bitspike.studies.early import evaluate_early
    from bitspike.studies.spiking import evaluate_spiking

__all__ = [
    "LMU",
    "BitspikeError",
    "Device",
    "Energy",
    "LevelCollector",
    "Local2d",
    "Measurement",
    "Monitor",
    "Noise",
    "Options",
    "ParallelLMU",
    "Plan",
    "RateCurve",
    "RateNetwork",
    "Recipe",
    "Recording",
    "Run",
    "Session",
    "SoftLIF",
    "SoftNeuron",
    "Spiking",
    "SpikingClassifier",
    "SpikingRegressor",
    "StepSchedule",
    "Synapse",
    "TemporalQuantiser",
    "accuracy_curve",
    "advance_together",
    "at_step",
    "compare",
    "cross_validate",
    "dehybridise",
    "estimate_energy",
    "evaluate_early",
    "evaluate_spiking",
    "explain_backend",
    "federate",
    "fit",
    "fit_to_relu",
    "hybridise",
    "load",
    "load_recipe",
    "plan_of",
    "recipe_names",
    "record",
    "redraw_carry",
    "redraw_units",
    "register",
    "relu_to_spiking",
    "replay",
    "report",
    "set_step",
    "spiking",
    "sweep",
    "train",
    "tune",
    "write_results",
]

_HOMES = {
    name: f"bitspike.{home}"
    for home, known in {
        "cells": "LMU ParallelLMU",
        "convert": "RateCurve RateNetwork Spiking accuracy_curve dehybridise hybridise relu_to_spiking spiking",
        "energy": "Device Energy LevelCollector estimate_energy sweep",
        "federated.start": "federate",
        "layers": "Local2d Synapse",
        "models.explain": "explain_backend",
        "models.plan": "Plan plan_of",
        "neurons": "Noise SoftLIF SoftNeuron StepSchedule TemporalQuantiser at_step fit_to_relu redraw_carry "
        "redraw_units set_step",
        "neurons.recordings": "Monitor Recording record",
        "options": "Options",
        "population.replay": "replay",
        "population.start": "tune",
        "registry": "register",
        "reports": "compare report",
        "reports.measurement": "Measurement",
        "run.estimator": "SpikingClassifier SpikingRegressor",
        "run.finished": "Run load",
        "run.fit": "fit",
        "run.folds": "cross_validate",
        "run.recipe": "Recipe",
        "run.recipe_files": "load_recipe recipe_names",
        "run.results": "write_results",
        "run.session": "Session advance_together",
        "run.start": "train",
        "studies.early": "evaluate_early",
        "studies.spiking": "evaluate_spiking",
    }.items()
    for name in known.split()
}


def __getattr__(name: str) -> Any:
    """Import a public name, or a floor of the house, on first use."""
    import importlib

    home = _HOMES.get(name)
    if home is None:
        try:
            return importlib.import_module(f"bitspike.{name}")
        except ModuleNotFoundError as error:
            if error.name != f"bitspike.{name}":
                raise
            raise AttributeError(f"module 'bitspike' has no attribute '{name}'") from None
    return getattr(importlib.import_module(home), name)


def __dir__() -> list[str]:
    """Public names, imported or not, and what the module holds already."""
    return sorted({*globals(), *__all__})
