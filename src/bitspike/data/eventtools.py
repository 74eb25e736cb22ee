"""Small tools on events: part of a recording's time or sensor, a coarser sensor, noise left out.

Each takes a structured array (t, x, y, p) in order of time and gives one; `Events`, recording by recording, and gives
`Events`; or parts of a recording, as `open_events` gives them, and gives parts: a recording of any length goes through.

    parts = denoise(crop(open_events("night.raw"), x=(0, 128), y=(0, 128)), dt=5_000)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import overload

import numpy as np

from bitspike.data.base import Events
from bitspike.data.eventfiles import as_events
from bitspike.data.formats import EVENT, arrays, structured
from bitspike.data.formats.base import LATEST, WIDEST, Array
from bitspike.errors import refuse

Made = Callable[[], Callable[[Array], Array]]
Shape = Callable[[tuple[int, int, int]], tuple[int, int, int]]
AROUND = [(dx, dy) for dx in (-1, 0, 1) for dy in (-1, 0, 1) if (dx, dy) != (0, 0)]
WIDE = 1 << 16  # columns of a row with room for neighbours


@overload
def time_slice(events: Array, start: int, stop: int, *, from_zero: bool = True) -> Array: ...
@overload
def time_slice(events: Events, start: int, stop: int, *, from_zero: bool = True) -> Events: ...
@overload
def time_slice(events: Iterable[Array], start: int, stop: int, *, from_zero: bool = True) -> Iterator[Array]: ...
def time_slice(
    events: Array | Events | Iterable[Array], start: int, stop: int, *, from_zero: bool = True
) -> Array | Events | Iterator[Array]:
    """The events with start <= t < stop (us); from_zero: their times are then counted from `start`."""
    _whole("time_slice start", start)
    _whole("time_slice stop", stop)
    if not start < stop:
        refuse("time_slice stop", stop, f"more than start, {start}")

    def one(part: Array) -> Array:
        _in_order("time_slice", part)
        first, last = np.searchsorted(part["t"], (start, stop))
        kept = part[first:last].copy()
        if from_zero:
            kept["t"] -= start
        return kept

    if isinstance(events, np.ndarray | Events):
        return _applied(events, lambda: one, lambda shape: shape)

    def streamed(parts: Iterable[Array]) -> Iterator[Array]:
        last = None
        for given in parts:
            part = structured(given)
            last = _in_order("time_slice", part, last)
            if len(kept := one(part)):
                yield kept
            if len(part) and int(part["t"][-1]) >= stop:
                return

    return streamed(events)


def windows(events: Array | Iterable[Array], span: int, start: int | None = None) -> Iterator[Array]:
    """A recording or stream cut into windows of `span` us, one after the other, each with times from its own begin.

    start: of the first window (default the first event's time); what comes before is left out. Windows without events
    come too, up to that of the last event.
    """
    _whole("windows span", span)
    if span < 1:
        refuse("windows span", span, "1 us or more")
    if start is not None:
        _whole("windows start", start)
    last = None
    held: list[Array] = []
    begin = start
    for given in [events] if isinstance(events, np.ndarray) else events:
        part = structured(given)
        last = _in_order("windows", part, last)
        if len(part) == 0:
            continue
        begin = int(part["t"][0]) if begin is None else begin
        part = part[np.searchsorted(part["t"], begin) :]
        while len(part) and int(part["t"][-1]) >= begin + span:
            end = int(np.searchsorted(part["t"], begin + span))
            yield _from(np.concatenate([*held, part[:end]]), begin)
            held, part, begin = [], part[end:], begin + span
        held.append(part)
    if begin is not None and any(len(part) for part in held):
        yield _from(np.concatenate(held), begin)


def _from(part: Array, begin: int) -> Array:
    part["t"] -= begin
    return part


@overload
def crop(events: Array, *, x: tuple[int, int], y: tuple[int, int]) -> Array: ...
@overload
def crop(events: Events, *, x: tuple[int, int], y: tuple[int, int]) -> Events: ...
@overload
def crop(events: Iterable[Array], *, x: tuple[int, int], y: tuple[int, int]) -> Iterator[Array]: ...
def crop(
    events: Array | Events | Iterable[Array], *, x: tuple[int, int], y: tuple[int, int]
) -> Array | Events | Iterator[Array]:
    """The events of columns x[0] <= x < x[1] and rows y[0] <= y < y[1]; pixel (x[0], y[0]) becomes (0, 0)."""
    for name, span in (("x", x), ("y", y)):
        whole = len(span) == 2 and all(isinstance(n, int | np.integer) for n in span)
        if not whole or not 0 <= span[0] < span[1] <= WIDEST:
            refuse(f"crop {name}", span, f"(first, end) with 0 <= first < end, at most {WIDEST:,}")

    def one(part: Array) -> Array:
        inside = (part["x"] >= x[0]) & (part["x"] < x[1]) & (part["y"] >= y[0]) & (part["y"] < y[1])
        kept = part[inside]
        kept["x"] -= x[0]
        kept["y"] -= y[0]
        return kept

    def shape(old: tuple[int, int, int]) -> tuple[int, int, int]:
        if x[1] > old[2] or y[1] > old[1]:
            refuse(
                "crop", f"columns up to {x[1]} and rows up to {y[1]}", f"at most {old[2]} and {old[1]}, the sensor's"
            )
        return old[0], y[1] - y[0], x[1] - x[0]

    return _applied(events, lambda: one, shape)


@overload
def downsample(events: Array, factor: int) -> Array: ...
@overload
def downsample(events: Events, factor: int) -> Events: ...
@overload
def downsample(events: Iterable[Array], factor: int) -> Iterator[Array]: ...
def downsample(events: Array | Events | Iterable[Array], factor: int) -> Array | Events | Iterator[Array]:
    """Every event on a sensor whose pixels are `factor` x `factor` of the old: (x // factor, y // factor)."""
    _whole("downsample factor", factor)
    if not 1 <= factor < WIDEST:
        refuse("downsample factor", factor, f"1 to {WIDEST - 1:,} pixels")

    def one(part: Array) -> Array:
        made = part.copy()
        made["x"] //= factor
        made["y"] //= factor
        return made

    def shape(old: tuple[int, int, int]) -> tuple[int, int, int]:
        return old[0], -(-old[1] // factor), -(-old[2] // factor)

    return _applied(events, lambda: one, shape)


@overload
def denoise(events: Array, dt: int) -> Array: ...
@overload
def denoise(events: Events, dt: int) -> Events: ...
@overload
def denoise(events: Iterable[Array], dt: int) -> Iterator[Array]: ...
def denoise(events: Array | Events | Iterable[Array], dt: int) -> Array | Events | Iterator[Array]:
    """Background activity left out: an event stays if one of its 8 neighbours had one in the `dt` us before it.

    Events of the pixel itself do not count (a hot pixel supports nobody), those at the same time do where they stand
    before it.
    """
    _whole("denoise dt", dt)
    if dt < 1:
        refuse("denoise dt", dt, "1 us or more")
    if dt > LATEST:
        refuse("denoise dt", dt, f"at most {LATEST} us")
    return _applied(events, lambda: _Background(dt), lambda shape: shape)


class _Background:
    """Which events have support, part by part: the last `dt` us of events stay at hand."""

    def __init__(self, dt: int) -> None:
        self.dt, self.before = dt, np.empty(0, EVENT)

    def __call__(self, part: Array) -> Array:
        if len(part) == 0:
            return part
        _in_order("denoise", part, int(self.before["t"][-1]) if len(self.before) else None)
        both = np.concatenate([self.before, part])
        t, count = both["t"], len(both)
        # Pixel and place in one number, sorted: the last event of a pixel before place i is found by bisection.
        pixel = (both["y"].astype(np.int64) + 1) * WIDE + both["x"] + 1
        place = np.arange(count)
        keys = np.sort(pixel * count + place)
        supported = np.zeros(count, bool)
        for dx, dy in AROUND:
            wanted = pixel + dy * WIDE + dx
            at = np.maximum(np.searchsorted(keys, wanted * count + place) - 1, 0)
            supported |= (
                (keys[at] // count == wanted) & (keys[at] % count < place) & (t - t[keys[at] % count] <= self.dt)
            )
        kept = part[supported[len(self.before) :]]
        self.before = both[np.searchsorted(t, t[-1] - self.dt) :]
        return kept


def _applied(events: Array | Events | Iterable[Array], made: Made, shape: Shape) -> Array | Events | Iterator[Array]:
    """`made()` on an array, on each of the recordings, or on part after part of one."""
    if isinstance(events, np.ndarray):
        return made()(structured(events))
    if isinstance(events, Events):
        new = shape(events.shape)
        return as_events([made()(one) for one in arrays(events)], new)

    def streamed(parts: Iterable[Array]) -> Iterator[Array]:
        each = made()
        for part in parts:
            if len(kept := each(structured(part))):
                yield kept

    return streamed(events)


def _whole(field: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        refuse(field, repr(value), "a whole number")


def _in_order(field: str, part: Array, last: int | None = None) -> int | None:
    """Refuse events out of order, `last` being the time before them; returns that of their last."""
    if len(part) == 0:
        return last
    fallen = np.diff(part["t"], prepend=part["t"][0] if last is None else last) < 0
    if fallen.any():
        k = int(fallen.argmax())
        refuse(f"{field} events", f"t={part['t'][k]} of event {k} behind a later one", "events in order of time")
    return int(part["t"][-1])
