"""One mutant: a good file with one to four edits, drawn from a seeded generator."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence

# What headers hold badly: signs, ends of ranges, sizes that no file has.
MAGIC = [
    b"\x00", b"\xff", b"\x7f", b"\x80", b"\x00\x00", b"\xff\xff", b"\xff\x7f", b"\x00\x80",
    b"\x00\x00\x00\x00", b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f", b"\x7f\xff\xff\xff", b"\x00\x00\x00\x80",
    b"\x80\x00\x00\x00", b"\x00\x00\x00\x10", b"\x10\x00\x00\x00", b"\xff" * 8, b"\x00" * 8,
]  # fmt: skip
TOKENS = [
    b"0", b"-1", b"1e999", b"-1e-400", b"nan", b"inf", b"9" * 40, b"1" * 5000, b"0x1f", b"1_0", b"1,5", b"null",
    b"true", b"[]", b"{}", b"[[", b"}}", b'""', b'"', b"'", b"\xff\xfe", b"\xc3\x28", b"\x00", b"\n", b"\r", b"\t",
    b" ", b"=", b":", b"\\u0000", b"\\ud800", b"\xf0\x9f\x90\x9f", b"\xe2\x80\xa8", b"[" * 3000, b"a." * 3000, b"3.0",
    b"1e308", b"18446744073709551616", b"-9223372036854775809", b"/dev/null", b"~nosuch", b"../..",
]  # fmt: skip
TOKEN = re.compile(rb"[A-Za-z_]+|-?[0-9][0-9.eE+-]*|[^\sA-Za-z0-9]")
HEADER = 96

Edit = Callable[[bytearray, random.Random, Sequence[bytes]], bytearray]


def _place(data: bytearray, draw: random.Random) -> int:
    """A position, half of the time near the beginning or the end, where formats keep what they are."""
    if draw.random() < 0.5:
        return draw.randrange(len(data) + 1)
    near = draw.randrange(min(HEADER, len(data)) + 1)
    return near if draw.random() < 0.7 else len(data) - near


def _flip(data: bytearray, draw: random.Random, seeds: Sequence[bytes]) -> bytearray:
    for _ in range(draw.choice((1, 1, 2, 8))):
        if data:
            data[min(_place(data, draw), len(data) - 1)] ^= 1 << draw.randrange(8)
    return data


def _cut(data: bytearray, draw: random.Random, seeds: Sequence[bytes]) -> bytearray:
    return data[: _place(data, draw)]


def _insert(data: bytearray, draw: random.Random, seeds: Sequence[bytes]) -> bytearray:
    at = _place(data, draw)
    return data[:at] + draw.randbytes(draw.choice((1, 1, 2, 4, 16, 200))) + data[at:]


def _delete(data: bytearray, draw: random.Random, seeds: Sequence[bytes]) -> bytearray:
    at = _place(data, draw)
    del data[at : at + draw.choice((1, 1, 2, 4, 16, 200))]
    return data


def _splice(data: bytearray, draw: random.Random, seeds: Sequence[bytes]) -> bytearray:
    other = bytearray(draw.choice(list(seeds)))
    return data[: _place(data, draw)] + other[_place(other, draw) :]


def _magic(data: bytearray, draw: random.Random, seeds: Sequence[bytes]) -> bytearray:
    at, value = _place(data, draw), draw.choice(MAGIC)
    data[at : at + len(value)] = value
    return data


def _repeat(data: bytearray, draw: random.Random, seeds: Sequence[bytes]) -> bytearray:
    at, size = _place(data, draw), draw.choice((1, 4, 30, 500))
    return data[:at] + data[at : at + size] * draw.choice((1, 2, 50)) + data[at:]


def _token(data: bytearray, draw: random.Random, seeds: Sequence[bytes]) -> bytearray:
    """Another word or number in the place of one, one left out, or two exchanged."""
    found = list(TOKEN.finditer(bytes(data)))
    if not found:
        return data
    one, other = draw.choice(found), draw.choice(found)
    kind = draw.random()
    new = draw.choice(TOKENS) if kind < 0.6 else other.group() if kind < 0.9 else b""
    return data[: one.start()] + new + data[one.end() :]


def _line(data: bytearray, draw: random.Random, seeds: Sequence[bytes]) -> bytearray:
    """A line left out, doubled or moved."""
    lines = data.splitlines(keepends=True)
    if not lines:
        return data
    at = draw.randrange(len(lines))
    taken = [lines.pop(at)] * draw.choice((0, 1, 2))
    there = draw.randrange(len(lines) + 1)
    return bytearray(b"".join([*lines[:there], *taken, *lines[there:]]))


BYTES: tuple[Edit, ...] = (_flip, _flip, _cut, _insert, _delete, _splice, _magic, _magic, _repeat)
TEXT: tuple[Edit, ...] = (*BYTES[1:], _token, _token, _token, _token, _token, _line, _line)


def mutant(seeds: Sequence[bytes], key: str, text: bool) -> bytes:
    """The mutant of the name `key`: the same bytes for the same seeds, everywhere."""
    draw = random.Random(key)
    data = bytearray(draw.choice(list(seeds)))
    for _ in range(draw.choice((1, 1, 1, 2, 3, 4))):
        data = draw.choice(TEXT if text else BYTES)(data, draw, seeds)
    return bytes(data)
