"""Data sets by name: `load(name)`; new input for a trained network: `prepare(source, form)`.

A data set is a function or a class in the room "data" of the registry: its options, and `folder`, `seed` and `fold`
where it has parameters of these names, to a `DataSet` (a class: by its method `load`). Beside that it may say
`generated` (it is drawn anew for every seed), `where()` (its files are, in words), and `prepare(source, form)` and
`prepare_labelled(source, form, classes)` (what it reads anew, where these two are not the ones of this package).
"""

from __future__ import annotations

import inspect
import operator
from dataclasses import replace
from pathlib import Path
from typing import Any

from bitspike import registry
from bitspike.data.base import DataSet, Events, Split
from bitspike.data.events import read_recordings, write_events
from bitspike.data.mean_image import centred
from bitspike.data.normalise import rescale, restore
from bitspike.data.own import check_own
from bitspike.data.prepare import ends, prepare, prepare_labelled
from bitspike.data.sameness import equal_examples
from bitspike.data.sources import find_file, find_folder
from bitspike.data.toy import two_moons_grid
from bitspike.errors import refuse
from bitspike.options import read
from bitspike.options.words import Option, described

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
    "trait",
    "two_moons_grid",
    "where",
    "write_events",
]

FIELD = "data set"


def names() -> tuple[str, ...]:
    """The names `load` knows."""
    return tuple(registry.names("data"))


def options(name: str) -> tuple[str, ...]:
    """The options of the set `name`, beside folder and seed."""
    return tuple(registry.options("data", name, FIELD).model_fields)


def describe_options(name: str) -> list[Option]:
    """Name, type, default and text of every option of the set `name`, as `data.options` of a recipe takes them."""
    return described(registry.options("data", name, FIELD))


def trait(name: str, attribute: str, default: Any) -> Any:
    """What the set `name` says of itself: an attribute of its options, or of a class (or function) of one's own."""
    registry.entry("data", name, FIELD)
    return registry.trait("data", name, attribute, default)


def where(name: str) -> str:
    """Where the files of the set `name` are found, or how to get them, in words."""
    if (said := trait(name, "where", None)) is not None:
        return str(said())
    folders, files = trait(name, "folders", ()), trait(name, "files", ())
    found = {file: find_file(file, folders, None) for file in files}
    if absent := [f"'{folders[0]}/{file}'" for file, path in found.items() if path is None]:
        return f"not found: put {' and '.join(absent)} into BITSPIKE_DATA"
    if found:
        return ", ".join(dict.fromkeys(str(path.parent) for path in found.values() if path is not None))
    otherwise = trait(name, "otherwise", f"by {registry.entry('data', name).home}")
    return str(find_folder(folders, None) or otherwise or f"not found: put '{folders[0]}' into BITSPIKE_DATA")


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
    table, made = registry.options("data", name, FIELD), registry.find("data", name)
    try:
        seed = operator.index(seed)
    except TypeError:
        refuse("data seed", repr(seed), "a whole number")
    loader: Any = getattr(made, "load", made)
    if fold is not None:
        number, folds = fold
        if folds < 2 or not 1 <= number <= folds:
            refuse("data.fold", f"{number} of {folds} folds", "a fold from 1 to the number of folds, 2 or more")
        if "fold" not in inspect.signature(loader).parameters:
            refuse("data.folds", f"{folds} for {name}", "it left out: the set has a test part of its own")
    choices |= {key: value for key, value in (("validation", validation), ("test", test)) if value is not None}
    chosen = registry.fields_of(read(table, choices, name))
    given = {"folder": folder, "seed": seed, "fold": fold}
    loaded = registry.called(made, chosen, given)
    if isinstance(made, type):
        loaded = registry.called(loaded.load, {}, given)
    if not isinstance(loaded, DataSet):
        refuse(f"data set '{name}'", type(loaded).__name__, "a bitspike.data.DataSet")
    if registry.entry("data", name, FIELD).is_own:
        check_own(loaded, name)
    notes = (*loaded.notes, *loaded.missing_classes(), *equal_examples(loaded))
    return replace(loaded, name=name, notes=notes)
