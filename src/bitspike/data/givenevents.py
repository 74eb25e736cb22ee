"""Recordings that are in memory: data sets as Tonic's, whose items are (structured array of events, label).

Nothing of Tonic is imported. What counts is that an item's first part is a structured array with fields t, x and p (y
may be missing: a sensor of one row), and what `sensor_size` says: (columns, rows, polarities), or None.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from bitspike.data.base import Events
from bitspike.data.eventfiles import as_events
from bitspike.data.formats import structured
from bitspike.data.formats.base import LATEST, WIDEST, Array
from bitspike.errors import refuse

WHOLE = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)


def recorded(data: Any, field: str) -> tuple[Events, Any, bool] | None:
    """Events, labels (N,) and whether the sensor's size is said; None where `data` holds no recordings."""
    if isinstance(data, tuple | list) and len(data) == 2 and isinstance(data[0], Events):
        return checked(data[0], field), data[1], True
    if isinstance(data, tuple | list | np.ndarray | torch.Tensor) or not (
        hasattr(data, "__getitem__") and hasattr(data, "__len__")
    ):
        return None
    if len(data) == 0 or not _is_recording(first := data[0]):
        return None
    items = [first, *(data[i] for i in range(1, len(data)))]
    for i, item in enumerate(items):
        if not _is_recording(item):
            refuse(f"{field}[{i}]", type(item).__name__, "a pair (events, label), as the first one")
    again = structured(data[0][0])
    parts = []
    for i, (events, _) in enumerate(items):
        part = structured(events)
        if i == 0 and not np.array_equal(part, again):
            refuse(
                f"{field}[0]", "other events the second time", "a dataset without random changes (each is read once)"
            )
        if len(part) == 0:
            refuse(f"{field}[{i}]", "a recording without events", "one or more events")
        parts.append(part[np.argsort(part["t"], kind="stable")] if (np.diff(part["t"]) < 0).any() else part)
    shape, told = _sensor(getattr(data, "sensor_size", None), parts, f"{field}.sensor_size")
    for i, part in enumerate(parts):
        if shape[0] == 1 and part["p"].any():
            part = parts[i] = part.copy()
            part["p"] = 0
        for name, end in (("p", shape[0]), ("y", shape[1]), ("x", shape[2]), ("t", LATEST)):
            wrong = (part[name] < 0) | (part[name] >= end)
            if wrong.any():
                k = int(wrong.argmax())
                refuse(f"{field}[{i}]", f"event {k} of {name}={part[name][k]}", f"0 to {end - 1}, the sensor's")
    return as_events(parts, shape), np.asarray([_label(item[1]) for item in items]), told


def checked(events: Any, field: str) -> Events:
    """Events on their sensor, each recording in the order of its times, or one line on what is wrong with them."""
    for name in ("offsets", "t", "x", "y", "p"):
        values = getattr(events, name)
        if not isinstance(values, torch.Tensor) or values.ndim != 1 or values.dtype not in WHOLE:
            form = f"{values.dtype} of shape {tuple(values.shape)}" if hasattr(values, "dtype") else ""
            came = form or type(values).__name__
            refuse(f"{field} {name}", came, "a tensor (E,) of whole numbers")
        if name != "offsets" and len(values) != len(events.t):
            refuse(f"{field} {name}", f"{len(values)} values", f"{len(events.t)}, as many as t")
    offsets, count = events.offsets.long(), len(events.t)
    if len(offsets) == 0 or offsets[0] != 0 or offsets[-1] != count or bool((offsets.diff() < 0).any()):
        refuse(f"{field} offsets", f"{offsets.tolist()}", f"(N + 1,) rising from 0 to {count}, the number of events")
    bounds = dict(zip(("p", "y", "x", "t"), (*events.shape, LATEST), strict=True))
    for name, end in bounds.items():
        values = getattr(events, name)
        if count and not (int(values.min()) >= 0 and int(values.max()) < end):
            place = int(((values < 0) | (values >= end)).int().argmax())
            which = int(torch.searchsorted(offsets, place, right=True)) - 1
            came = f"event {place - int(offsets[which])} of {name}={int(values[place])}"
            refuse(f"{field} recording {which}", came, f"0 to {end - 1}, the sensor's")
    t, x, y, p = events.t.long(), events.x, events.y, events.p
    fallen = t.diff(prepend=t[:1]) < 0
    fallen[offsets[:-1][offsets[:-1] < count]] = False  # the first of a recording
    if bool(fallen.any()):
        who = np.repeat(np.arange(len(offsets) - 1), offsets.diff().numpy())
        order = torch.from_numpy(np.lexsort((t.numpy(), who)))
        t, x, y, p = (values[order] for values in (t, x, y, p))
    return Events(t=t, x=x, y=y, p=p, offsets=offsets, shape=tuple(events.shape))


def on_one_sensor(parts: Sequence[Events], told: Sequence[bool], fields: Sequence[str]) -> list[Events]:
    """Recordings of one shape: that which is said, else the largest; two that are said and differ are refused."""
    said = [(part.shape, field) for part, known, field in zip(parts, told, fields, strict=True) if known]
    shape = said[0][0] if said else _largest([part.shape for part in parts])
    for part, known, field in zip(parts, told, fields, strict=True):
        fits = all(mine <= other for mine, other in zip(part.shape, shape, strict=True))
        if not fits or (known and part.shape != shape):
            refuse(f"{field} x", f"recordings of shape {part.shape}", f"{shape}, as {said[0][1]}")
    return [replace(part, shape=shape) for part in parts]


def joined(parts: Sequence[Events]) -> Events:
    """The recordings of all parts, one after the other."""
    if len(parts) == 1:
        return parts[0]
    counts = torch.cat([part.offsets.diff() for part in parts])
    offsets = torch.zeros(len(counts) + 1, dtype=torch.int64)
    torch.cumsum(counts, 0, out=offsets[1:])
    t, x, y, p = (torch.cat([getattr(part, name) for part in parts]) for name in ("t", "x", "y", "p"))
    return Events(t=t, x=x, y=y, p=p, offsets=offsets, shape=parts[0].shape)


def _is_recording(item: Any) -> bool:
    if not isinstance(item, tuple | list) or len(item) != 2 or not isinstance(item[0], np.ndarray):
        return False
    return {"t", "x", "p"} <= set(item[0].dtype.names or ())


def _label(value: Any) -> Any:
    return value.item() if isinstance(value, np.ndarray | np.generic | torch.Tensor) and value.ndim == 0 else value


def _sensor(said: Any, parts: Sequence[Array], field: str) -> tuple[tuple[int, int, int], bool]:
    """(polarities, rows, columns), and whether it was said."""
    if said is None:
        return _largest([(2, int(part["y"].max()) + 1, int(part["x"].max()) + 1) for part in parts]), False
    try:
        width, height, signs = (int(n) for n in said)
    except (TypeError, ValueError):
        refuse(field, said, "(columns, rows, polarities)")
    if not (0 < width <= WIDEST and 0 < height <= WIDEST and signs in (1, 2)):
        refuse(field, said, f"columns and rows from 1 to {WIDEST:,}, and 1 or 2 polarities")
    return (signs, height, width), True


def _largest(shapes: Sequence[tuple[int, int, int]]) -> tuple[int, int, int]:
    first, second, third = (max(sides) for sides in zip(*shapes, strict=True))
    return first, second, third
