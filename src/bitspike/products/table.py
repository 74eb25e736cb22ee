"""Measured times, kept for good: what is chosen by them is the same in every process on one machine.

Two methods that round differently must not take turns between a run and its continuation. So each class of
operands is measured once per processor and torch, and the first times written win: a later process,
or one that measured at the same moment, takes those. One small JSON file per class:

    FOLDER/products/KEY/CLASS.json   {"class", "on", "seconds": {method: seconds}}

FOLDER is `BITSPIKE_CACHE` or the user's cache folder. A damaged file is measured again. Where nothing can be
written, nothing is measured, and the caller falls back to its own fixed rule.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import tempfile
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import torch

from bitspike.kernels import cache
from bitspike.products.processor import Capabilities, capabilities

FORMAT = 1
LARGEST = 1 << 20  # bytes of a file

Seconds = dict[str, float]
_known: dict[tuple[object, ...], Seconds] = {}


def seconds(name: str, measure: Callable[[], Seconds]) -> Seconds | None:
    """The stored times of the class called `name`, measured now if there are none; None where none can be kept."""
    # By what decides the folder: looking for it at every product would cost as much as a small one.
    place = (os.environ.get("BITSPIKE_CACHE"), os.environ.get("XDG_CACHE_HOME"), capabilities(), name)
    if place not in _known:
        path = cache.folder() / "products" / _key(capabilities())[0] / f"{name}.json"
        found = _read(path, name)
        if found is None:
            found = _publish(path, name, measure)
        if found is None:
            return None
        _known[place] = found
    return _known[place]


def forget() -> None:
    """Read the files again at the next question."""
    _known.clear()


@lru_cache(maxsize=16)
def _key(found: Capabilities) -> tuple[str, dict[str, object]]:
    on: dict[str, object] = {
        "format": FORMAT,
        "processor": found.processor,
        "can": str(found),
        "torch": torch.__version__,
        "isa": torch.backends.cpu.get_cpu_capability(),
    }
    return hashlib.sha256(json.dumps(on, sort_keys=True).encode()).hexdigest()[:12], on


def _read(path: Path, name: str) -> Seconds | None:
    try:
        # Not a pipe, which would be read for ever.
        if not path.is_file() or path.stat().st_size > LARGEST:
            return None
        stored = json.loads(path.read_text(encoding="utf-8"))
        if stored["class"] != name:
            return None
        times = {str(method): float(value) for method, value in stored["seconds"].items()}
    except (OSError, ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError):
        return None
    return times if "float32" in times and all(math.isfinite(t) and t > 0 for t in times.values()) else None


def _publish(path: Path, name: str, measure: Callable[[], Seconds]) -> Seconds | None:
    """Measure and store; the times of another process, if it was first."""
    try:
        for place in (path.parent.parent, path.parent):
            cache.made(place)
        handle, draft = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".tmp")
    except OSError:
        return None
    try:
        times = measure()
        with os.fdopen(handle, "w") as file:
            on = _key(capabilities())[1]
            json.dump({"class": name, "on": on, "seconds": times}, file, indent=1)
        try:
            os.link(draft, path)  # fails where the file is there: the first one wins
        except OSError:
            first = _read(path, name)
            if first is not None:
                return first
            if path.is_dir():
                cache.drop(path)
            os.replace(draft, path)  # damaged, or a file system without links
        return _read(path, name)
    except OSError:
        return None
    finally:
        Path(draft).unlink(missing_ok=True)
