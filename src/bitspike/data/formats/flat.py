"""The little of FlatBuffers that AEDAT4 needs: tables read with bounds, and the few tables that are written.

A buffer begins with the place of its root table and four letters. A table begins with the distance back to its list of
fields; the list holds, in 16 bits each, its own length, the table's, and where each field lies in the table (0: it has
its default).
"""

from __future__ import annotations

import struct
from typing import Any

from bitspike.errors import BitspikeError, refuse


class Table:
    """A table within `data`; whatever points out of it is refused as damage of `field`."""

    def __init__(self, data: bytes, letters: bytes, field: str) -> None:
        self.data, self.field = data, field
        if data[4:8] != letters:
            refuse(field, f"a table of {data[4:8]!r}", f"one of {letters!r}")
        self.at = self.number("<I", 0)
        self.fields = self.at - self.number("<i", self.at)

    def number(self, form: str, at: int) -> int:
        """One number at byte `at`."""
        if at < 0 or at + struct.calcsize(form) > len(self.data):
            self.beyond()
        return int(struct.unpack_from(form, self.data, at)[0])

    def beyond(self) -> Any:
        """Say that a place lies outside."""
        raise BitspikeError(f"{self.field}: damaged (a table points outside its {len(self.data):,} bytes)")

    def place(self, which: int) -> int | None:
        """Where field number `which` lies, None where it has its default."""
        entry = 4 + 2 * which
        if entry + 2 > self.number("<H", self.fields):
            return None
        offset = self.number("<H", self.fields + entry)
        return self.at + offset if offset else None

    def value(self, which: int, form: str, otherwise: int) -> int:
        """A number of the table."""
        at = self.place(which)
        return otherwise if at is None else self.number(form, at)

    def vector(self, which: int, item: int) -> tuple[int, int]:
        """Where the elements (of `item` bytes) of a vector or text begin, and how many there are."""
        at = self.place(which)
        if at is None:
            return 0, 0
        begin = at + self.number("<I", at)
        count = self.number("<I", begin)
        if begin + 4 + count * item > len(self.data):
            self.beyond()
        return begin + 4, count


def with_vector(letters: bytes, elements: bytes, count: int) -> bytes:
    """A buffer, its size before it, whose root has one field: a vector of `count` elements, aligned to 8 bytes."""
    # Size 0:4; root 4:8, letters 8:12; fields 12:18; table 20:28; two bytes of nothing; length 28:32; elements.
    body = struct.pack("<I4sHHHxxiII", 16, letters, 6, 8, 4, 8, 4, count) + elements
    return struct.pack("<I", len(body)) + body


def with_header(compression: int, position: int, text: bytes) -> bytes:
    """The file's header: numbers of 32 and 64 bits, and a text."""
    # Root, letters; fields 8:18; table 20:40 (back, text, position, compression); text.
    fields = struct.pack("<HHHHH", 10, 20, 16, 8, 4)
    table = struct.pack("<iIqi", 12, 16, position, compression)
    body = struct.pack("<I4s", 20, b"IOHE") + fields + bytes(2) + table + struct.pack("<I", len(text)) + text + bytes(4)
    return struct.pack("<I", len(body)) + body
