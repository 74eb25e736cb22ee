"""What a kind of measurement of a finished run is: its file, how it is made, what is printed and drawn of it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

from bitspike import registry
from bitspike.errors import refuse
from bitspike.reports.rundata import RunData
from bitspike.reports.sections import Section
from bitspike.reports.totals import totals

OF_A_RUN = ("environment.json", "result.json")
FILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*\.json")
Progress = Callable[[int, int], None] | None


class Measurement:
    """One entry of the room "measurement"; an own class says `file`, and is made of its options.

    account: the title of its energy account on the page, where what it found has one under "energy".
    """

    file: ClassVar[str]
    account: ClassVar[str] = ""

    @classmethod
    def takes(cls, run: Any) -> bool:
        """Whether it can be made of this `Run`."""
        return True

    def measure(self, run: Any, part: str, data: Path | None = None, progress: Progress = None) -> dict[str, Any]:
        """Plain values, to be stored as `file`. part: train, validation or test; progress: examples done, and all."""
        raise NotImplementedError

    def lines(self, found: dict[str, Any]) -> Iterator[str]:
        """What the command prints: a line on what was measured, then readings."""
        yield "measured"
        for name, value in found.items():
            if isinstance(value, int | float):
                yield reading(name, f"{value:.4g}")

    @classmethod
    def check(cls, found: dict[str, Any], place: str) -> None:
        """Refuse content of the file that cannot be shown; before, numbers were checked, and names that are known."""

    @classmethod
    def sections(cls, run: RunData, found: dict[str, Any]) -> list[Section]:
        """What the page shows of it."""
        return []


def file_of(name: str) -> str:
    """The file that a measurement leaves; what would overwrite the run's own, or another measurement's, is refused."""
    files = {k: registry.trait("measurement", k, "file", f"{k}.json") for k in registry.names("measurement")}
    file = files.pop(name)
    if not isinstance(file, str) or not FILE.fullmatch(file) or file in (*OF_A_RUN, *files.values()):
        refuse(f"measurement '{name}' file", repr(file), "a name of its own that ends with .json, without a folder")
    return file


def check_plain(name: str, found: Any) -> None:
    """Refuse what a JSON file cannot hold, and the command not print."""
    wanted = "a dict of plain values: finite numbers, text, lists, dicts"
    if not isinstance(found, dict):
        refuse(f"measurement '{name}'", f"a {type(found).__name__}", wanted)
    try:
        json.dumps(found, allow_nan=False)
    except (TypeError, ValueError) as error:
        refuse(f"measurement '{name}'", error, wanted)


def reading(name: str, text: str) -> str:
    """One reading as the command prints it."""
    return f"{name:<16} {text}"


def energy_lines(account: dict[str, Any]) -> Iterator[str]:
    """What an answer costs and where spikes stop winning, in a few lines."""
    found = {name: f"{1e9 * value:,.1f} nJ" for name, value in totals(account).items()}
    beside = f"{found['opponent']} at the same bits, {found['skipping']} with zeros skipped, {found['twin']} in float32"
    yield reading("energy", f"{found['network']}; without spikes {beside} (45 nm arithmetic and neurons, analytic)")
    cross = account["cross_over"].get("arithmetic and neurons")
    if cross is not None:
        ends = "spikes cost more at any number" if cross["at"] is None else f"stops winning at {cross['at']:.3g}"
        yield reading("per synapse", f"{cross['here']:.3g} spikes; {ends}")
