"""Image sets that a simulated event camera films: `mnist-dvs-sim` and `digits-dvs-sim`.

A recording depends on its image, its number and the camera, not on the seed, the split or the other recordings. What
was filmed is kept in the cache folder (`kernels.cache`), named by a digest of all that makes it; what is damaged there
is filmed again.
"""

from __future__ import annotations

import hashlib
import io
from dataclasses import astuple
from functools import cache as once
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from bitspike.data import grouped
from bitspike.data.alone import by_table
from bitspike.data.base import DataSet, Events, Split, event_set
from bitspike.data.camera import Camera, film
from bitspike.data.camera import Path as Moved
from bitspike.data.digits import HIGHEST as DIGITS_HIGHEST
from bitspike.data.digits import raw_digits
from bitspike.data.mnist import SIZES, raw_mnist
from bitspike.data.official import DIGITS, HIGHEST, parts_of
from bitspike.data.sources import sha256_of_arrays
from bitspike.kernels import cache
from bitspike.notices import notice

ROOM, LOST = "filmed", "recordings are filmed"
LARGEST = 4 << 30  # bytes of a file; more are not kept
EACH = 13  # bytes of an event, at most
LONG = 2000  # recordings
SOURCES = ("camera.py", "camera_loop.py", "../draws.py")
KINDS = {"t": np.int64, "x": np.int16, "y": np.int16, "p": np.uint8, "offsets": np.int64}


class Filming(NamedTuple):
    """The camera, how the image moves, for how many seconds, how large it is, and whether events move back with it."""

    camera: Camera
    path: Moved
    seconds: float
    scale: float
    follow: bool

    def __call__(self, name: str, images: Tensor, numbers: Tensor) -> Events:
        """Recordings of grey images (N, h, w) in [0, 1] with these numbers (N,), kept for later."""
        said = repr((astuple(self.camera), astuple(self.path), self.seconds, self.scale, self.follow, _sources()))
        digest = hashlib.sha256(f"{said}{sha256_of_arrays(images, numbers)}".encode()).hexdigest()[:32]
        file = f"{name}-{digest}.events"
        kept = cache.read(file, ROOM, LARGEST)
        if kept is not None:
            return _unpacked(kept, self.camera)
        if len(images) >= LONG:
            notice(f"filming {len(images):,} recordings, which is kept for later")
        events = film(images, self.camera, self.path, self.seconds, self.scale, numbers.tolist(), self.follow)
        if len(events.t) * EACH > LARGEST:
            cache.say(f"{LOST} again in every process: {len(events.t):,} events are too many to keep")
        else:
            cache.write(file, _packed(events), ROOM, LOST)
        return events


@by_table("mnist-dvs-sim")
def mnist_dvs_sim(
    *, folder: Path | None, seed: int, validation: float, train_size: int | None, test_size: int | None, **asked: Any
) -> DataSet:
    """MNIST's images as recordings; they keep their numbers, test images behind the training images."""
    raw = raw_mnist(folder)
    (x, y), (x_test, y_test) = raw.trained, raw.tested
    trained, inner, tested, subset = parts_of(
        "mnist-dvs-sim", y, y_test, SIZES, seed, validation, train_size, test_size
    )
    filmed = _filming(**asked)
    events = filmed("mnist-train", x[trained, 0].float() / HIGHEST, trained)
    events_test = filmed("mnist-test", x_test[tested, 0].float() / HIGHEST, len(y) + tested)
    known, test = Split(events, y[trained], trained), Split(events_test, y_test[tested], len(y) + tested)
    digests = raw.digests | {"train recordings": _digest(events), "test recordings": _digest(events_test)}
    return event_set("mnist-dvs-sim", inner.of(known, test), DIGITS, digests, notes=raw.notes, subset=subset)


@by_table("digits-dvs-sim")
def digits_dvs_sim(
    *, seed: int, fold: tuple[int, int] | None, validation: float, test: float, **asked: Any
) -> DataSet:  # fmt: skip
    """The digits of scikit-learn as recordings, split and numbered as `digits` is."""
    images, y = raw_digits()
    index = torch.arange(len(y))
    events = _filming(**asked)("digits", images / DIGITS_HIGHEST, index)
    parts = grouped.divided(y, None, 0, fold, seed, validation, test, "digits-dvs-sim")
    return event_set("digits-dvs-sim", parts.of(Split(events, y, index)), DIGITS, {"recordings": _digest(events)})


def _filming(
    *, sensor: tuple[int, int], scale: float, duration: float, path: Any, amplitude: float, period: float, phase: float,
    follow: bool, camera: int, refractory: float, tau: float, **other: float,
) -> Filming:  # fmt: skip
    """Of the options of `tables.data.Filmed`, in milliseconds."""
    height, width = sensor
    made = Camera(height, width, refractory=refractory / 1000, tau=tau / 1000, number=camera, **other)
    return Filming(made, Moved(path, amplitude, period / 1000, phase), duration / 1000, scale, follow)


@once
def _sources() -> tuple[str, ...]:
    here = Path(__file__).parent
    return tuple(hashlib.sha256((here / name).read_bytes()).hexdigest() for name in SOURCES)


def _digest(events: Events) -> str:
    return sha256_of_arrays(events.t, events.x, events.y, events.p, events.offsets)


def _packed(events: Events) -> bytes:
    """Times as uint32 where they fit: an hour and more."""
    t = events.t.numpy()
    stream = io.BytesIO()
    np.savez(
        stream, t=t.astype(np.uint32 if len(t) and t.max() < 2**32 else np.int64), x=events.x, y=events.y, p=events.p,
        offsets=events.offsets,
    )  # fmt: skip
    return stream.getvalue()


def _unpacked(kept: bytes, camera: Camera) -> Events:
    with np.load(io.BytesIO(kept), allow_pickle=False) as stored:
        t, x, y, p, offsets = (torch.from_numpy(stored[name].astype(kind)) for name, kind in KINDS.items())
    return Events(t, x, y, p, offsets, (2, camera.height, camera.width))
