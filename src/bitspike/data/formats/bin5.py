"""Address events in 5 bytes (`.bin`), the format of N-MNIST; `bitspike.data.events` says what the bytes mean."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import ClassVar

import numpy as np

from bitspike.data.events import BYTES, END_OF_TIME, MARKER_ROW, MARKER_TIME
from bitspike.data.formats.base import Array, Clock, Format, Source, stored, within
from bitspike.errors import refuse


class Bin5(Format):
    """Column, row, polarity and 23 bits of time; marks of row 240 add 2^13 us. No header: known by its suffix."""

    suffixes: ClassVar[tuple[str, ...]] = (".bin",)
    bare: ClassVar[bool] = True

    def __init__(self, source: Source, size: tuple[int, int] | None = None) -> None:
        super().__init__(source, size)
        if source.length == 0:
            refuse(str(source.path), "0 bytes", "a multiple of 5, one or more events (truncated?)")
        highest = size[0] if size else 0
        if not size:
            # Row 240 is a mark unless there are higher ones, which may come last.
            for block in source.blocks(BYTES):
                highest = max(highest, int(np.frombuffer(block, np.uint8)[1::BYTES].max()))
                if highest > MARKER_ROW:
                    break
            source.seek(0)
        self._marked = highest <= MARKER_ROW

    @classmethod
    def recognises(cls, head: bytes, suffix: str) -> bool:
        """By the suffix alone."""
        return suffix == ".bin"

    def parts(self, recording: int = 0) -> Iterator[Array]:
        """Blocks of whole events."""
        clock, marks = Clock(END_OF_TIME), 0
        for block in self.source.blocks(BYTES):
            raw = np.frombuffer(block, np.uint8).reshape(-1, BYTES)
            t = (raw[:, 2] & 127).astype(np.int64) << 16 | raw[:, 3].astype(np.int64) << 8 | raw[:, 4]
            if self._marked:
                marked = raw[:, 1] == MARKER_ROW
                if marks or marked.any():
                    t += MARKER_TIME * (marks + np.cumsum(marked, dtype=np.int64))
                    marks += int(marked.sum())
                    raw, t = raw[~marked], t[~marked]
            x, y = raw[:, 0].astype(np.int64), raw[:, 1].astype(np.int64)
            yield self.events(clock(t, self.said), x, y, raw[:, 2] >> 7)
        if marks:
            words = f"marks of row {MARKER_ROW}, no pixels: each adds {MARKER_TIME:,} us to the times behind it"
            self.said[words] = marks

    @classmethod
    def write(cls, path: Path, parts: Iterable[Array], size: tuple[int, int]) -> None:
        """At most 256 x 256 pixels, and rows up to 239 or more than 241 of them with events in the last ones."""
        clock, highest = Clock(END_OF_TIME), 0
        with path.open("wb") as out:
            for part in parts:
                for name in ("x", "y"):
                    within(name, part[name], 256)
                highest = max(highest, int(part["y"].max(initial=0)))
                t = stored(part["t"], END_OF_TIME, clock)
                raw = np.empty((len(part), BYTES), np.uint8)
                raw[:, 0], raw[:, 1] = part["x"], part["y"]
                raw[:, 2], raw[:, 3], raw[:, 4] = part["p"].astype(np.int64) << 7 | t >> 16, t >> 8 & 255, t & 255
                raw.tofile(out)
        if highest == MARKER_ROW:
            came = f"{MARKER_ROW} in the last row"
            refuse("events y", came, f"rows up to {MARKER_ROW - 1} (it marks the clock), or more")
