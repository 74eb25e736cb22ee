"""Address events in 5 bytes: column, row, then bit 7 of byte 2 the polarity and the 23 bits left the time.

    t = (byte2 & 127) << 16 | byte3 << 8 | byte4    in microseconds, below 2^23 (8.4 s)

Source: G. Orchard et al., "Converting static image datasets to spiking neuromorphic datasets using
saccades", Frontiers in Neuroscience 9:437 (2015), the format of N-MNIST.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from bitspike.data.base import Events
from bitspike.errors import refuse

BYTES = 5
END_OF_TIME = 1 << 23
POLARITIES = 2


def read_recordings(paths: Sequence[Path], size: tuple[int, int] | None = None) -> Events:
    """One recording per file, on a sensor of `size` (height, width); by default the largest addresses + 1.

    A file that is empty, cut within an event or holds an address off the sensor is refused by name.
    """
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
        raw[start:end] = np.fromfile(path, dtype=np.uint8).reshape(-1, BYTES)
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
    t = (raw[:, 2] & 127).astype(np.int64) << 16
    t |= raw[:, 3].astype(np.int64) << 8
    t |= raw[:, 4]
    return Events(
        t=torch.from_numpy(t),
        x=torch.from_numpy(raw[:, 0].astype(np.int16)),
        y=torch.from_numpy(raw[:, 1].astype(np.int16)),
        p=torch.from_numpy(raw[:, 2] >> 7),
        offsets=torch.from_numpy(offsets),
        shape=(POLARITIES, height, width),
    )


def write_events(path: Path, t: Tensor, x: Tensor, y: Tensor, p: Tensor) -> None:
    """Write one recording, all arguments integer tensors (E,): the inverse of `read_recordings`."""
    for name, values, end in (("t", t, END_OF_TIME), ("x", x, 256), ("y", y, 256), ("p", p, POLARITIES)):
        if len(values) != len(t):
            refuse(f"events {name}", f"{len(values)} values", f"{len(t)}, as many as t")
        if len(values) and not (int(values.min()) >= 0 and int(values.max()) < end):
            refuse(f"events {name}", f"{int(values.min())} to {int(values.max())}", f"0 to {end - 1}")
    columns = (x, y, (p.long() << 7) | (t >> 16), (t >> 8) & 255, t & 255)
    np.stack([column.numpy().astype(np.uint8) for column in columns], axis=1).tofile(path)
