"""AEDAT 3.1 (`.aedat`): lines of text behind #, then packets of little-endian events, each behind a header of 28 bytes.

A pixel's event: 1 bit that it is valid, polarity, row 15 bits, column 15 bits, and 31 bits of the time in us, above
which the packet's own count of overflows stands.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import ClassVar

import numpy as np

from bitspike.data.formats.base import Array, Format, Source, within
from bitspike.data.formats.cameras import CAMERAS, camera_in, smallest
from bitspike.data.formats.headers import marked_lines, value_of
from bitspike.errors import refuse

MAGIC = b"#!AER-DAT3."
PACKET = struct.Struct("<hhiiiiii")
PIXELS = 1
NAMES = {0: "special events", 2: "frames", 3: "samples of the inertial unit", 4: "samples of the inertial unit",
         5: "samples of an analog-to-digital converter"}  # fmt: skip
MOST = 4096


class Aedat3(Format):
    """Packets of pixels' events; other packets are skipped and counted."""

    suffixes: ClassVar[tuple[str, ...]] = (".aedat",)
    clock: ClassVar = "camera"

    def __init__(self, source: Source, size: tuple[int, int] | None = None) -> None:
        super().__init__(source, size)
        lines = marked_lines(source, b"#", "#!END-HEADER")
        if not lines or not lines[0].startswith("#!AER-DAT3.1"):
            came = lines[0][2:20] if lines else "a first line that is none"
            refuse(str(source.path), came, "AER-DAT3.1")
        if not lines[-1].startswith("#!END-HEADER"):
            source.cut("the header")
        kind = value_of(lines, "Format:") or "RAW"
        if kind.upper() != "RAW":
            refuse(str(source.path), f"AEDAT 3.1 of format {kind}", "format RAW")
        for line in lines:
            if line.startswith("#Source") and (camera := camera_in(line)):
                self.about["camera"], self.size = camera, CAMERAS[camera]
                break
        if began := value_of(lines, "Start-Time:"):
            self.about["date"] = began[:40]

    @classmethod
    def recognises(cls, head: bytes, suffix: str) -> bool:
        """By its first line."""
        return head.startswith(MAGIC)

    def parts(self, recording: int = 0) -> Iterator[Array]:
        """Packets, or blocks of a large one."""
        source = self.source
        while source.left:
            kind, _, item, _, over, capacity, count, _ = PACKET.unpack(source.take(PACKET.size, "a packet's header"))
            if item <= 0 or not 0 <= count <= capacity or over < 0:
                came = f"a packet of {count} (of {capacity}) events of {item} bytes, after {over} overflows"
                refuse(str(source.path), came, "sizes of 0 or more")
            end = source.at + item * capacity
            if end > source.length:
                source.cut(f"a packet of {capacity:,} events")
            if kind != PIXELS:
                self.said[f"{NAMES.get(kind, f'events of type {kind}')}, skipped"] += count
            elif item != 8:
                refuse(str(source.path), f"pixels' events of {item} bytes", "8 bytes")
            else:
                for block in source.blocks(8, source.at + 8 * count):
                    yield self._pixels(block, over)
            source.seek(end)

    def _pixels(self, block: bytes, over: int) -> Array:
        raw = np.frombuffer(block, "<u4").reshape(-1, 2).astype(np.int64)
        valid = (raw[:, 0] & 1) == 1
        if (left := int((~valid).sum())) > 0:
            self.said["events marked as not valid, skipped"] += left
            raw = raw[valid]
        data, t = raw[:, 0], raw[:, 1]
        if len(t) and int(t.max()) >> 31:
            refuse(str(self.source.path), f"a time of {int(t.max())} us in a packet", "times below 2^31 us")
        return self.events(over << 31 | t, data >> 17, data >> 2 & 0x7FFF, data >> 1 & 1)

    @classmethod
    def write(cls, path: Path, parts: Iterable[Array], size: tuple[int, int]) -> None:
        """Packets of at most 4,096 events, of the smallest camera that has room."""
        camera = smallest(path, size)
        with path.open("wb") as out:
            lines = ("#!AER-DAT3.1", "#Format: RAW", f"#Source 1: {camera}", "#!END-HEADER")
            out.write("".join(f"{line}\r\n" for line in lines).encode())
            for part in parts:
                within("t", part["t"], 1 << 62)
                over = part["t"] >> 31
                ends = np.flatnonzero(np.diff(over)) + 1
                for run in np.split(part, ends):
                    for at in range(0, len(run), MOST):
                        some = run[at : at + MOST]
                        raw = np.empty((len(some), 2), "<u4")
                        address = some["x"].astype(np.int64) << 17 | some["y"].astype(np.int64) << 2
                        raw[:, 0] = address | some["p"].astype(np.int64) << 1 | 1
                        raw[:, 1] = some["t"] & 0x7FFFFFFF
                        n = len(some)
                        out.write(PACKET.pack(PIXELS, 1, 8, 4, int(some["t"][0] >> 31), n, n, n))
                        raw.tofile(out)
