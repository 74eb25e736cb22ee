"""Prophesee EVT 3.0 (`.raw`): little-endian words of 16 bits, each of which changes one thing of what holds.

    0: the row of all events behind it          6, 8: lower and upper 12 bits of the time, in us
    2: an event, its column and polarity        3: column and polarity at which the next row of bits begins
    4, 5: an event for each bit that is set, 12 and 8 columns on from there; the next row of bits begins behind them

When the upper part of the time changes, the lower is 0 until it is said. The upper part runs over after 2^24 us.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import ClassVar

import numpy as np

from bitspike.data.formats.base import Array, Clock, Format, Source, within
from bitspike.data.formats.prophesee import encoding, header, high_words, latest, text

ROW, COLUMN, BASE, BITS_12, BITS_8, LOW, HIGH, TRIGGER = 0, 2, 3, 4, 5, 6, 8, 10
OWN = "words of the camera's own"
NAMES = {TRIGGER: "external triggers", 7: f"{OWN} (continued)", 14: f"{OWN} (others)", 15: f"{OWN} (continued)"}
# By the type of a word: whether it holds events, whether it is none of those that are read, columns that it spans.
EVENTS = np.isin(np.arange(16), (COLUMN, BITS_12, BITS_8))
OTHERS = ~(EVENTS | np.isin(np.arange(16), (ROW, BASE, LOW, HIGH)))
SPAN = np.array([{BITS_12: 12, BITS_8: 8}.get(kind, 0) for kind in range(16)])
UNTIMED = "events before the first time and row, skipped"


class Evt3(Format):
    """A raw stream of EVT 3.0."""

    suffixes: ClassVar[tuple[str, ...]] = (".raw",)
    clock: ClassVar = "camera"

    def __init__(self, source: Source, size: tuple[int, int] | None = None) -> None:
        super().__init__(source, size)
        self.about, self.size = header(source)

    @classmethod
    def recognises(cls, head: bytes, suffix: str) -> bool:
        """By the encoding that its header names."""
        return encoding(head) == "3"

    def parts(self, recording: int = 0) -> Iterator[Array]:
        """Blocks of words; what holds at the end of one goes to the next."""
        self._loops, self._held = Clock(1 << 12), {"row": -1, "high": -1, "low": 0, "base": 0, "sign": 0}
        for block in self.source.blocks(2, what="a word"):
            yield self._part(np.frombuffer(block, "<u2").astype(np.int64))

    def _part(self, raw: Array) -> Array:
        kind, value, held = raw >> 12, raw & 0xFFF, self._held
        t = self._times(kind, value)
        row = latest(value & 0x7FF, kind == ROW, held["row"])
        # Where a row of bits begins: at the last base, and behind all rows of bits since then.
        based = kind == BASE
        on = SPAN[kind]
        far = np.cumsum(on)
        base = latest((value & 0x7FF) - far, based, held["base"]) + far
        sign = latest(value >> 11, based, held["sign"])
        held.update(row=int(row[-1]), base=int(base[-1]), sign=int(sign[-1]))

        events = EVENTS[kind]
        for number, count in zip(*np.unique(kind[OTHERS[kind]], return_counts=True), strict=True):
            self.said[f"{NAMES.get(int(number), f'words of the unknown type {number}')}, skipped"] += int(count)
        if (early := int((events & ((t < 0) | (row < 0))).sum())) > 0:
            self.said[UNTIMED] += early
            events &= (t >= 0) & (row >= 0)
        at = np.flatnonzero(events)
        single = kind[at] == COLUMN
        bits = np.where(single, 1, np.where(kind[at] == BITS_8, value[at] & 0xFF, value[at])).astype(np.int16)
        columns = np.where(single, value[at] & 0x7FF, base[at] - on[at])
        signs = np.where(single, value[at] >> 11, sign[at])
        if single.all():
            return self.events(t[at], columns, row[at], signs)
        which, bit = np.nonzero(bits[:, None] >> np.arange(12, dtype=np.int16) & 1)
        at = at[which]
        return self.events(t[at], columns[which] + bit, row[at], signs[which])

    def _times(self, kind: Array, value: Array) -> Array:
        """The time of each word, -1 before the first."""
        held, highs = self._held, kind == HIGH
        at = np.flatnonzero(highs)
        whole = np.zeros(len(kind), np.int64)
        said: Counter[str] = Counter()
        whole[at] = self._loops(value[at], said)
        for count in said.values():
            self.said["times ran over 2^24 us, which are added from there on"] += count
        high = latest(whole, highs, held["high"])
        changed = np.diff(high, prepend=held["high"]) != 0
        low = latest(np.where(kind == LOW, value, 0), (kind == LOW) | changed, held["low"])
        held.update(high=int(high[-1]), low=int(low[-1]))
        return np.where(high >= 0, high << 12 | low, -1)

    @classmethod
    def write(cls, path: Path, parts: Iterable[Array], size: tuple[int, int]) -> None:
        """At most 2,048 x 2,048 pixels; no rows of bits."""
        high = low = 0
        row = -1
        with path.open("wb") as out:
            out.write(text("3", size))
            np.array([HIGH << 12, LOW << 12], "<u2").tofile(out)
            for part in parts:
                for name in ("x", "y"):
                    within(name, part[name], 1 << 11)
                if len(part) == 0:
                    continue
                highs, lows, rows = part["t"] >> 12, part["t"] & 0xFFF, part["y"].astype(np.int64)
                said, times = high_words(highs, high, 1 << 10)
                new_high = np.diff(highs, prepend=high) != 0
                new_low = np.flatnonzero(new_high | (np.diff(lows, prepend=low) != 0))
                new_row = np.flatnonzero(np.diff(rows, prepend=row))
                at = np.concatenate([said, new_low, new_row])
                extra = np.concatenate(
                    [times & 0xFFF | HIGH << 12, lows[new_low] | LOW << 12, rows[new_row] | ROW << 12]
                )
                order = np.argsort(at, kind="stable")
                words = part["x"].astype(np.int64) | part["p"].astype(np.int64) << 11 | COLUMN << 12
                np.insert(words, at[order], extra[order]).astype("<u2").tofile(out)
                high, low, row = int(highs[-1]), int(lows[-1]), int(rows[-1])
