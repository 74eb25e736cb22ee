"""Address events in 5 bytes: column, row, then bit 7 of byte 2 the polarity and the 23 bits left the time.

    t = (byte2 & 127) << 16 | byte3 << 8 | byte4    in microseconds, below 2^23 (8.4 s)

Cameras of this family have at most 240 rows. Row 240 is then no pixel but says that their clock of 13 bits has run
over: every later event is 2^13 us later. On a sensor of more rows (`size`, or an event of a higher row) it is a row.
A time more than half of 2^23 us below the one before has run over 23 bits, and 2^23 us are added from there on. Events
that still are out of order are sorted.

Source: G. Orchard et al., "Converting static image datasets to spiking neuromorphic datasets using
saccades", Frontiers in Neuroscience 9:437 (2015), the format of N-MNIST.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bitspike.data.base import Events
from bitspike.errors import refuse

BYTES = 5
END_OF_TIME = 1 << 23
POLARITIES = 2
MARKER_ROW = 240
MARKER_TIME = 1 << 13

Array = np.ndarray[Any, Any]


def read_recordings(paths: Sequence[Path], size: tuple[int, int] | None = None) -> Events:
    """One recording per file, on a sensor of `size` (height, width); by default the largest addresses + 1.

    Every recording is in the order of its times. A file without events, cut within one or with an address off the
    sensor is refused by name.
    """
    return recordings(paths, size)[0]


def recordings(paths: Sequence[Path], size: tuple[int, int] | None = None) -> tuple[Events, tuple[str, ...]]:
    """`read_recordings`, and notes on what was mended: markers, clocks that ran over, events out of order."""
    raw, offsets = _bytes(paths)
    t = (raw[:, 2] & 127).astype(np.int64) << 16
    t |= raw[:, 3].astype(np.int64) << 8
    t |= raw[:, 4]
    notes = []
    highest = int(raw[:, 1].max())
    marks = np.zeros(0, dtype=bool)
    if (size[0] if size else highest) <= MARKER_ROW:
        marks = raw[:, 1] == MARKER_ROW
    if marks.any():
        t += MARKER_TIME * _so_far(marks, offsets)
        who = _recording(offsets)[marks]
        notes.append(
            f"{int(marks.sum()):,} marks of row {MARKER_ROW} in {_files(len(np.unique(who)), paths)} are no pixels: "
            f"each adds {MARKER_TIME:,} us to the times behind it"
        )
        left = np.concatenate([[0], np.cumsum(~marks, dtype=np.int64)])[offsets]
        empty = np.diff(left) == 0
        if empty.any():
            refuse(str(paths[int(empty.argmax())]), f"no event, only marks of row {MARKER_ROW}", "one or more events")
        raw, t, offsets = raw[~marks], t[~marks], left
    height, width = size or (int(raw[:, 1].max()) + 1, int(raw[:, 0].max()) + 1)
    outside = (raw[:, 0] >= width) | (raw[:, 1] >= height)
    if outside.any():
        first = int(outside.argmax())
        which = int(np.searchsorted(offsets, first, side="right")) - 1
        refuse(
            str(paths[which]),
            f"event {first - int(offsets[which])} at x={raw[first, 0]}, y={raw[first, 1]}",
            f"x < {width} and y < {height}",
        )
    raw, t = _in_order(raw, t, offsets, paths, notes)
    events = Events(
        t=torch.from_numpy(t),
        x=torch.from_numpy(raw[:, 0].astype(np.int16)),
        y=torch.from_numpy(raw[:, 1].astype(np.int16)),
        p=torch.from_numpy(raw[:, 2] >> 7),
        offsets=torch.from_numpy(offsets),
        shape=(POLARITIES, height, width),
    )
    return events, tuple(notes)


def _bytes(paths: Sequence[Path]) -> tuple[Array, Array]:
    """The files' events uint8 (E, 5) and where each file's begin, int64 (N+1,)."""
    sizes = []
    for path in paths:
        if not path.is_file():
            refuse(str(path), "no such file", "a .bin file of 5-byte events")
        sizes.append(path.stat().st_size)
        if sizes[-1] == 0 or sizes[-1] % BYTES:
            refuse(str(path), f"{sizes[-1]} bytes", "a multiple of 5, one or more events (truncated?)")
    offsets = np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)]) // BYTES
    raw = np.empty((int(offsets[-1]), BYTES), dtype=np.uint8)
    for path, start, end in zip(paths, offsets[:-1], offsets[1:], strict=True):
        try:
            raw[start:end] = np.fromfile(path, dtype=np.uint8).reshape(-1, BYTES)
        except (OSError, ValueError):
            refuse(str(path), "a file that cannot be read, or that changes meanwhile", "a .bin file of 5-byte events")
    return raw, offsets


def _recording(offsets: Array) -> Array:
    """The number of the recording of each event, (E,)."""
    return np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))


def _so_far(what: Array, offsets: Array) -> Array:
    """How many of `what` (E,) came in a recording up to and with each event, int64 (E,)."""
    total = np.cumsum(what, dtype=np.int64)
    before = np.concatenate([[0], total])[offsets[:-1]]
    return np.asarray(total - np.repeat(before, np.diff(offsets)))


def _in_order(raw: Array, t: Array, offsets: Array, paths: Sequence[Path], notes: list[str]) -> tuple[Array, Array]:
    """Events with clocks that go on and times that do not fall; what was done is added to `notes`."""
    step = np.diff(t, prepend=t[:1])
    step[offsets[:-1]] = 0
    over = step < -(END_OF_TIME // 2)
    if over.any():
        t = t + END_OF_TIME * _so_far(over, offsets)
        step[over] += END_OF_TIME
        which = np.unique(_recording(offsets)[over])
        notes.append(f"the clock runs over (2^23 us) in {_files(len(which), paths)}, first in {paths[which[0]].name}")
    back = step < 0
    if back.any():
        who = _recording(offsets)
        which = np.unique(who[back])
        notes.append(
            f"{int(back.sum()):,} falls back in time in {_files(len(which), paths)}, mended by sorting, "
            f"first in {paths[which[0]].name}"
        )
        order = np.lexsort((t, who))
        raw, t = raw[order], t[order]
    return raw, t


def _files(count: int, paths: Sequence[Path]) -> str:
    return f"{count:,} of {len(paths):,} recordings"


def write_events(path: Path, t: Tensor, x: Tensor, y: Tensor, p: Tensor) -> None:
    """Write one recording, all arguments integer tensors (E,): the inverse of `read_recordings`."""
    for name, values, end in (("t", t, END_OF_TIME), ("x", x, 256), ("y", y, 256), ("p", p, POLARITIES)):
        if len(values) != len(t):
            refuse(f"events {name}", f"{len(values)} values", f"{len(t)}, as many as t")
        if len(values) and not (int(values.min()) >= 0 and int(values.max()) < end):
            refuse(f"events {name}", f"{int(values.min())} to {int(values.max())}", f"0 to {end - 1}")
    if len(y) and int(y.max()) == MARKER_ROW:
        refuse(
            "events y", f"{MARKER_ROW} in the last row", f"rows up to {MARKER_ROW - 1} (it marks the clock), or more"
        )
    columns = (x, y, (p.long() << 7) | (t >> 16), (t >> 8) & 255, t & 255)
    np.stack([column.numpy().astype(np.uint8) for column in columns], axis=1).tofile(path)
