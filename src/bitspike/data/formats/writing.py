"""Recordings written: `write_events(path, events)` in the format that the name's end says, or the one asked for."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from bitspike import registry
from bitspike.data.base import Events
from bitspike.data.formats.base import EVENT, LATEST, WIDEST, Array, View, turned
from bitspike.data.formats.files import EventFile
from bitspike.errors import refuse
from bitspike.paths import home, replaceable

# What a name that several formats share stands for.
USUAL = {".raw": "evt3", ".aedat": "aedat2"}


def write_events(
    path: Path | str,
    events: Array | Events | Iterable[Array],
    format: str | None = None,
    *,
    size: tuple[int, int] | None = None,
    **options: Any,
) -> Path:
    """Write events, in order of time, and return the path; those that the format cannot hold are refused.

    events: a structured array with t, x, y and p, `Events` of one recording, or parts as `open_events` gives them. An
    opened file whose rows and signs are counted otherwise than those of the new one (a DVS128's) is turned, so that
    it shows the same.
    format: by default what the name's end says (.raw: evt3, .aedat: aedat2). size: (height, width) of the sensor (by
    default the largest addresses + 1; parts need it where the format stores it).
    """
    target = home(path, "event file")
    name = _format(target) if format is None else format
    made = registry.find("events", name, "event file format")
    if size is None:
        size = events.shape[1:] if isinstance(events, Events) else _extent(events)
    if not all(isinstance(n, int | np.integer) and 0 < n <= WIDEST for n in size):
        refuse("event file size", size, f"(height, width) of the sensor, from 1 to {WIDEST:,}")
    replaceable(target, "event file")
    if isinstance(events, EventFile):
        file, own = events, View(events.upward, events.brighter)
        view, rows = made.written(target, (int(size[0]), int(size[1])))
        events = (turned(part, own, view, int(size[0]), rows) for part in file)
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        made.write(part, _checked(events, size), (int(size[0]), int(size[1])), **options)
        part.replace(target)
    except OSError as error:
        refuse(str(target), error.strerror or "an error", "a place that can be written")
    except TypeError as error:
        if "unexpected keyword" not in str(error):
            raise
        refuse(f"event format '{name}'", ", ".join(options), "options that its writer has")
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)
    return target


def _format(path: Path) -> str:
    suffix = path.suffix.lower()
    known = [name for name in registry.names("events") if suffix in registry.trait("events", name, "suffixes", ())]
    if not known:
        refuse("event file", f"'{path.name}'", "a name whose end says the format, or format=NAME")
    return USUAL.get(suffix, known[0])


def _extent(events: Any) -> tuple[int, int]:
    if not isinstance(events, np.ndarray):
        refuse("event file size", "none, with parts of a recording", "(height, width) of the sensor")
    given = structured(events)
    if len(given) == 0:
        return 1, 1
    return int(given["y"].max()) + 1, int(given["x"].max()) + 1


def structured(events: Any) -> Array:
    """A structured array as `EVENT`s; fields by name, as those of other libraries' too."""
    names = getattr(getattr(events, "dtype", None), "names", None) or ()
    if not isinstance(events, np.ndarray) or events.ndim != 1 or not {"t", "x", "p"} <= set(names):
        came = f"an array of fields {', '.join(names)}" if names else type(events).__name__
        refuse("events", came, "a structured array (E,) with fields t, x, y and p")
    if events.dtype == EVENT:
        return events
    made = np.zeros(len(events), EVENT)
    for name in ("t", "x", "y", "p"):
        if name in names:
            values = events[name]
            if values.ndim != 1 or values.dtype.kind not in "biuf":
                refuse(f"events {name}", f"{values.dtype} of shape {values.shape}", "whole numbers (E,)")
            if values.dtype.kind == "f":
                if not (np.isfinite(values) & (values == np.rint(values))).all():
                    refuse(f"events {name}", values.dtype, "whole numbers")
                if len(values) and float(np.abs(values).max()) >= LATEST:
                    refuse(f"events {name}", f"{values.min()} to {values.max()}", f"what {made[name].dtype} holds")
            with np.errstate(invalid="ignore"):
                made[name] = values
            if not (made[name] == values).all():
                refuse(f"events {name}", f"{values.min()} to {values.max()}", f"what {made[name].dtype} holds")
    return made


def arrays(events: Events) -> Iterator[Array]:
    """Each recording as `EVENT`s."""
    for start, end in zip(events.offsets[:-1].tolist(), events.offsets[1:].tolist(), strict=True):
        made = np.empty(end - start, EVENT)
        for name in ("t", "x", "y", "p"):
            made[name] = getattr(events, name)[start:end].numpy()
        yield made


def _checked(events: Any, size: tuple[int, int]) -> Iterator[Array]:
    """Parts in order of time, on the sensor, of polarities 0 and 1."""
    if isinstance(events, Events):
        if len(events) != 1:
            refuse("events", f"{len(events)} recordings", "one for a file (events[i : i + 1])")
        events = arrays(events)
    elif isinstance(events, np.ndarray):
        whole: Array = events
        events = (whole[at : at + WIDEST] for at in range(0, len(whole), WIDEST))
    last, count = 0, 0
    for given in events:
        part = structured(given)
        if len(part) == 0:
            continue
        step = np.diff(part["t"], prepend=last)
        for wrong, what, wanted in (
            (step < 0, "t", "times of 0 or more, in order"),
            ((part["x"] < 0) | (part["x"] >= size[1]), "x", f"columns 0 to {size[1] - 1}"),
            ((part["y"] < 0) | (part["y"] >= size[0]), "y", f"rows 0 to {size[0] - 1}"),
            (part["p"] > 1, "p", "polarities 0 and 1"),
        ):
            if wrong.any():
                k = int(wrong.argmax())
                refuse(f"events {what}", f"{part[what][k]} of event {count + k}", wanted)
        last, count = int(part["t"][-1]), count + len(part)
        yield part
    if count == 0:
        refuse("events", "none", "one or more events")
