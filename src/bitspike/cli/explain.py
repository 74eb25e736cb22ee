"""`bitspike recipes NAME --explain`: every key of a recipe with its type, its default, its value here, and its text."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator
from typing import Any, NamedTuple

from pydantic import BaseModel

from bitspike import registry
from bitspike.options import Options
from bitspike.options.words import described
from bitspike.run.recipe import Recipe
from bitspike.tables.chosen import Named

WIDTH = 100


class Key(NamedTuple):
    """One key; a table has no value. `default` None: left out."""

    path: str
    type: str
    default: Any
    value: Any
    text: str
    table: bool = False


def keys(recipe: Recipe) -> Iterator[Key]:
    """Every key of the recipe, table by table, then what its data set can be asked for."""
    yield from _part(recipe, "")


def _part(part: BaseModel, path: str) -> Iterator[Key]:
    tables = []
    if isinstance(part, Options) and part.named is not None and part.named.key:
        room, key, name, usual = part.named
        text = "; ".join(f"{known}: {registry.about(room, known)}" for known in registry.names(room))
        yield Key(f"{path}{key}", "name", usual, name, f"{text}. Each may have keys of its own.")
    for option in described(type(part)):
        value = getattr(part, option.name)
        if isinstance(value, BaseModel) or (option.name == "options" and path == "data."):
            tables.append((option.name, value))
        else:
            extras = type(part).model_fields[option.name].metadata
            named = [name for extra in extras if isinstance(extra, Named) for name in registry.names(extra.room)]
            kind = " or ".join(f'"{name}"' for name in named) or option.type
            yield Key(f"{path}{option.name}", kind, option.default, value, option.text)
    for name, value in tables:
        if isinstance(value, BaseModel):
            yield Key(f"{path}{name}", "table", None, None, (type(value).__doc__ or "").strip(), True)
            yield from _part(value, f"{path}{name}.")
        else:
            yield from _options(value, f"{path}{name}", getattr(part, "set", ""))


def _options(given: dict[str, Any], path: str, name: str) -> Iterator[Key]:
    yield Key(path, "table", None, None, f"Of the data set {name}.", True)
    for option in described(registry.options("data", name, "data.set")):
        value = given.get(option.name, option.default)
        yield Key(f"{path}.{option.name}", option.type, option.default, value, option.text)


def printed(recipe: Recipe) -> str:
    """All keys as text."""
    lines = [f"{recipe.name}: every key, its value here, (type; default), and what it says"]
    for key in keys(recipe):
        if key.table:
            lines += ["", f"[{key.path}]  {key.text}"]
            continue
        lines.append(f"{key.path} = {_toml(key.value)}  ({key.type}; {_toml(key.default)})")
        lines += textwrap.wrap(key.text, WIDTH, initial_indent="    ", subsequent_indent="    ")
    return "\n".join(lines)


def _toml(value: Any) -> str:
    if value is None or value == "required":
        return value or "left out"
    if isinstance(value, BaseModel):
        return _toml(value.model_dump(exclude_none=True))
    return json.dumps(value, ensure_ascii=False, default=str)
