"""What may never change without a word: the hash of every recipe, and every default of what comes with the package.

`pinned.json` was written when these were first pinned; what comes new is added to it, and nothing in it is altered
without a line in CHANGELOG.md.
"""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

from pydantic_core import to_jsonable_python

from bitspike import registry
from bitspike.options import Options
from bitspike.run import recipe
from bitspike.run.recipe_files import load_recipe, recipe_names
from bitspike.tables.federation import Federation, Privacy
from bitspike.tables.model import Hybrid
from bitspike.tables.population import Population

PINNED = json.loads((Path(__file__).parent / "pinned.json").read_text())


def defaults() -> dict[str, dict[str, Any]]:
    """Table to field to default; "required" where there is none."""
    frame = {
        f"recipe {name}": table
        for name, table in vars(recipe).items()
        if inspect.isclass(table) and issubclass(table, Options) and table.__module__ == recipe.__name__
    }
    rooms = ((room, name) for room in registry.ROOMS for name in registry.names(room) if registry.ROOMS[room].key)
    tables = frame | {f"{room} {name}": registry.options(room, name) for room, name in rooms} | {"hybrid": Hybrid}
    tables |= {"federation": Federation, "privacy": Privacy, "population": Population}
    return {
        name: {
            field: "required" if info.is_required() else to_jsonable_python(info.get_default(call_default_factory=True))
            for field, info in table.model_fields.items()
        }
        for name, table in tables.items()
    }


def test_every_recipe_keeps_its_hash() -> None:
    now = {name: load_recipe(name).recipe_hash() for name in recipe_names()}
    assert {name: now.get(name) for name in PINNED["hashes"]} == PINNED["hashes"]
    assert set(now) == set(PINNED["hashes"]), "a new recipe's hash belongs into pinned.json"


def test_every_default_stays() -> None:
    now = defaults()
    assert {name: now.get(name) for name in PINNED["defaults"]} == PINNED["defaults"]
    assert set(now) == set(PINNED["defaults"]), "the defaults of a new table belong into pinned.json"
