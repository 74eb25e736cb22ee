"""Prophesee EVT 2.0 (`.raw`): little-endian words of 32 bits, of which the upper four say what they are.

0, 1: an event OFF, ON: 6 bits of time, 11 of the column, 11 of the row
8: the upper 28 bits of the time of all events behind it, in 64 us
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import ClassVar

import numpy as np

from bitspike.data.formats.base import Array, Clock, Format, Source, within
from bitspike.data.formats.prophesee import encoding, header, high_words, latest, text
from bitspike.errors import refuse

OFF, ON, TIME, TRIGGER = 0, 1, 8, 10
NAMES = {
    TRIGGER: "external triggers",
    14: "words of the camera's own (others)",
    15: "words of the camera's own (continued)",
}
UNTIMED = "events before the first time of the clock, skipped"


class Evt2(Format):
    """A raw stream of EVT 2.0; other encodings but EVT 3.0 are refused by name."""

    suffixes: ClassVar[tuple[str, ...]] = (".raw",)
    clock: ClassVar = "camera"

    def __init__(self, source: Source, size: tuple[int, int] | None = None) -> None:
        super().__init__(source, size)
        named = encoding(source.peek(1 << 16))
        if named != "2":
            came = f"a raw stream of EVT {named}" if named else "a raw stream that names no encoding"
            refuse(str(source.path), came, "EVT 2.0 or EVT 3.0")
        self.about, self.size = header(source)

    @classmethod
    def recognises(cls, head: bytes, suffix: str) -> bool:
        """By the encoding that its header names."""
        named = encoding(head)
        return named not in (None, "3") or (suffix == ".raw" and named is None and head.startswith(b"% "))

    def parts(self, recording: int = 0) -> Iterator[Array]:
        """Blocks of words; the time that holds at the end of one goes to the next."""
        loops, high = Clock(1 << 28), -1
        for block in self.source.blocks(4, what="a word"):
            raw = np.frombuffer(block, "<u4").astype(np.int64)
            kind = raw >> 28
            at = np.flatnonzero(kind == TIME)
            whole, ran = np.zeros(len(raw), np.int64), Counter[str]()
            whole[at] = loops(raw[at] & 0xFFFFFFF, ran)
            for count in ran.values():
                self.said["times ran over 2^34 us, which are added from there on"] += count
            times = latest(whole, kind == TIME, high)
            high = int(times[-1])
            known = kind <= ON
            for number, count in zip(*np.unique(kind[~known & (kind != TIME)], return_counts=True), strict=True):
                self.said[f"{NAMES.get(int(number), f'words of the unknown type {number}')}, skipped"] += int(count)
            if (early := int((known & (times < 0)).sum())) > 0:
                self.said[UNTIMED] += early
                known &= times >= 0
            raw, times = raw[known], times[known]
            yield self.events(times << 6 | raw >> 22 & 63, raw >> 11 & 0x7FF, raw & 0x7FF, raw >> 28)

    @classmethod
    def write(cls, path: Path, parts: Iterable[Array], size: tuple[int, int]) -> None:
        """At most 2,048 x 2,048 pixels."""
        last = 0
        with path.open("wb") as out:
            out.write(text("2", size))
            np.array([TIME << 28], "<u4").tofile(out)
            for part in parts:
                for name in ("x", "y"):
                    within(name, part[name], 1 << 11)
                high = part["t"] >> 6
                words = (part["p"].astype(np.int64) << 28) | (part["t"] & 63) << 22
                words |= part["x"].astype(np.int64) << 11 | part["y"].astype(np.int64)
                at, times = high_words(high, last, 1 << 26)
                np.insert(words, at, times & 0xFFFFFFF | TIME << 28).astype("<u4").tofile(out)
                last = int(high[-1]) if len(part) else last
