"""Options in words: each with its type, its default and a sentence."""

from __future__ import annotations

import types
import typing
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

LIMITS: dict[type, str] = {Gt: "above", Ge: "from", Lt: "below", Le: "to"}


class Option(NamedTuple):
    """An option: its name, its type in words, its default (None: chosen by what is found), its text."""

    name: str
    type: str
    default: Any
    text: str


def described(table: type[BaseModel]) -> list[Option]:
    """The options of a table, in its order."""
    out = []
    for name, field in table.model_fields.items():
        default = field.get_default(call_default_factory=True)
        kind = " ".join([in_words(field.annotation), *limits_in_words(field.metadata)])
        text = " ".join((field.description or "").split())
        out.append(Option(name, kind, "required" if default is PydanticUndefined else default, text))
    return out


def in_words(hint: Any) -> str:
    """A type as a person would write it in a recipe."""
    if typing.get_origin(hint) is Annotated:
        base, *extras = typing.get_args(hint)
        return " ".join([in_words(base), *limits_in_words(extras)])
    arguments = [argument for argument in typing.get_args(hint) if argument is not type(None)]
    if typing.get_origin(hint) is Literal:
        return " or ".join(f'"{value}"' if isinstance(value, str) else str(value) for value in arguments)
    if typing.get_origin(hint) in (types.UnionType, typing.Union):
        return " or ".join(in_words(argument) for argument in arguments)
    if typing.get_origin(hint) in (tuple, list):
        return f"[{', '.join(in_words(argument) for argument in arguments)}]"
    known = {bool: "true or false", int: "whole number", float: "number", str: "text", Path: "path"}
    return known.get(hint, getattr(hint, "__name__", str(hint)))


def limits_in_words(extras: Iterable[Any]) -> list[str]:
    """The bounds that metadata set, in words."""
    limits = [limit for extra in extras for limit in (extra, *getattr(extra, "metadata", ()))]
    bounds = [(kind, getattr(limit, kind.__name__.lower())) for limit in limits if (kind := type(limit)) in LIMITS]
    # Bounds so far out only keep absurd numbers from the arithmetic.
    return [f"{LIMITS[kind]} {bound:g}" for kind, bound in bounds if bound < 1e12]
