"""What a data set can be asked for, in words: every option with its type, its default and a sentence.

A loader gives an option's text in its signature, `Annotated[kind, "text"]`; options that mean the same in several
sets have theirs here.
"""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from annotated_types import Ge, Gt, Le, Lt

# Given by `load` itself and no business of a recipe's options.
APART = ("folder", "seed", "fold")

SHARED = {
    "validation": "Validation part: below 1 a share of what the test part leaves, else a number of examples.",
    "test": "Test part: below 1 a share of all examples, else a number of them.",
    "train_size": "Training examples: a seeded, stratified subset of the official part (validation included).",
    "test_size": "Test examples: a seeded, stratified subset of the official part.",
}
OWN = {
    "two-moons": {
        "validation": "Validation points, drawn for it.",
        "train_size": "Training points.",
        "test_size": "Test points.",
        "noise": "Standard deviation of the points about the half-circles, whose radius is 1.",
    },
    "regression-1d": {"noise": "Standard deviation of the training targets about the curve."},
    "mackey-glass": {
        "validation": "Validation series, drawn for it.",
        "train_size": "Training series.",
        "test_size": "Test series.",
        "steps": "Time steps that are shown.",
        "ahead": "How many steps behind the last one the value lies that is asked for.",
        "tau": "Delay of the equation, in time steps; the series are chaotic from about 17.",
    },
    "cifar10": {"scale": "unit: pixels in [0, 1]; channel: each channel has mean 0 and variance 1 in training."},
    "cifar100": {
        "scale": "unit: pixels in [0, 1]; channel: each channel has mean 0 and variance 1 in training.",
        "labels": "fine: 100 classes; coarse: 20 of five each.",
    },
    "svhn": {"extra": "Train on the 531,131 easier images too."},
}


class Option(NamedTuple):
    """An option of a data set: its name, its type in words, its default (None: chosen by what is found), its text."""

    name: str
    type: str
    default: Any
    text: str


def described(name: str, loader: Callable[..., Any]) -> list[Option]:
    """The options of the set `name`, which `loader` loads, in the order of its signature."""
    hints = typing.get_type_hints(loader, include_extras=True)
    out = []
    for parameter in inspect.signature(loader).parameters.values():
        if parameter.name in APART:
            continue
        default = "required" if parameter.default is inspect.Parameter.empty else parameter.default
        hint = hints[parameter.name]
        own = [extra for extra in getattr(hint, "__metadata__", ()) if isinstance(extra, str)]
        text = own[0] if own else OWN.get(name, {}).get(parameter.name) or SHARED.get(parameter.name, "")
        out.append(Option(parameter.name, in_words(hint), default, text))
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
    return [words for limit in limits for words in _limits(limit)]


def _limits(limit: Any) -> list[str]:
    """The bound that a piece of metadata sets, in words."""
    if isinstance(limit, Gt):
        return [f"above {limit.gt:g}"]
    if isinstance(limit, Ge):
        return [f"from {limit.ge:g}"]
    if isinstance(limit, Lt):
        return [f"below {limit.lt:g}"]
    # Bounds so far out only keep absurd numbers from the arithmetic.
    bound: Any = limit.le if isinstance(limit, Le) else 1e12
    return [f"to {bound:g}"] if bound < 1e12 else []
