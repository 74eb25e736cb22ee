"""HDF5 in the form of the Spiking Heidelberg Digits and Speech Commands (`.h5`): one file of many recordings.

    spikes/times   for each recording, the times in seconds        spikes/units   its channels
    labels         the class of each recording                     extra/keys     names of the classes

A channel is a column of a sensor of one row; the cochlea has 700. There is one polarity.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from bitspike import extras
from bitspike.data.formats.base import EVENT, LATEST, Array, Format, Source, within
from bitspike.data.formats.references import check_inner, own
from bitspike.errors import BitspikeError, refuse

MAGIC = b"\x89HDF\r\n\x1a\n"
FORM = "groups and arrays as of SHD: spikes/times, spikes/units, labels"
CHANNELS = 700
EXACT = 1 << 52  # microseconds up to which real numbers of seconds bring whole ones back
MOST_RECORDINGS = 10_000_000


def h5py(field: str) -> Any:
    """The library, or how it is installed."""
    try:
        import h5py as library
    except ImportError:
        extras.missing("events", f"{field}: reading or writing HDF5")
    return library


class Hdf5(Format):
    """Recordings of cochlea channels, read one by one."""

    suffixes: ClassVar[tuple[str, ...]] = (".h5", ".hdf5")
    polarities: ClassVar[int] = 1

    def __init__(self, source: Source, size: tuple[int, int] | None = None) -> None:
        super().__init__(source, size)
        self.size = (1, CHANNELS)
        opened = _opened(source.path)
        with opened as file:
            times, units = (_array(file, f"spikes/{name}", opened.library, source) for name in ("times", "units"))
            if times.shape != units.shape:
                refuse(str(source.path), f"{len(times)} times and {len(units)} units", "as many of both")
            # A recording takes 16 bytes at least, where its times are said to lie.
            if len(times) > min(MOST_RECORDINGS, source.length // 16):
                refuse(str(source.path), f"{len(times):,} recordings in {source.length:,} bytes", FORM)
            for array in (times, units):
                check_inner(array, opened.library, source)
            self.recordings = len(times)
            self.labels = _labels(own(file, "labels", opened.library, source), self.recordings, source)
            self.classes = _classes(own(file, "extra/keys", opened.library, source), opened.library, source)
        self.about = {"recordings": f"{self.recordings:,}"}

    @classmethod
    def recognises(cls, head: bytes, suffix: str) -> bool:
        """By its first eight bytes."""
        return head.startswith(MAGIC)

    def parts(self, recording: int = 0) -> Iterator[Array]:
        """One recording, as a whole."""
        with _opened(self.source.path) as file:
            yield self._one(file["spikes/times"], file["spikes/units"], recording)

    def every(self) -> Iterator[Array]:
        """All recordings, one after the other."""
        with _opened(self.source.path) as file:
            times, units = file["spikes/times"], file["spikes/units"]
            for number in range(self.recordings):
                yield self._one(times, units, number)

    def _one(self, times: Any, units: Any, number: int) -> Array:
        seconds, channels = np.asarray(times[number]), np.asarray(units[number])
        place = f"{self.source.path} recording {number}"
        if seconds.ndim != 1 or seconds.shape != channels.shape or seconds.dtype.kind != "f":
            came = f"{seconds.size} times ({seconds.dtype}) and {channels.size} units ({channels.dtype})"
            refuse(place, came, "as many real numbers as whole numbers")
        if channels.dtype.kind not in "iu":
            refuse(place, f"units of {channels.dtype}", "whole numbers")
        t = seconds.astype(np.float64) * 1e6
        if not (np.isfinite(t) & (np.abs(t) < float(LATEST))).all():
            refuse(place, "times that are no numbers of seconds", "finite numbers")
        x = np.minimum(channels, np.uint64(1 << 40)).astype(np.int64)
        self._made = 0
        return self.events(np.rint(t).astype(np.int64), x, np.zeros_like(x), np.zeros_like(x))

    @classmethod
    def write(cls, path: Path, parts: Iterable[Array], size: tuple[int, int]) -> None:
        """One recording, its times as real numbers of 64 bits: whole microseconds come back."""
        cls.write_all(path, [np.concatenate([np.empty(0, EVENT), *parts])], [0])

    @classmethod
    def write_all(
        cls, path: Path, recordings: Iterable[Array], labels: Iterable[int], classes: Iterable[str] = ()
    ) -> None:
        """Many recordings in one file."""
        library, given = h5py("event file"), list(recordings)
        for one in given:
            for name, end in (("t", EXACT), ("x", CHANNELS), ("y", 1), ("p", 1)):
                within(name, one[name], end)
        with library.File(path, "w") as file:
            for name, kind in (("times", np.float64), ("units", np.uint16)):
                made = file.create_dataset(f"spikes/{name}", (len(given),), library.vlen_dtype(np.dtype(kind)))
                for number, one in enumerate(given):
                    made[number] = one["t"] / 1e6 if name == "times" else one["x"].astype(kind)
            file["labels"] = np.fromiter(labels, np.uint16)
            file["extra/keys"] = np.array([name.encode() for name in classes], "S32")


class _opened:
    """An HDF5 file, whose library's errors become one line."""

    def __init__(self, path: Path) -> None:
        self.path, self.library = path, h5py(str(path))

    def __enter__(self) -> Any:
        try:
            self.file = self.library.File(self.path, "r", locking=False)
        except (OSError, RuntimeError, ValueError) as error:
            self._damaged(error)
        return self.file

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: Any) -> None:
        try:
            self.file.close()
        except (OSError, RuntimeError, ValueError) as wrong:
            error = error or wrong
        # The library says what is damaged by whatever of Python's errors is nearest.
        if error is not None and not isinstance(error, BitspikeError | GeneratorExit | KeyboardInterrupt):
            self._damaged(error)

    def _damaged(self, error: BaseException) -> None:
        said = f"{type(error).__name__}: {error}"
        raise BitspikeError(f"{self.path}: damaged, or no HDF5 that can be read ({said[:200]})") from None


def _array(file: Any, name: str, library: Any, source: Source) -> Any:
    found = own(file, name, library, source)
    if found is None or not hasattr(found, "shape") or len(found.shape) != 1 or found.dtype.kind != "O":
        refuse(str(source.path), f"an HDF5 file without an array {name} of arrays", FORM)
    return found


def _labels(found: Any, count: int, source: Source) -> Array | None:
    if found is None:
        return None
    if getattr(found, "shape", None) != (count,) or found.dtype.kind not in "iu":
        refuse(str(source.path), f"labels of shape {getattr(found, 'shape', None)}", f"{count} whole numbers")
    return np.asarray(found[:]).astype(np.int64)


def _classes(found: Any, library: Any, source: Source) -> tuple[str, ...]:
    """Names of the classes, none where the file has none."""
    if found is None:
        return ()
    if len(getattr(found, "shape", ())) != 1 or library.check_string_dtype(found.dtype) is None:
        refuse(str(source.path), f"extra/keys of shape {getattr(found, 'shape', None)}", "a list of text")
    if found.dtype.kind == "O":
        check_inner(found, library, source)
    if found.shape[0] * found.dtype.itemsize > source.length:
        refuse(str(source.path), f"extra/keys of {found.shape[0]:,} texts", "no more than the file has room for")
    return tuple(n.decode("utf-8", "replace") if isinstance(n, bytes) else str(n) for n in found[:])
