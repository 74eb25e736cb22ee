"""Prophesee `.dat`: lines of text behind %, two bytes (type and size of an event), then little-endian pairs of 32 bits.

time in us | column 14 bits, row 14 bits, polarity 4 bits     (version 2)
time in us | column  9 bits, row  8 bits, polarity 1 bit      (versions 0 and 1)
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import ClassVar

import numpy as np

from bitspike.data.formats.base import Array, Clock, Format, Source, stored, within
from bitspike.data.formats.headers import marked_lines, value_of
from bitspike.errors import refuse

PERIOD = 1 << 32
EVENTS = (0x00, 0x0C)
TRIGGER = 0x0E


class Dat(Format):
    """Change events of a Prophesee camera as pairs of time and address."""

    suffixes: ClassVar[tuple[str, ...]] = (".dat",)

    def __init__(self, source: Source, size: tuple[int, int] | None = None) -> None:
        super().__init__(source, size)
        lines = marked_lines(source, b"%", "% end")
        said = {name: value_of(lines, name) for name in ("Version", "Height", "Width", "Date")}
        self.about = {name.lower(): value for name, value in said.items() if value}
        self.version = said["Version"] or "2"
        if self.version not in ("0", "1", "2"):
            refuse(str(source.path), f".dat of version {self.version}", "version 0, 1 or 2")
        if said["Height"] and said["Width"]:
            self.size = _size(source, said["Height"], said["Width"])
        kind, item = source.take(2, "the header")
        if kind == TRIGGER:
            refuse(str(source.path), "a .dat of external triggers", "one of change events")
        if kind not in EVENTS or item != 8:
            refuse(str(source.path), f"events of type {kind} and {item} bytes", "type 0 or 12 of 8 bytes")

    @classmethod
    def recognises(cls, head: bytes, suffix: str) -> bool:
        """Lines behind % that name no encoding of a raw stream, or that say what the file is."""
        if not head.startswith(b"%"):
            return False
        text = head[:4096].lower()
        return b"% data file containing" in text or (suffix == ".dat" and b"% evt" not in text)

    def parts(self, recording: int = 0) -> Iterator[Array]:
        """Blocks of whole events."""
        clock, first = Clock(PERIOD), self.source.at
        self.source.seek(first)
        for block in self.source.blocks(8):
            raw = np.frombuffer(block, "<u4").reshape(-1, 2)
            address = raw[:, 1].astype(np.int64)
            if self.version == "2":
                x, y, p = address & 0x3FFF, address >> 14 & 0x3FFF, address >> 28
            else:
                x, y, p = address & 0x1FF, address >> 9 & 0xFF, address >> 17 & 1
            yield self.events(clock(raw[:, 0].astype(np.int64), self.said), x, y, p)

    @classmethod
    def write(cls, path: Path, parts: Iterable[Array], size: tuple[int, int]) -> None:
        """Version 2, with the sensor's size."""
        clock, (height, width) = Clock(PERIOD), size
        with path.open("wb") as out:
            text = f"% Data file containing CD events.\n% Version 2\n% Height {height}\n% Width {width}\n"
            out.write(text.encode() + bytes([0x0C, 8]))
            for part in parts:
                for name in ("x", "y"):
                    within(name, part[name], 1 << 14)
                raw = np.empty((len(part), 2), "<u4")
                raw[:, 0] = stored(part["t"], PERIOD, clock)
                raw[:, 1] = (
                    part["x"].astype(np.int64) | part["y"].astype(np.int64) << 14 | part["p"].astype(np.int64) << 28
                )
                raw.tofile(out)


def _size(source: Source, height: str, width: str) -> tuple[int, int]:
    if not (
        height.isdecimal() and width.isdecimal() and 0 < int(height[:9]) < 1 << 14 and 0 < int(width[:9]) < 1 << 14
    ):
        refuse(str(source.path), f"a sensor of {height} x {width}", "rows and columns from 1 to 16,383")
    return int(height), int(width)
