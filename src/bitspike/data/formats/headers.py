"""Headers of text: lines that begin with a mark, then events."""

from __future__ import annotations

import re

from bitspike.data.formats.base import Source
from bitspike.errors import refuse

MOST = 4 << 20
LONGEST = 200  # letters of a value
CONTROL = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f]")


def marked_lines(source: Source, mark: bytes, last: str = "") -> list[str]:
    """Lines from here that begin with `mark`, up to one that begins with `last`; the place is behind them then.

    A line with control characters is none: events may begin with the mark's byte too.
    """
    start = source.at
    head = source.peek(MOST)
    lines: list[str] = []
    at = 0
    while head.startswith(mark, at):
        end = head.find(b"\n", at)
        if end < 0:
            if at == 0 and len(head) == MOST:
                refuse(str(source.path), f"a header of more than {MOST:,} bytes", "at most that")
            break
        line = head[at:end]
        if CONTROL.search(line):
            break
        lines.append(line.decode("utf-8", "replace").strip())
        at = end + 1
        if last and lines[-1].startswith(last):
            break
    source.seek(start + at)
    return lines


def value_of(lines: list[str], name: str, split: str = " ") -> str | None:
    """What stands behind "MARK NAME" in a header, letters of any size; its beginning, where it is long."""
    for line in lines:
        words = line.lstrip("%#! ").strip()
        if words.lower().startswith(name.lower() + split):
            return words[len(name) + len(split) :].strip()[:LONGEST]
    return None
