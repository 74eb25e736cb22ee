"""The table of energy constants, `energy_constants.toml`, and the user's own values for it."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from importlib.resources import files

from bitspike.errors import refuse

UNVERIFIED = "unverified"


@dataclass(frozen=True)
class Constant:
    """One entry: `value` in `unit`, where it comes from, and how far it was checked."""

    value: float
    unit: str
    source: str
    status: str

    @property
    def usable(self) -> bool:
        """May joules be computed from it?"""
        return self.status != UNVERIFIED


def constants(overrides: Mapping[str, float] | None = None) -> dict[str, Constant]:
    """The table by name; `overrides` replaces values (in the entry's own unit) and makes them usable."""
    text = files("bitspike.energy").joinpath("energy_constants.toml").read_text(encoding="utf-8")
    table = {name: Constant(**entry) for name, entry in tomllib.loads(text).items()}
    for name, value in (overrides or {}).items():
        if name not in table:
            near = get_close_matches(name, table, n=1)
            refuse("energy constant", repr(name), f"{near[0]!r}" if near else f"one of {', '.join(table)}")
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
            refuse(f"energy constant {name}", value, f"a number of {table[name].unit}, 0 or more")
        table[name] = replace(table[name], value=float(value), source="set by the user", status="set by the user")
    return table
