"""What the file formats of event cameras share: the events, a file read with bounds, clocks that run over.

A format is one class: it says whether a file is of it (`recognises`), reads the header (`__init__`), gives the events
part by part in the order of the file (`parts`), and writes them (`write`). Everything that is read is checked before it
is believed: what a header declares is compared with what the file holds, and no more than `BLOCK` bytes are read at
once.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Literal, NamedTuple, NoReturn

import numpy as np

from bitspike.errors import refuse
from bitspike.paths import regular

Array = np.ndarray[Any, Any]
# t in microseconds, x the column, y the row (from the top, but where a format says `upward`), p 1 for ON.
EVENT = np.dtype([("t", "<i8"), ("x", "<i2"), ("y", "<i2"), ("p", "u1")])
BLOCK = 1 << 20
HEAD = 1 << 16
WIDEST = 1 << 15
LATEST = 1 << 62
TIME_BOUNDS = "0 to 2^62 us"


class Source:
    """An ordinary file from which no more is read than it holds."""

    def __init__(self, path: Path) -> None:
        regular(path, "event file", "a recording of an event camera")
        self.path = path
        try:
            self._stream = path.open("rb", buffering=0)
            self.length = os.fstat(self._stream.fileno()).st_size
        except OSError as error:
            refuse(str(path), error.strerror or "an error", "a file that can be read")
        self.at = 0

    def __enter__(self) -> Source:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stream.close()

    @property
    def left(self) -> int:
        """Bytes behind the present place."""
        return max(self.length - self.at, 0)

    def seek(self, at: int) -> None:
        """Go on at byte `at`."""
        self.at = at

    def peek(self, count: int) -> bytes:
        """Up to `count` bytes from here, without going on."""
        wanted, pieces = min(count, self.left), []
        try:
            self._stream.seek(self.at)
            while wanted > 0 and (piece := self._stream.read(wanted)):
                pieces.append(piece)
                wanted -= len(piece)
        except OSError as error:
            refuse(str(self.path), error.strerror or "an error", "a file that can be read")
        return b"".join(pieces)

    def take(self, count: int, what: str) -> bytes:
        """The next `count` bytes; a file that has fewer is refused as cut within `what`."""
        content = self.peek(count) if count <= self.left else b""
        if len(content) != count:
            self.cut(what)
        self.at += count
        return content

    def blocks(self, item: int, end: int | None = None, what: str = "an event") -> Iterator[bytes]:
        """What is left (up to byte `end`) in blocks that are multiples of `item` bytes."""
        stop = self.length if end is None else end
        if (stop - self.at) % item:
            self.cut(what)
        most = max(BLOCK // item, 1) * item
        while self.at < stop:
            yield self.take(min(most, stop - self.at), what)

    def cut(self, what: str) -> NoReturn:
        """Refuse a file that ends within something."""
        refuse(str(self.path), f"{self.length:,} bytes, which end within {what}", "a whole file (truncated?)")


class Clock:
    """Times of a counter that begins again at 0 after `period` us: a fall by more than half of it says so."""

    def __init__(self, period: int) -> None:
        self.period, self.words = (
            period,
            f"times ran over 2^{period.bit_length() - 1} us, which are added from there on",
        )
        self._last: int | None = None
        self._added = 0

    def __call__(self, t: Array, said: Counter[str]) -> Array:
        """The times int64 (E,) of a clock that goes on."""
        if len(t) == 0:
            return t
        step = np.diff(t, prepend=t[0] if self._last is None else self._last)
        over = step < -(self.period // 2)
        self._last = int(t[-1])
        if not over.any():
            return t + self._added
        said[self.words] += int(over.sum())
        whole = self._added + self.period * np.cumsum(over, dtype=np.int64)
        self._added = int(whole[-1])
        return np.asarray(t + whole)


class View(NamedTuple):
    """How a camera counts: rows from below (`upward`), and the polarity of a pixel that became brighter."""

    upward: bool = False
    brighter: int | None = 1
    """None: there is one polarity."""

    def __str__(self) -> str:
        return f"rows from {'below' if self.upward else 'above'} and {self.brighter} for brighter"


def turned(part: Array, own: View, wanted: View, height: int, rows: int) -> Array:
    """Events on `height` rows counted as wanted, on a sensor of `rows`; the same array where nothing changes."""
    from_top = height - 1 - part["y"] if own.upward else part["y"]
    flipped = own.upward != wanted.upward or (wanted.upward and rows != height)
    signs = None not in (own.brighter, wanted.brighter) and own.brighter != wanted.brighter
    made = part.copy() if flipped or signs else part
    if flipped:
        made["y"] = rows - 1 - from_top if wanted.upward else from_top
    if signs:
        made["p"] = 1 - part["p"]
    return made


class Format:
    """One open file. `Options`, or the typed keyword parameters of `__init__`, are what it can be asked for.

    suffixes: of such files. clock: what t = 0 is, the recording's begin or the camera's (then counted from the first
    event where a recording is an example). upward: row 0 is the lowest. brighter: the polarity of a pixel that became
    brighter. polarities: P of `Events.shape`. bare: there is no magic, so that every other format is tried first.
    """

    suffixes: ClassVar[tuple[str, ...]] = ()
    clock: ClassVar[Literal["recording", "camera"]] = "recording"
    bare: ClassVar[bool] = False
    polarities: ClassVar[int] = 2
    upward: bool = False
    brighter: int = 1
    recordings: int = 1
    size: tuple[int, int] | None = None

    def __init__(self, source: Source, size: tuple[int, int] | None = None) -> None:
        """size: (height, width) that the caller says; the file's own stands in `self.size`, where it says one."""
        self.source, self.asked = source, size
        self.about: dict[str, str] = {}
        self.said: Counter[str] = Counter()
        self._made = 0

    @classmethod
    def recognises(cls, head: bytes, suffix: str) -> bool:
        """Whether a file that begins with these bytes (and whose name ends so) is of this format; here: by its name."""
        return suffix in cls.suffixes

    @classmethod
    def written(cls, path: Path, size: tuple[int, int]) -> tuple[View, int]:
        """What a file written for a sensor of `size` will be read as: how it counts, and the sensor's height."""
        return View(), size[0]

    def parts(self, recording: int = 0) -> Iterator[Array]:
        """The events in the order of the file, any number at a time; `said` counts what is mended or skipped."""
        raise NotImplementedError

    @classmethod
    def write(cls, path: Path, parts: Iterable[Array], size: tuple[int, int]) -> None:
        """Write events in order of time; those that the format cannot hold are refused."""
        refuse("event format", cls.__name__, "one that can be written")

    def events(self, t: Array, x: Array, y: Array, p: Array) -> Array:
        """`EVENT`s of wide integers (E,); a pixel off the sensor, a time or a polarity that is none is refused."""
        height, width = self.asked or self.size or (WIDEST, WIDEST)
        wrong = (x < 0) | (x >= width) | (y < 0) | (y >= height)
        if wrong.any():
            k = int(wrong.argmax())
            wanted = f"x < {width} and y < {height}" if height < WIDEST else f"columns and rows below {WIDEST:,}"
            refuse(str(self.source.path), f"event {self._made + k} at x={x[k]}, y={y[k]}", wanted)
        for name, values, end, wanted in (
            ("t", t, LATEST, TIME_BOUNDS),
            ("p", p, self.polarities, "a polarity 0 or 1"),
        ):
            wrong = (values < 0) | (values >= end)
            if wrong.any():
                k = int(wrong.argmax())
                refuse(str(self.source.path), f"event {self._made + k} of {name}={values[k]}", wanted)
        made = np.empty(len(t), EVENT)
        made["t"], made["x"], made["y"], made["p"] = t, x, y, p
        self._made += len(t)
        return made


def stored(t: Array, period: int, clock: Clock) -> Array:
    """Times as a counter of `period` us keeps them; refuses times that a reader's `clock` would not find again."""
    kept = t % period
    wrong = clock(kept, Counter()) != t
    if wrong.any():
        k = int(wrong.argmax())
        wanted = (
            f"a first one below {period:,} and no gap of {period // 2:,} us or more (time-slice it, or another format)"
        )
        refuse("events t", f"event {k} at {t[k]}", wanted)
    return kept


def within(name: str, values: Array, end: int) -> None:
    """Refuse values of a field that are not 0 to end - 1."""
    if len(values) and not (int(values.min()) >= 0 and int(values.max()) < end):
        refuse(f"events {name}", f"{int(values.min())} to {int(values.max())}", f"0 to {end - 1}")
