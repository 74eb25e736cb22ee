"""AEDAT4 of iniVation's DV (`.aedat4`): packets of streams, compressed one by one, tables of FlatBuffers in them.

The header names the compression, where the table of packets begins behind them (-1: there is none) and, as XML, each
stream's type and sensor. An event is 16 bytes: time in us 64 bits, column and row 16 bits each, and whether it is ON.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal
from xml.etree import ElementTree

import numpy as np

from bitspike.data.formats.base import Array, Format, Source
from bitspike.data.formats.flat import Table, with_header, with_vector
from bitspike.data.formats.unpacked import pack, unpack
from bitspike.errors import refuse

MAGIC = b"#!AER-DAT4.0\r\n"
PACKET = struct.Struct("<ii")
EVENTS = "EVTS"
NAMES = {"FRME": "frames", "IMUS": "samples of the inertial unit", "TRIG": "triggers"}
KINDS = ("none", "lz4", "lz4", "zstd", "zstd")
STORED = {"none": 0, "lz4": 1, "zstd": 3}
PIXEL = np.dtype({"names": ["t", "x", "y", "p"], "formats": ["<i8", "<i2", "<i2", "u1"], "offsets": [0, 8, 10, 12],
                  "itemsize": 16})  # fmt: skip
LONGEST_HEADER = 1 << 20
MOST = 4096  # events of a packet that is written


@dataclass
class _Stream:
    kind: str
    size: tuple[int, int] | None
    camera: str | None


class Aedat4(Format):
    """One stream of events of a recording; packets of the others are skipped and counted."""

    suffixes: ClassVar[tuple[str, ...]] = (".aedat4",)
    clock: ClassVar = "camera"

    def __init__(self, source: Source, size: tuple[int, int] | None = None, stream: int | None = None) -> None:
        """stream: the number of the stream of events (default the first)."""
        super().__init__(source, size)
        source.take(len(MAGIC), "the header")
        length = int.from_bytes(source.take(4, "the header"), "little")
        if length > LONGEST_HEADER:
            refuse(str(source.path), f"a header of {length:,} bytes", f"at most {LONGEST_HEADER:,}")
        head = Table(source.take(length, "the header"), b"IOHE", str(source.path))
        kind, self.end = head.value(0, "<i", 0), head.value(1, "<q", -1)
        if not 0 <= kind < len(KINDS):
            refuse(str(source.path), f"compression number {kind}", "0 to 4 (none, LZ4, Zstandard)")
        if self.end < 0:
            self.end = source.length
        elif not source.at <= self.end <= source.length:
            came = f"{source.length:,} bytes, and a table of packets at byte {self.end:,}"
            refuse(str(source.path), came, "a whole file (truncated?)")
        self.compression = KINDS[kind]
        begin, count = head.vector(2, 1)
        self.streams = _streams(head.data[begin : begin + count], str(source.path))
        events = sorted(number for number, one in self.streams.items() if one.kind == EVENTS)
        if stream is not None and stream not in events:
            refuse("event format 'aedat4' option stream", stream, f"one of {', '.join(map(str, events)) or 'none'}")
        if not events:
            kinds = ", ".join(sorted({one.kind for one in self.streams.values()})) or "none"
            refuse(str(source.path), f"streams of type {kinds}", "a stream of events (EVTS)")
        self.stream = events[0] if stream is None else stream
        chosen = self.streams[self.stream]
        self.size = chosen.size
        self.about = {"compression": self.compression}
        if len(events) > 1:
            self.about["stream"] = f"{self.stream}, of {', '.join(map(str, events))}"
        if chosen.camera:
            self.about["camera"] = chosen.camera

    @classmethod
    def recognises(cls, head: bytes, suffix: str) -> bool:
        """By its first line."""
        return head.startswith(MAGIC)

    def parts(self, recording: int = 0) -> Iterator[Array]:
        """One packet after the other."""
        source, field = self.source, str(self.source.path)
        while source.at < self.end:
            number, length = PACKET.unpack(source.take(PACKET.size, "a packet's header"))
            if length < 0 or length > self.end - source.at:
                source.cut(f"a packet of {length:,} bytes")
            if number != self.stream:
                kind = self.streams[number].kind if number in self.streams else "unknown"
                what = "of other events" if kind == EVENTS else f"of {NAMES.get(kind, f'type {kind}')}"
                self.said[f"packets {what}, skipped"] += 1
                source.seek(source.at + length)
                continue
            data = unpack(self.compression, source.take(length, "a packet"), field)
            table = Table(data[4:], EVENTS.encode(), field)
            begin, count = table.vector(0, PIXEL.itemsize)
            raw = np.frombuffer(table.data, PIXEL, count, begin) if count else np.empty(0, PIXEL)
            yield self.events(raw["t"], raw["x"], raw["y"], raw["p"])

    @classmethod
    def write(
        cls,
        path: Path,
        parts: Iterable[Array],
        size: tuple[int, int],
        compression: Literal["none", "lz4", "zstd"] = "lz4",
    ) -> None:
        """Packets of at most 4,096 events and no table of packets, which readers do not need."""
        info = "".join(
            f'<attr key="{key}" type="{kind}">{value}</attr>'
            for key, kind, value in (
                ("sizeX", "int", size[1]),
                ("sizeY", "int", size[0]),
                ("source", "string", "bitspike"),
            )
        )
        root = "/mainloop/Recorder/outInfo/"
        text = (
            f'<dv version="2.0"><node name="outInfo" path="{root}"><node name="0" path="{root}0/">'
            f'<attr key="compression" type="string">{compression.upper()}</attr>'
            '<attr key="originalModuleName" type="string">bitspike</attr>'
            '<attr key="originalOutputName" type="string">events</attr>'
            '<attr key="typeDescription" type="string">Array of events (polarity ON/OFF).</attr>'
            f'<attr key="typeIdentifier" type="string">{EVENTS}</attr>'
            f'<node name="info" path="{root}0/info/">{info}</node></node></node></dv>'
        )
        with path.open("wb") as out:
            out.write(MAGIC + with_header(STORED[compression], -1, text.encode()))
            for part in parts:
                for at in range(0, len(part), MOST):
                    some = np.zeros(len(part[at : at + MOST]), PIXEL)
                    for name in ("t", "x", "y", "p"):
                        some[name] = part[name][at : at + MOST]
                    data = pack(compression, with_vector(EVENTS.encode(), some.tobytes(), len(some)), "event file")
                    out.write(PACKET.pack(0, len(data)) + data)


def _streams(text: bytes, field: str) -> dict[int, _Stream]:
    """Number, type and sensor of each stream, from the XML of the header."""
    if b"<!" in text:
        refuse(field, "a header with declarations in its XML", "plain nodes and attributes")
    try:
        root = ElementTree.fromstring(text)
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        refuse(field, f"a header whose XML cannot be read ({error})", "one that is not damaged")
    found = {}
    for node in root.iterfind("./node[@name='outInfo']/node"):
        name = node.get("name", "")
        if not (name.isascii() and name.isdecimal() and len(name) < 10):
            continue
        info = {each.get("key"): each.text or "" for each in node.iterfind("./node[@name='info']/attr")}
        own = {each.get("key"): each.text or "" for each in node.iterfind("./attr")}
        sides = [info.get(key, "") for key in ("sizeY", "sizeX")]
        size = None
        if all(side.isascii() and side.isdecimal() and 0 < int(side[:9]) <= 1 << 15 for side in sides):
            size = int(sides[0]), int(sides[1])
        elif any(sides):
            refuse(field, f"a sensor of {sides[0]} x {sides[1]}", "rows and columns from 1 to 32,768")
        found[int(name)] = _Stream(own.get("typeIdentifier", "unknown")[:40], size, info.get("source", "")[:80] or None)
    return found
