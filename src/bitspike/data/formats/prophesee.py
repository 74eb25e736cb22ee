"""Headers of Prophesee's raw streams (`.raw`): lines of text behind %, of which one names the encoding."""

from __future__ import annotations

import re

import numpy as np

from bitspike.data.formats.base import Array, Source
from bitspike.data.formats.headers import marked_lines, value_of
from bitspike.errors import refuse

ENCODING = re.compile(rb"^% ?(?:evt ([0-9.]+)|format EVT([0-9.]+))", re.MULTILINE | re.IGNORECASE)
# Sizes of the sensors that headers without a size name by their plug-in.
PLUG_INS = {"gen3": (480, 640), "gen31": (480, 640), "gen4": (720, 1280), "gen41": (720, 1280), "imx636": (720, 1280),
            "genx320": (320, 320)}  # fmt: skip
# Words between two events of a long gap: more are refused.
LONGEST = 1 << 20


def encoding(head: bytes) -> str | None:
    """The encoding that a header names: "2", "2.1", "3", ...; None where the bytes are no such header."""
    found = ENCODING.search(head) if head.startswith(b"%") else None
    if found is None:
        return None
    said = (found[1] or found[2]).decode().rstrip(".")
    return {"21": "2.1"}.get(said, said.removesuffix(".0"))


def header(source: Source) -> tuple[dict[str, str], tuple[int, int] | None]:
    """What the header says, and the sensor's (height, width) where it says that; the place is behind it then."""
    lines = marked_lines(source, b"%", "% end")
    about = {
        word: value
        for name, word in (("Date", "date"), ("system_ID", "system"), ("plugin_name", "plug-in"))
        if (value := value_of(lines, name))
    }
    size = None
    geometry = re.search(r"(\d{1,6}) ?x ?(\d{1,6})", value_of(lines, "geometry") or "")
    named = value_of(lines, "format") or ""
    rows, columns = (re.search(rf"{name}=(\d{{1,6}})", named) for name in ("height", "width"))
    if geometry:
        size = int(geometry[2]), int(geometry[1])
    elif rows and columns:
        size = int(rows[1]), int(columns[1])
    elif found := re.search(r"(?:^|_)(genx320|gen31|gen3|gen41|gen4|imx636)(?:_|$)", about.get("plug-in", "")):
        size = PLUG_INS[found[1]]
        about["sensor"] = f"of {found[1]}, by the name of the plug-in"
    if size and not (0 < size[0] <= 2048 and 0 < size[1] <= 2048):
        refuse(str(source.path), f"a sensor of {size[0]} x {size[1]}", "rows and columns from 1 to 2,048")
    return about, size


def text(kind: str, size: tuple[int, int]) -> bytes:
    """A header for a stream of encoding "2" or "3"."""
    height, width = size
    lines = [f"% evt {kind}.0", f"% format EVT{kind};height={height};width={width}", f"% geometry {width}x{height}"]
    return "\n".join([*lines, "% end", ""]).encode()


def latest(values: Array, known: Array, before: int) -> Array:
    """For each place the value at the last place up to it that is `known` (bool (N,)); `before` where there is none."""
    last = np.maximum.accumulate(np.where(known, np.arange(len(known)), -1))
    return np.where(last >= 0, values[last], before)


def high_words(high: Array, last: int, step: int) -> tuple[Array, Array]:
    """For events whose high parts of time are `high` (E,), after one of `last`: the words that lead to each.

    Before which events they stand, and their high parts, so that no two said one after the other are more than `step`
    apart: a reader sees the counter run over.
    """
    change = np.diff(high, prepend=last)
    count = -(-change // step)
    if len(count) and int(count.max()) > LONGEST:
        k = int(count.argmax())
        refuse(
            "events t", f"{int(change[k]):,} steps of the clock at event {k}", "a first time near 0, and no such gap"
        )
    at = np.repeat(np.arange(len(high)), count)
    which = np.arange(len(at)) - np.repeat(np.cumsum(count) - count, count)
    return at, np.minimum((high - change)[at] + step * (which + 1), high[at])
