"""Event files of any known format as `Events`, one recording per file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from bitspike.data import events
from bitspike.data.base import Events
from bitspike.data.formats import EVENT, EventFile, format_of
from bitspike.data.formats.base import Array
from bitspike.errors import refuse

CLOCK = "times are counted from each recording's first event (files of {} keep the camera's own clock)"


def recordings(paths: Sequence[Path], size: tuple[int, int] | None = None) -> tuple[Events, tuple[str, ...]]:
    """One recording per file, on a sensor of `size` (height, width), and notes on what was mended or skipped.

    size: by default what the files say, which has to be one sensor for all, else the largest addresses + 1. Every
    recording is in the order of its times. A file that is damaged, without events or of many recordings is refused.
    """
    kinds = [format_of(path) for path in paths]
    if set(kinds) == {"bin"}:
        made, notes = events.recordings(paths, size)
        return made, (*((_largest(made),) if size is None else ()), *notes)
    parts: list[Array] = []
    told: dict[tuple[int, int], Path] = {}
    camera: set[str] = set()
    totals, files_of = Counter[str](), Counter[str]()
    extent, polarities = (0, 0), 1
    for path, kind in zip(paths, kinds, strict=True):
        file = EventFile(path, format=kind, size=size)
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
    made = as_events(parts, (polarities, *sensor))
    said = [_largest(made)] if size is None and not told else []
    said += [CLOCK.format(", ".join(sorted(camera)))] if camera else []
    said += [f"{count:,} {words} ({files_of[words]:,} of {len(paths):,} recordings)" for words, count in totals.items()]
    return made, tuple(said)


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
