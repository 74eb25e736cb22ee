"""Keys of a recipe that are set and read by nobody: they would change its hash and nothing else.

A key that another thing of the same room knows (`model.neuron.tau_mem` of a LIF neuron), or that the recipe's other
choices leave without a reader (`Options.unread`), is one. A key at its default is no word of anybody, as the recipes
that are stored with runs hold all defaults, and those of earlier versions held those of all things of a room.
"""

from __future__ import annotations

import typing
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from pydantic.fields import FieldInfo

from bitspike import registry
from bitspike.errors import did_you_mean
from bitspike.options import Options
from bitspike.run.recipe import Recipe
from bitspike.tables.chosen import choice_of


class Unread(NamedTuple):
    """A key's path, its value, and why nobody reads it."""

    path: str
    value: Any
    why: str


class UnknownKey(Exception):
    """A key that nothing knows; the message says so, with the nearest that is known."""


def taken(data: Mapping[str, Any]) -> tuple[dict[str, Any], list[Unread]]:
    """A recipe's plain data without what only another thing of a room knows, and what was set of that."""
    found: list[Unread] = []
    return _own(Recipe, data, "", found), found


def unread(recipe: Recipe) -> list[Unread]:
    """What is set and has no reader among the recipe's other choices."""
    return list({entry.path: entry for entry in _unread(recipe, recipe, "")}.values())


def _unread(table: Options, recipe: Recipe, path: str) -> Iterator[Unread]:
    fields = type(table).model_fields
    for names, why in table.unread(recipe):
        for name in sorted(set(names) & set(fields), key=list(fields).index):
            if (value := getattr(table, name)) != fields[name].get_default(call_default_factory=True):
                yield Unread(path + name, value, why)
    for name in fields:
        if isinstance(inner := getattr(table, name), Options):
            yield from _unread(inner, recipe, f"{path}{name}.")


def _own(table: type[Options], data: Mapping[str, Any], path: str, found: list[Unread]) -> dict[str, Any]:
    """The keys that `table` knows; those of the room's other things are added to `found`, unless at their default."""
    kept = {}
    room, key, name, _ = table.named or ("", "", "", "")
    for entry, value in data.items():
        field = table.model_fields.get(entry)
        if field is not None:
            inner = _table(field, value)
            kept[entry] = value if inner is None else _own(inner, value, f"{path}{entry}.", found)
        elif key and entry == key:
            kept[entry] = value
        else:
            others = registry.others(room, name) if key else ()
            fields = [other.model_fields[entry] for other in others if entry in other.model_fields]
            if not fields:
                names = [*table.model_fields, *([key] if key else [])]
                hint = did_you_mean(entry, names, 0.5) or f"; known here: {', '.join(sorted(names))}"
                raise UnknownKey(f"unknown key '{path}{entry}'{hint}")
            defaults = [field.get_default(call_default_factory=True) for field in fields]
            found += _set(value, defaults, path + entry, f"{path}{key} '{name}'")
    return kept


def _table(field: FieldInfo, value: Any) -> type[Options] | None:
    """The options that a field holds, if its value is a table of them."""
    if not isinstance(value, Mapping):
        return None
    if (choice := choice_of(field)) is not None:
        return choice.table(value)
    kinds = [field.annotation, *typing.get_args(field.annotation)]
    return next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, Options)), None)


def _set(value: Any, defaults: list[Any], path: str, why: str) -> Iterator[Unread]:
    """What of a value differs from all defaults that it may have; of a table, key by key."""
    tables = [default for default in defaults if isinstance(default, Options)]
    if isinstance(value, Mapping) and tables:
        for key, inner in value.items():
            yield from _set(inner, [getattr(table, key, None) for table in tables], f"{path}.{key}", why)
    elif value not in defaults:
        yield Unread(path, value, why)
