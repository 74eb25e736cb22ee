"""Options read from the typed keyword parameters of a class or function that declares none."""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, create_model

from bitspike.errors import BitspikeError, refuse
from bitspike.options.base import Options

PLAIN = (bool, int, float, str)
KEYWORDS = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


def derived(
    made: Callable[..., Any], what: str, given: Collection[str] = (), parts: Mapping[str, Any] | None = None
) -> type[Options]:
    """A table with a field for each parameter of `made` that a recipe can hold.

    given: parameters that whoever calls `made` provides. Text in `Annotated[type, "text"]` documents a field. A
    parameter of another type needs a default, which then stands, but for those that are tables of their own (`parts`:
    their fields). what: who is named in errors.
    """
    called: Any = inspect.getattr_static(made, "__init__") if isinstance(made, type) else made
    try:
        hints = typing.get_type_hints(called, include_extras=True)
    except Exception as error:
        raise BitspikeError(f"{what}: types of its parameters cannot be read ({error})") from None
    fields: dict[str, Any] = {}
    for parameter in list(inspect.signature(called).parameters.values())[isinstance(made, type) :]:
        if parameter.kind not in KEYWORDS or parameter.name in given:
            continue
        hint, empty = _plain(hints.get(parameter.name)), parameter.default is inspect.Parameter.empty
        if parameter.name in (parts or {}):
            fields[parameter.name] = (parts or {})[parameter.name]
        elif hint is not None:
            fields[parameter.name] = (hint, ... if empty else parameter.default)
        elif empty:
            came = f"parameter '{parameter.name}' of type {hints.get(parameter.name, 'unknown')}"
            refuse(what, came, "a plain type (number, text, true or false, list, dict), a default, or a class Options")
    table: type[Options] = create_model(
        "Options", __base__=Options, __doc__=inspect.getdoc(made), __module__=made.__module__, **fields
    )
    return table


def _plain(hint: Any) -> Any:
    """The part of a type that a recipe can hold, with its limits and text; None where there is none."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        base = _plain(arguments[0])
        extras = [Field(description=a) if isinstance(a, str) else a for a in arguments[1:]]
        return None if base is None else Annotated[(base, *extras)]
    if origin in (types.UnionType, typing.Union):
        kept = [p for p in map(_plain, (a for a in arguments if a is not type(None))) if p is not None]
        none = [None] if type(None) in arguments else []
        return typing.Union[(*kept, *none)] if kept else None
    if hint in PLAIN or origin is Literal:
        return hint
    if hint is Path:
        return str  # a recipe has no paths
    if tuple in (hint, origin):
        return list[_plain(arguments[0])] if len(arguments) == 2 and arguments[1] is ... else list  # type: ignore[misc]
    return hint if hint in (list, dict) or origin in (list, dict) else None
