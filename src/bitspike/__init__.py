"""bitspike: train, calibrate and ship neural networks that compute with a few bits.

The names below are the public API. They are imported on first use, so that the command answers at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bitspike.errors import BitspikeError

if TYPE_CHECKING:
    from bitspike.convert.hybridise import dehybridise, hybridise
    from bitspike.layers import LMU, ParallelLMU
    from bitspike.layers.explain import explain_backend
    from bitspike.metrics import LevelCollector, sweep
    from bitspike.neurons import StepSchedule, TemporalQuantiser, at_step, redraw_carry, set_step
    from bitspike.report import compare, report
    from bitspike.run.recipe import Recipe
    from bitspike.run.recipe_files import load_recipe, recipe_names
    from bitspike.run.results import write_results
    from bitspike.run.start import Run, load, train

__version__ = "0.1.0"
__all__ = [
    "LMU",
    "BitspikeError",
    "LevelCollector",
    "ParallelLMU",
    "Recipe",
    "Run",
    "StepSchedule",
    "TemporalQuantiser",
    "at_step",
    "compare",
    "dehybridise",
    "explain_backend",
    "hybridise",
    "load",
    "load_recipe",
    "recipe_names",
    "redraw_carry",
    "report",
    "set_step",
    "sweep",
    "train",
    "write_results",
]

_HOMES = {
    "LMU": "bitspike.layers",
    "LevelCollector": "bitspike.metrics",
    "ParallelLMU": "bitspike.layers",
    "Recipe": "bitspike.run.recipe",
    "Run": "bitspike.run.start",
    "StepSchedule": "bitspike.neurons",
    "TemporalQuantiser": "bitspike.neurons",
    "at_step": "bitspike.neurons",
    "compare": "bitspike.report",
    "dehybridise": "bitspike.convert",
    "explain_backend": "bitspike.layers.explain",
    "hybridise": "bitspike.convert",
    "load": "bitspike.run.start",
    "load_recipe": "bitspike.run.recipe_files",
    "recipe_names": "bitspike.run.recipe_files",
    "redraw_carry": "bitspike.neurons",
    "report": "bitspike.report",
    "set_step": "bitspike.neurons",
    "sweep": "bitspike.metrics",
    "train": "bitspike.run.start",
    "write_results": "bitspike.run.results",
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
    module = importlib.import_module(home)
    return getattr(module, name)
