"""A recording opened: the format found, its events in order of time, part by part or as a whole."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from bitspike import registry
from bitspike.data.formats.base import EVENT, HEAD, Array, Format, Source
from bitspike.errors import refuse
from bitspike.options import Options, read
from bitspike.paths import home

HELD = 1 << 16  # events that wait for earlier ones
LATE = "falls back in time, mended by sorting"


def suffixes() -> frozenset[str]:
    """What names of event files end with, in small letters."""
    return frozenset(ending for name in registry.names("events") for ending in _suffixes(name))


def _suffixes(name: str) -> tuple[str, ...]:
    return tuple(registry.trait("events", name, "suffixes", ()))


def format_of(path: Path | str) -> str:
    """The name of a file's format, by its first bytes (5-byte events, which have no mark of their own: by suffix)."""
    where = home(path, "event file")
    with Source(where) as source:
        return _found(source)


def _found(source: Source) -> str:
    head, suffix = source.peek(HEAD), source.path.suffix.lower()
    known = registry.names("events")
    for name in sorted(known, key=lambda name: bool(getattr(registry.find("events", name), "bare", False))):
        if registry.find("events", name).recognises(head, suffix):
            return name
    came = f"{source.length:,} bytes that begin with {head[:12]!r}" if head else "an empty file"
    refuse(str(source.path), came, f"an event file ({', '.join(known)})")


def _said(source: Source, name: str) -> str:
    """The format that the caller names; one with a mark of its own has to be there."""
    made = registry.find("events", name, "event file format")
    head = source.peek(HEAD)
    if not getattr(made, "bare", False) and not made.recognises(head, source.path.suffix.lower()):
        refuse(str(source.path), f"{source.length:,} bytes that begin with {head[:12]!r}", f"a file of format {name}")
    return name


class EventFile:
    """A recording as it lies on the disk: `for part in file` gives structured arrays (t, x, y, p) in order of time.

    format: its name. size: (height, width) of the sensor that was asked for, or that the file says (`said_size`), None
    without either. about: what its header says.
    notes: what was mended or skipped, known when all of it has been read. recordings: how many are in the file.
    """

    def __init__(
        self,
        path: Path | str,
        *,
        format: str | None = None,
        recording: int | None = None,
        size: tuple[int, int] | None = None,
        **options: Any,
    ) -> None:
        self.path = home(path, "event file")
        if size is not None and not all(isinstance(n, int) and 0 < n <= 1 << 15 for n in size):
            refuse("event file size", size, "(height, width) of the sensor, from 1 to 32,768")
        with Source(self.path) as source:
            self.format = _found(source) if format is None else _said(source, format)
            table = registry.options("events", self.format, "event file format")
            self._options: Options = read(table, options, f"event format '{self.format}'")
            self._asked = size
            made = self._open(source)
            self.size, self.said_size = size or made.size, made.size
            self.about, self.recordings = dict(made.about), made.recordings
            self.clock, self.polarities = made.clock, made.polarities
            self.upward, self.brighter = made.upward, made.brighter
            self.labels = getattr(made, "labels", None)
        if recording is not None and not 0 <= recording < self.recordings:
            refuse(f"{self.path} recording", recording, f"0 to {self.recordings - 1}")
        self._recording = recording
        self._said: Counter[str] = Counter()
        self.extent = (0, 0)

    def _open(self, source: Source) -> Format:
        made: Format = registry.make(self._options, source=source, size=self._asked)
        return made

    @property
    def notes(self) -> tuple[str, ...]:
        """Lines on what was mended or skipped so far."""
        return tuple(f"{count:,} {words}" for words, count in self._said.items())

    @property
    def counts(self) -> dict[str, int]:
        """How often each thing was mended or skipped so far."""
        return dict(self._said)

    def __iter__(self) -> Iterator[Array]:
        """Parts in order of time, each of at least one event; a file without events is refused.

        Events wait for earlier ones among the next 65,536; one that comes later still is refused (`read` sorts them).
        """
        return self._checked(self._sorted())

    def read(self) -> Array:
        """The whole recording, in order of time."""
        parts = list(self._checked(self._raw()))
        events = parts[0] if len(parts) == 1 else np.concatenate(parts)
        if (late := int((np.diff(events["t"]) < 0).sum())) > 0:
            self._said[LATE] += late
            events = events[np.argsort(events["t"], kind="stable")]
        return events

    def _raw(self) -> Iterator[Array]:
        if self._recording is None and self.recordings != 1:
            came = f"{self.recordings:,} recordings"
            refuse(str(self.path), came, "one, or its number: open_events(path, recording=0)")
        with Source(self.path) as source:
            made = self._open(source)
            self._said = made.said
            yield from made.parts(self._recording or 0)

    def _checked(self, parts: Iterator[Array]) -> Iterator[Array]:
        """Those that are not empty, and the largest addresses; none at all is refused."""
        height = width = 0
        for part in parts:
            if len(part):
                height, width = max(height, int(part["y"].max()) + 1), max(width, int(part["x"].max()) + 1)
                self.extent = (height, width)
                yield part
        if height == 0:
            skipped = f" ({'; '.join(self.notes)})" if self.notes else ""
            refuse(str(self.path), f"no event{skipped}", "one or more events")

    def _sorted(self) -> Iterator[Array]:
        held, gone, last = np.empty(0, EVENT), -1, -1
        for part in _gathered(self._raw()):
            t = part["t"]
            if late := int((np.diff(t, prepend=last if last >= 0 else t[0]) < 0).sum()):
                self._said[LATE] += late
            # A part may begin below what waits without a fall of its own: the fall was in the part before.
            unsorted = late > 0 or (len(held) > 0 and t[0] < held["t"][-1])
            last = int(t[-1])
            held = np.concatenate([held, part])
            if unsorted:
                held = held[np.argsort(held["t"], kind="stable")]
            if int(held["t"][0]) < gone:
                came = f"an event at t={held['t'][0]} us, more than {HELD:,} events after one at {gone} us"
                refuse(str(self.path), came, "events less out of order (read_events sorts a whole recording)")
            ready, held = held[:-HELD], held[-HELD:]
            if len(ready):
                gone = int(ready["t"][-1])
                yield ready
        yield held


def _gathered(parts: Iterator[Array]) -> Iterator[Array]:
    """Parts of at least `HELD` events, but for the last: packets may be small."""
    some: list[Array] = []
    count = 0
    for part in parts:
        if len(part):
            some.append(part)
            count += len(part)
        if count >= HELD:
            yield np.concatenate(some)
            some, count = [], 0
    if some:
        yield np.concatenate(some)


def open_events(
    path: Path | str,
    *,
    format: str | None = None,
    recording: int | None = None,
    size: tuple[int, int] | None = None,
    **options: Any,
) -> EventFile:
    """Open a recording: `for part in open_events(path)` goes through it, however long it is.

    format: its name, where its first bytes do not say it. recording: its number in a file of many. size: (height,
    width) of the sensor, where the file says none, or another. options: those of the format.
    """
    return EventFile(path, format=format, recording=recording, size=size, **options)


def read_events(path: Path | str, **asked: Any) -> Array:
    """A whole recording as a structured array (t int64 us, x, y int16, p uint8); arguments as of `open_events`."""
    return EventFile(path, **asked).read()
