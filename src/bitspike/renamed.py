"""Names that moved to another room, for one release: found where they were, with a warning that says where they are."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable, Mapping
from typing import Any


def moved(room: str, homes: Mapping[str, str]) -> Callable[[str], Any]:
    """`__getattr__` of the package `room`, which finds the names of `homes` in the packages they moved to."""

    def found(name: str) -> Any:
        home = homes.get(name)
        if home is None:
            raise AttributeError(f"module '{room}' has no attribute '{name}'")
        warnings.warn(f"{room}.{name} is {home}.{name} now; the old name goes with 0.4", FutureWarning, stacklevel=2)
        return getattr(importlib.import_module(home), name)

    return found
