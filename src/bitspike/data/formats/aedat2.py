"""AEDAT 2.0 of jAER (`.aedat`): lines of text behind #, then big-endian pairs of 32 bits, address and time in us.

    DVS128: 0 for a pixel | row 7 bits | column from the right 7 bits | polarity        (the lower 16 bits)
    DAVIS:  0 for a pixel | row from below 9 bits | column from the right 10 bits | polarity | 0: no trigger | 10 bits

Words with bit 31 are samples of frames (APS) or of the inertial unit. The polarity of a DVS128 is kept as it is stored,
and so are its rows, as the preprocessing of MNIST-DVS has it; the camera itself stores 0 for brighter and counts rows
from below (`brighter`, `upward`), and so do files that are written.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import ClassVar

import numpy as np

from bitspike.data.formats.base import Array, Clock, Format, Source, View, stored, within
from bitspike.data.formats.cameras import CAMERAS, camera_in, smallest
from bitspike.data.formats.headers import marked_lines
from bitspike.errors import refuse

MAGIC = b"#!AER-DAT2.0"
PERIOD = 1 << 32
APS, TRIGGER, SYNC = 1 << 31, 1 << 10, 1 << 15
FRAMES, TRIGGERS = "samples of frames or of the inertial unit, skipped", "external events, skipped"


class Aedat2(Format):
    """Pixels of a DVS128 or a DAVIS."""

    suffixes: ClassVar[tuple[str, ...]] = (".aedat",)
    clock: ClassVar = "camera"

    def __init__(self, source: Source, size: tuple[int, int] | None = None, camera: str | None = None) -> None:
        """camera: DVS128, DAVIS240, ... (default: what the header names, or a DVS128 where no address is wider)."""
        super().__init__(source, size)
        lines = marked_lines(source, b"#")
        chips = [line for line in lines if re.search(r"AEChip:|HardwareInterface:", line)]
        named = next((found for line in chips for found in [camera_in(line)] if found), None)
        if camera is None and named is None:
            if chip := next((line.split(":", 1)[1].strip() for line in chips if "AEChip" in line), None):
                wanted = f"one of {', '.join(CAMERAS)} (or its layout by the option camera)"
                refuse(str(source.path), f"a recording of {chip}", wanted)
            named = self._guessed()
        self.camera = camera or named or ""
        if self.camera not in CAMERAS:
            refuse("event format 'aedat2' option camera", repr(camera), f"one of {', '.join(CAMERAS)}")
        self.size = CAMERAS[self.camera]
        self.about = {"camera": self.camera}
        if created := next((line for line in lines if "created " in line), None):
            self.about["date"] = created.split("created ", 1)[1][:40]
        self.upward, self.brighter = self.camera == "DVS128", int(self.camera != "DVS128")

    def _guessed(self) -> str:
        words = np.frombuffer(self.source.peek(1 << 19)[: self.source.left // 8 * 8], ">u4")
        if (words[::2] >> 16).any():
            wanted = "a header that names the camera, or the option camera (DAVIS240, DAVIS346, ...)"
            refuse(str(self.source.path), "addresses of more than 16 bits and no camera in the header", wanted)
        return "DVS128"

    @classmethod
    def recognises(cls, head: bytes, suffix: str) -> bool:
        """By its first line."""
        return head.startswith(MAGIC)

    def parts(self, recording: int = 0) -> Iterator[Array]:
        """Blocks of words."""
        clock, (height, width) = Clock(PERIOD), CAMERAS[self.camera]
        for block in self.source.blocks(8):
            raw = np.frombuffer(block, ">u4").reshape(-1, 2).astype(np.int64)
            address = raw[:, 0]
            if self.camera == "DVS128":
                frames, others = np.zeros(len(address), bool), address >= SYNC
            else:
                frames = (address & APS) != 0
                others = ~frames & ((address & TRIGGER) != 0)
            for words, found in ((FRAMES, frames), (TRIGGERS, others)):
                if (count := int(found.sum())) > 0:
                    self.said[words] += count
            # Samples of frames carry times of their own readout: the clock is that of the pixels.
            pixels = ~(frames | others)
            address, t = address[pixels], clock(raw[pixels, 1], self.said)
            if self.camera == "DVS128":
                yield self.events(t, width - 1 - (address >> 1 & 127), address >> 8 & 127, address & 1)
            else:
                x, y = width - 1 - (address >> 12 & 1023), height - 1 - (address >> 22 & 511)
                yield self.events(t, x, y, address >> 11 & 1)

    @classmethod
    def written(cls, path: Path, size: tuple[int, int]) -> tuple[View, int]:
        """See `Format`."""
        camera = smallest(path, size)
        return View(camera == "DVS128", int(camera != "DVS128")), CAMERAS[camera][0]

    @classmethod
    def write(cls, path: Path, parts: Iterable[Array], size: tuple[int, int]) -> None:
        """As a DVS128, or as the smallest DAVIS that has room."""
        camera, clock = smallest(path, size), Clock(PERIOD)
        height, width = CAMERAS[camera]
        with path.open("wb") as out:
            lines = ("#!AER-DAT2.0", "# Data format is int32 address, int32 timestamp", f"# AEChip: {camera}")
            out.write("".join(f"{line}\r\n" for line in lines).encode())
            for part in parts:
                within("x", part["x"], width)
                within("y", part["y"], height)
                x, y, p = (
                    width - 1 - part["x"].astype(np.int64),
                    part["y"].astype(np.int64),
                    part["p"].astype(np.int64),
                )
                raw = np.empty((len(part), 2), ">u4")
                raw[:, 0] = y << 8 | x << 1 | p if camera == "DVS128" else (height - 1 - y) << 22 | x << 12 | p << 11
                raw[:, 1] = stored(part["t"], PERIOD, clock)
                raw.tofile(out)
