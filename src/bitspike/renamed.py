"""Names that moved or changed, for one release: found where they were, with a warning that says what they are now."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable, Mapping
from typing import Any


def moved(room: str, homes: Mapping[str, str | tuple[str, Callable[[], Any]]]) -> Callable[[str], Any]:
    """`__getattr__` of the module `room`, which finds the names of `homes` where they are now.

    A home is a package that has the name, "module:name" for another name, or (what to write instead, how to get it).
    """

    def found(name: str) -> Any:
        home = homes.get(name)
        if home is None:
            raise AttributeError(f"module '{room}' has no attribute '{name}'")
        if isinstance(home, str):
            module, _, new = home.partition(":")
            said = f"{module}.{new or name}"
        else:
            said, get = home
        warnings.warn(f"{room}.{name} is {said} now; the old name goes with 0.4", FutureWarning, stacklevel=2)
        return getattr(importlib.import_module(module), new or name) if isinstance(home, str) else get()

    return found
