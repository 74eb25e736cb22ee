"""Two cues, one behind the other: which of them came first is all that tells the classes apart.

A cue is a burst of events of either sign: of the left half of a small sensor, or of the right half. Recordings come in
twins that share every draw and have the cues the other way round, so that counts of any pixel and sign over a whole
recording say nothing of the class. Between the cues there is silence, longer than a synapse remembers (`gap`).
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from bitspike.data.alone import by_table
from bitspike.data.base import DataSet, Events, Split, event_set
from bitspike.data.sources import sha256_of_arrays
from bitspike.draws import generator
from bitspike.errors import refuse

CLASSES = ("left first", "right first")


@by_table("cue-order")
def cue_order(
    *, seed: int, validation: int, train_size: int, test_size: int, sensor: tuple[int, int], cue: float, rate: float,
    gap: tuple[float, float], lead: float,
) -> DataSet:  # fmt: skip
    """Recordings (2, H, W) drawn anew for each seed; numbers run through training, validation and test."""
    if sensor[1] < 2:
        refuse("cue-order sensor", list(sensor), "a width of 2 or more, a half for each cue")
    if gap[1] < gap[0]:
        refuse("cue-order gap", list(gap), "[shortest, longest]")
    parts, digests, first = [], {}, 0
    for part, size in (("train", train_size), ("validation", validation), ("test", test_size)):
        source = generator("cue-order", part, seed)
        x, y = _recordings(size, sensor, cue, rate / 1000, gap, lead, source)
        digests[f"{part} (generated)"] = sha256_of_arrays(x.t, x.x, x.y, x.p, x.offsets)
        parts.append(Split(x, y, torch.arange(first, first + size)))
        first += size
    train, inner, test = parts
    return event_set("cue-order", (train, inner, test), CLASSES, digests)


def _recordings(
    size: int, sensor: tuple[int, int], cue: float, rate: float, gap: tuple[float, float], lead: float,
    source: torch.Generator,
) -> tuple[Events, Tensor]:  # fmt: skip
    """`size` recordings, twin behind twin, and their classes. Times in milliseconds; rate: of a pixel and sign."""
    height, width = sensor
    twins, places = -(-size // 2), 2 * height * width

    def uniform(count: int) -> Tensor:
        return torch.rand(count, generator=source, dtype=torch.float64)

    begin, apart = uniform(twins) * lead, gap[0] + uniform(twins) * (gap[1] - gap[0])
    counts = torch.poisson(torch.full((twins * places,), rate * cue, dtype=torch.float64), generator=source).long()
    where = torch.repeat_interleave(counts)
    twin, place = where // places, where % places
    within = begin[twin] + uniform(len(where)) * cue
    later = (cue + apart)[twin]
    is_right = place % width >= width // 2
    t = torch.cat([within + later * is_right, within + later * ~is_right])
    recording = torch.cat([2 * twin, 2 * twin + 1])
    place = place.repeat(2)
    in_order = np.lexsort((t.numpy(), recording.numpy()))
    kept = torch.from_numpy(in_order[recording.numpy()[in_order] < size])
    t, recording, place = t[kept], recording[kept], place[kept]
    offsets = torch.zeros(size + 1, dtype=torch.int64)
    offsets[1:] = torch.bincount(recording, minlength=size).cumsum(0)
    x, y, p = place % width, place // width % height, place // (width * height)
    events = Events((t * 1000).long(), x.short(), y.short(), p.to(torch.uint8), offsets, (2, height, width))
    return events, torch.arange(size) % 2
