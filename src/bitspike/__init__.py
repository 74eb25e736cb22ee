"""bitspike: train, calibrate and ship neural networks that compute with a few bits.

The names below are the public API. They are imported on first use, so that the command answers at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bitspike.errors import BitspikeError

if TYPE_CHECKING:
    from bitspike.layers.explain import explain_backend
    from bitspike.report import compare, report
    from bitspike.run.recipe import Recipe
    from bitspike.run.recipe_files import load_recipe, recipe_names
    from bitspike.run.results import write_results
    from bitspike.run.start import Run, load, train

__version__ = "0.1.0"
__all__ = [
    "BitspikeError",
    "Recipe",
    "Run",
    "compare",
    "explain_backend",
    "load",
    "load_recipe",
    "recipe_names",
    "report",
    "train",
    "write_results",
]

_HOMES = {
    "Recipe": "bitspike.run.recipe",
    "Run": "bitspike.run.start",
    "compare": "bitspike.report",
    "explain_backend": "bitspike.layers.explain",
    "load": "bitspike.run.start",
    "load_recipe": "bitspike.run.recipe_files",
    "recipe_names": "bitspike.run.recipe_files",
    "report": "bitspike.report",
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
