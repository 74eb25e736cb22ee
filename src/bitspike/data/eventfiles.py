"""Event files of any known format as `Events`, one recording per file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from bitspike.data import events
from bitspike.data.base import Events
from bitspike.data.formats import EVENT, EventFile, format_of
from bitspike.data.formats.base import Array, View, turned
from bitspike.errors import refuse

CLOCK = "times are counted from each recording's first event (files of {} keep the camera's own clock)"


class Recordings(NamedTuple):
    """Events of several files, notes on what was mended or skipped, and how their rows and signs are counted."""

    events: Events
    notes: tuple[str, ...]
    view: View


def recordings(
    paths: Sequence[Path], size: tuple[int, int] | None = None, *, same: bool = False, view: View | None = None
) -> Recordings:
    """One recording per file, on a sensor of `size` (height, width).

    size: by default what the files say, which has to be one sensor for all, else the largest addresses + 1. same: a
    file that says another size than `size` is refused. view: how rows and signs are counted, by default as the files
    do, where they agree; others are turned. Every recording is in the order of its times. A file that is damaged,
    without events or of many recordings is refused.
    """
    kinds = [format_of(path) for path in paths]
    if set(kinds) == {"bin"} and view in (None, View()):
        made, notes = events.recordings(paths, size)
        return Recordings(made, (*((_largest(made),) if size is None else ()), *notes), View())
    parts: list[Array] = []
    told: dict[tuple[int, int], Path] = {}
    camera: set[str] = set()
    views: list[View] = []
    totals, files_of = Counter[str](), Counter[str]()
    extent, polarities = (0, 0), 1
    for path, kind in zip(paths, kinds, strict=True):
        file = EventFile(path, format=kind, size=size)
        if same and file.said_size not in (None, size):
            assert file.said_size is not None
            assert size is not None
            refuse(str(path), f"a sensor of {_sides(file.said_size)}", f"{_sides(size)}, as in training")
        views.append(View(file.upward, file.brighter if file.polarities == 2 else None))
        part = file.read()
        if file.clock == "camera":
            camera.add(kind)
            part["t"] -= part["t"][0]
        if size is None and file.size is not None:
            told.setdefault(file.size, path)
            if len(told) > 1:
                first, before = next(iter(told.items()))
                came, wanted = (
                    f"a sensor of {_sides(file.size)}",
                    f"{_sides(first)} as {before.name}, or a size for all",
                )
                refuse(str(path), came, wanted)
        extent = max(extent[0], file.extent[0]), max(extent[1], file.extent[1])
        polarities = max(polarities, file.polarities)
        totals.update(file.counts)
        files_of.update(file.counts.keys())
        parts.append(part)
    sensor = size or next(iter(told), extent)
    if extent[0] > sensor[0] or extent[1] > sensor[1]:
        refuse(str(paths[0].parent), f"addresses up to {_sides(extent)}", f"at most {_sides(sensor)}, as a file says")
    common = view or (views[0] if len(set(views)) == 1 else View())
    changed = Counter[str]()
    for number, (part, own, kind) in enumerate(zip(parts, views, kinds, strict=True)):
        new = turned(part, own, common, sensor[0], sensor[0])
        if new is not part:
            parts[number] = new
            changed[kind] += 1
    made = as_events(parts, (polarities, *sensor))
    said = [_largest(made)] if size is None and not told else []
    said += [CLOCK.format(", ".join(sorted(camera)))] if camera else []
    said += [f"{count:,} {words} ({files_of[words]:,} of {len(paths):,} recordings)" for words, count in totals.items()]
    said += [f"{count:,} files of {kind} are turned to {common}" for kind, count in sorted(changed.items())]
    return Recordings(made, tuple(said), common)


def as_events(parts: Sequence[Array], shape: tuple[int, int, int]) -> Events:
    """Structured arrays as `Events`, one recording each."""
    offsets = torch.zeros(len(parts) + 1, dtype=torch.int64)
    offsets[1:] = torch.tensor([len(part) for part in parts]).cumsum(0)
    joined = np.concatenate(parts) if parts else np.empty(0, EVENT)
    t, x, y, p = (torch.from_numpy(joined[name].copy()) for name in ("t", "x", "y", "p"))
    return Events(t=t, x=x, y=y, p=p, offsets=offsets, shape=shape)


def _sides(size: tuple[int, int]) -> str:
    return f"{size[0]} x {size[1]}"


def _largest(made: Events) -> str:
    return f"the sensor's size, {made.shape[1]} x {made.shape[2]}, is taken from the largest addresses"
