"""Data sets by name: `load(name)`; new input for a trained network: `prepare(source, form)`."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from bitspike.data.base import DataSet, Events, Split
from bitspike.data.cifar import cifar10, cifar100
from bitspike.data.digits import digits
from bitspike.data.events import read_recordings, write_events
from bitspike.data.folder import own_folder
from bitspike.data.mackey_glass import mackey_glass
from bitspike.data.mean_image import centred
from bitspike.data.mnist import fashion_mnist, mnist
from bitspike.data.nmnist import nmnist
from bitspike.data.normalise import rescale, restore
from bitspike.data.options import APART, Option, described
from bitspike.data.prepare import ends, prepare, prepare_labelled
from bitspike.data.sameness import equal_examples
from bitspike.data.svhn import svhn
from bitspike.data.toy import regression_1d, two_moons, two_moons_grid
from bitspike.errors import refuse

__all__ = [
    "DataSet",
    "Events",
    "Option",
    "Split",
    "centred",
    "describe_options",
    "ends",
    "load",
    "names",
    "options",
    "prepare",
    "prepare_labelled",
    "read_recordings",
    "rescale",
    "restore",
    "two_moons_grid",
    "write_events",
]

_LOADERS: dict[str, Callable[..., DataSet]] = {
    "digits": digits,
    "two-moons": two_moons,
    "regression-1d": regression_1d,
    "mackey-glass": mackey_glass,
    "mnist": mnist,
    "fashion-mnist": fashion_mnist,
    "cifar10": cifar10,
    "cifar100": cifar100,
    "svhn": svhn,
    "nmnist": nmnist,
    "folder": own_folder,
}


def names() -> tuple[str, ...]:
    """The names `load` knows."""
    return tuple(_LOADERS)


def options(name: str) -> tuple[str, ...]:
    """The options of the set `name`, beside folder and seed."""
    return tuple(p for p in inspect.signature(_loader(name)).parameters if p not in APART)


def describe_options(name: str) -> list[Option]:
    """Name, type, default and text of every option of the set `name`, as `data.options` of a recipe takes them."""
    return described(name, _loader(name))


def _loader(name: str) -> Callable[..., DataSet]:
    if name not in _LOADERS:
        refuse("data set", repr(name), f"one of {', '.join(_LOADERS)}")
    return _LOADERS[name]


def load(
    name: str,
    *,
    folder: Path | None = None,
    seed: int = 0,
    validation: float | None = None,
    test: float | None = None,
    fold: tuple[int, int] | None = None,
    **choices: Any,
) -> DataSet:
    """The data set `name`, split by `seed`.

    fold: (k, of n): the k-th of n disjoint test parts, which together hold every example once.

    folder: where files are looked for, and then only there; else BITSPIKE_DATA, else a download of sets
    with a listed SHA-256. validation, test: below 1 a share (of the training part, of all), else a number of
    examples; each set has its default, and one with a test part of its own takes no `test`. `choices` are the
    set's own options (`options(name)`), checked by name and type. `notes` name each class that is missing in a split or
    whose examples are all equal.
    """
    from pydantic import ValidationError, validate_call

    known, loader = options(name), _LOADERS[name]
    if fold is not None:
        number, folds = fold
        if folds < 2 or not 1 <= number <= folds:
            refuse("data.fold", f"{number} of {folds} folds", "a fold from 1 to the number of folds, 2 or more")
        if "fold" not in inspect.signature(loader).parameters:
            refuse("data.folds", f"{folds} for {name}", "it left out: the set has a test part of its own")
        choices["fold"] = fold
    given = {"validation": validation, "test": test}
    choices |= {option: value for option, value in given.items() if value is not None}
    for option, value in choices.items():
        if option not in known and option != "fold":
            refuse(f"{name} option {option}", value, f"one of the options {', '.join(known)}")
    if name not in ("digits", "two-moons", "regression-1d", "mackey-glass"):
        choices["folder"] = folder
    try:
        loaded = validate_call(loader)(seed=seed, **choices)
    except ValidationError as error:
        first = error.errors()[0]
        option = ".".join(str(part) for part in first["loc"])
        came = "nothing" if first["type"].startswith("missing") else repr(first["input"])
        wanted = "a value" if came == "nothing" else first["msg"].removeprefix("Input should be ")
        refuse(f"{name} option {option}", came, wanted)
    return replace(loaded, notes=(*loaded.notes, *loaded.missing_classes(), *equal_examples(loaded)))
