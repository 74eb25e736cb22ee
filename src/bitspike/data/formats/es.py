"""Event Stream (`.es`): time as steps from event to event, kept in one byte or less.

Version 2, 5 bytes an event: 7 bits of time with the polarity below them, then column and row in 16 bits each. Byte 255
adds 127 us, byte 254 does nothing. Version 1, 3 bytes: 4 bits of time, column 10 bits, row 9 bits, polarity; a byte
whose lower half is 15 adds 15 us as often as its upper half says. Rows are counted from below; version 1 knows no size,
so that they stay so.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import ClassVar

import numpy as np

from bitspike.data.formats.base import Array, Format, Source, within
from bitspike.errors import refuse

MAGIC = b"Event Stream"
KINDS = {
    1: ("DVS", "ATIS", "display", "colour", "generic"),
    2: ("generic", "DVS", "ATIS", "display", "colour"),
}
WINDOW = 1 << 16
LONGEST = 1 << 24  # marks of one gap that a writer makes


class EventStream(Format):
    """DVS events of version 1.0 or 2."""

    suffixes: ClassVar[tuple[str, ...]] = (".es",)

    def __init__(self, source: Source, size: tuple[int, int] | None = None) -> None:
        super().__init__(source, size)
        source.take(len(MAGIC), "the header")
        major, minor = source.take(2, "the header")
        if major not in KINDS or (major == 1 and minor):
            refuse(str(source.path), f"Event Stream of version {major}.{minor}", "version 1.0 or 2")
        if major == 2:
            source.take(1, "the header")
        kind = source.take(1, "the header")[0]
        names = KINDS[major]
        name = names[kind] if kind < len(names) else f"unknown ({kind})"
        if name != "DVS":
            refuse(str(source.path), f"an Event Stream of {name} events", "one of DVS events")
        self.major, self.about = major, {"version": f"{major}.{minor}"}
        if major == 2:
            width, height = np.frombuffer(source.take(4, "the header"), "<u2").tolist()
            if not (0 < width <= 1 << 15 and 0 < height <= 1 << 15):
                refuse(str(source.path), f"a sensor of {height} x {width}", "rows and columns from 1 to 32,768")
            self.size = height, width
        self.upward = major == 1

    @classmethod
    def recognises(cls, head: bytes, suffix: str) -> bool:
        """By its first twelve bytes."""
        return head.startswith(MAGIC)

    def parts(self, recording: int = 0) -> Iterator[Array]:
        """Windows of bytes; an event that a window cuts goes to the next."""
        bytes_of = 5 if self.major == 2 else 3
        rest, now, whole = b"", 0, True
        while self.source.left or not whole:
            rest += self.source.take(min(WINDOW, self.source.left), "an event")
            raw = np.frombuffer(rest, np.uint8)
            marks = raw >= 254 if self.major == 2 else (raw & 15) == 15
            heads = _heads(np.where(marks, 1, bytes_of))
            # Of the last head it is not known whether its event is here as a whole.
            used = len(raw)
            if len(heads) and not marks[heads[-1]] and heads[-1] + bytes_of > len(raw):
                used = int(heads[-1])
                heads = heads[:-1]
            whole = used == len(raw)
            if not self.source.left and not whole:
                self.source.cut("an event")
            if len(heads):
                marked, first = marks[heads], raw[heads].astype(np.int64)
                if self.major == 2:
                    step = np.where(marked, 127 * (first == 255), first >> 1)
                else:
                    step = np.where(marked, 15 * (first >> 4), first & 15)
                t = now + np.cumsum(step)
                now = int(t[-1])
                at, first, t = heads[~marked], first[~marked], t[~marked]
                yield self._events(raw, at, first, t)
            rest = rest[used:]

    def _events(self, raw: Array, at: Array, first: Array, t: Array) -> Array:
        second, third = raw[at + 1].astype(np.int64), raw[at + 2].astype(np.int64)
        if self.major == 1:
            x, y = first >> 4 | (second & 63) << 4, second >> 6 | (third & 127) << 2
            return self.events(t, x, y, third >> 7)
        x, y = second | third << 8, raw[at + 3].astype(np.int64) | raw[at + 4].astype(np.int64) << 8
        return self.events(t, x, (self.size or (0, 0))[0] - 1 - y, first & 1)

    @classmethod
    def write(cls, path: Path, parts: Iterable[Array], size: tuple[int, int]) -> None:
        """Version 2; time goes from 0 to the first event, so that a camera's own clock is refused."""
        now, (height, width) = 0, size
        within("size", np.array(size) - 1, 1 << 15)
        with path.open("wb") as out:
            out.write(MAGIC + bytes([2, 0, 0, 1]) + np.array([width, height], "<u2").tobytes())
            for part in parts:
                step = np.diff(part["t"], prepend=now)
                now = int(part["t"][-1]) if len(part) else now
                marks = step // 127
                if len(part) and int(marks.max()) > LONGEST:
                    wanted = f"steps of at most {127 * LONGEST:,} us (count t from the first event)"
                    refuse("events t", f"a step of {int(step.max()):,} us", wanted)
                ends = np.cumsum(marks + 5)
                raw = np.full(int(ends[-1]) if len(part) else 0, 255, np.uint8)
                raw[ends - 5] = (step % 127) << 1 | part["p"]
                for k, values in ((4, part["x"]), (2, height - 1 - part["y"].astype(np.int64))):
                    raw[ends - k] = values & 255
                    raw[ends - k + 1] = values >> 8
                raw.tofile(out)


def _heads(stride: Array) -> Array:
    """Where bytes begin something: 0, and from each of these so many bytes on as `stride` (N,) says, below N.

    Jumps of 1, 2, 4, ... strides mark twice as many of them each time.
    """
    end = len(stride)
    jump = np.append(np.minimum(np.arange(end) + stride, end), end)
    reached = np.zeros(end + 1, bool)
    reached[0] = True
    count = 0
    while (now := int(np.count_nonzero(reached))) != count:
        count = now
        reached[jump[np.flatnonzero(reached)]] = True
        jump = jump[jump]
    return np.flatnonzero(reached[:end])
