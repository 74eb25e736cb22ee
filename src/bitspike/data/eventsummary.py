"""What a recording holds, found in two passes over its parts: numbers, a rate over time, an image, a few frames."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from bitspike.data.formats import EventFile
from bitspike.data.formats.base import Array

BINS = 160
FRAMES = 40
SIDE = 240
MAPPED = 1 << 24  # pixels of which a map is kept; of larger sensors the addresses that were seen

# Who says how large the sensor is, and how that is put behind its size.
SAID_BY = {"file": "", "caller": ", as asked for", "largest addresses": ", by the largest addresses"}


@dataclass(frozen=True)
class Summary:
    """Numbers of a recording; times in us.

    sensor: (height, width), the caller's, the file's or the largest addresses + 1 (`told` says which). skipped: what
    was mended or skipped, and how often. rate: events of each polarity in `BINS` equal parts of the duration, (2,
    BINS). image: of each pixel, or of `scale` x `scale` of them, (2, h, w). frames: the same for `FRAMES` equal parts,
    (FRAMES, 2, h, w). lines: of a sensor of one row, its pixels over time (SIDE at most, 2 BINS). Rows are counted
    from the top, and polarity 1 is brighter, whatever the file has.
    """

    name: str
    format: str
    sensor: tuple[int, int]
    told: Literal["file", "caller", "largest addresses"]
    about: dict[str, str]
    skipped: dict[str, int]
    events: int
    first: int
    last: int
    on: int
    active: int
    polarities: int
    scale: int
    rate: Array
    image: Array
    frames: Array
    lines: Array | None

    @property
    def seconds(self) -> float:
        """From the first event to the last."""
        return (self.last - self.first) / 1e6

    @property
    def per_second(self) -> float | None:
        """Events a second; None where all are at the same time."""
        return self.events / self.seconds if self.last > self.first else None

    def to_dict(self) -> dict[str, Any]:
        """The numbers, as plain JSON values."""
        height, width = self.sensor
        return {
            "file": self.name,
            "format": self.format,
            "sensor": {"height": height, "width": width, "said_by": self.told},
            "events": self.events,
            "first_us": self.first,
            "last_us": self.last,
            "duration_s": self.seconds,
            "events_per_second": self.per_second,
            "on_share": self.on / self.events if self.polarities == 2 else None,
            "active_pixels": self.active,
            "active_share": self.active / (height * width),
            "mended_or_skipped": self.skipped,
            "header": self.about,
        }


def summarise(file: EventFile) -> Summary:
    """Go through a recording twice; memory does not grow with its length."""
    events = on = 0
    first = last = None
    for part in file:
        events, on = events + len(part), on + int((part["p"] == file.brighter).sum())
        first = int(part["t"][0]) if first is None else first
        last = int(part["t"][-1])
    assert first is not None
    assert last is not None
    skipped = file.counts
    sensor = file.size or file.extent
    height, width = sensor
    scale = -(-max(sensor) // SIDE)
    h, w = -(-height // scale), -(-width // scale)
    rate, image = np.zeros((2, BINS), np.int64), np.zeros((2, h, w), np.int64)
    frames = np.zeros((FRAMES, 2, h, w), np.int32)
    lines = np.zeros((min(width, SIDE), 2 * BINS), np.int64) if height == 1 else None
    seen = _Seen(height * width)
    for part in file:
        x, y, p = part["x"].astype(np.int64), part["y"].astype(np.int64), part["p"].astype(np.int64)
        p = p if file.brighter else 1 - p
        seen.add(y * width + x)
        # A share of the duration: times may be too large to multiply.
        share = (part["t"] - first) / (last - first + 1)
        rate += _counted(p, _nth(share, BINS), shape=rate.shape)
        row = (height - 1 - y if file.upward else y) // scale
        image += _counted(p, row, x // scale, shape=image.shape)
        now = _nth(share, FRAMES)
        for k in range(int(now[0]), int(now[-1]) + 1):
            some = now == k
            frames[k] += _counted(p[some], row[some], x[some] // scale, shape=image.shape)
        if lines is not None:
            lines += _counted(x * len(lines) // width, _nth(share, 2 * BINS), shape=lines.shape)
    return Summary(
        name=file.path.name,
        format=file.format,
        sensor=sensor,
        told=_told(file),
        about=file.about,
        skipped=skipped,
        events=events,
        first=first,
        last=last,
        on=on,
        active=seen.count(),
        polarities=file.polarities,
        scale=scale,
        rate=rate,
        image=image,
        frames=frames,
        lines=lines,
    )


def _told(file: EventFile) -> Literal["file", "caller", "largest addresses"]:
    """Who says the sensor's size."""
    if file.size is None:
        return "largest addresses"
    return "file" if file.size == file.said_size else "caller"


def _nth(share: Array, parts: int) -> Array:
    """Of so many equal parts, the one in which a share lies; rounding takes none behind the last."""
    return np.minimum((share * parts).astype(np.int64), parts - 1)


def _counted(*places: Array, shape: tuple[int, ...]) -> Array:
    """How often each place of an array of `shape` comes."""
    flat = np.ravel_multi_index(places, shape)
    return np.bincount(flat, minlength=int(np.prod(shape))).reshape(shape)


class _Seen:
    """Which of `pixels` pixels had an event."""

    def __init__(self, pixels: int) -> None:
        self._map = np.zeros(pixels, bool) if pixels <= MAPPED else None
        self._some = np.zeros(0, np.int64)

    def add(self, which: Array) -> None:
        """Note these."""
        if self._map is None:
            self._some = np.union1d(self._some, which)
        else:
            self._map[which] = True

    def count(self) -> int:
        """How many different ones."""
        return len(self._some) if self._map is None else int(self._map.sum())
