"""Loaders of data sets that may be called by themselves, as `digits()` or `own_folder(path=...)`."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

from bitspike import registry
from bitspike.options import read

Loader = TypeVar("Loader", bound=Callable[..., Any])
USUAL = {"folder": None, "seed": 0, "fold": None}


def by_table(name: str) -> Callable[[Loader], Loader]:
    """What a call leaves out has the default of the set's table of options, which checks the rest."""

    def wrap(loader: Loader) -> Loader:
        known = inspect.signature(loader).parameters

        @wraps(loader)
        def alone(**given: Any) -> Any:
            handed = {key: given.pop(key, usual) for key, usual in USUAL.items() if key in known}
            table = registry.options("data", name)
            return loader(**handed, **registry.fields_of(read(table, given, name)))

        return alone  # type: ignore[return-value]

    return wrap
