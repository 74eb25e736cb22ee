"""Edits that keep the wrapping whole, so that a mutant is read to its end: within JSON, archives, checked chunks."""

from __future__ import annotations

import copy
import gzip
import io
import json
import random
import struct
import zipfile
import zlib
from collections.abc import Callable
from typing import Any

from tests.campaigns.mutate import mutant

Inside = Callable[[bytes, random.Random], bytes]

VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2, 3.5, -0.0, 1e308, -1e308, 1e-320, 10**40, 2**63, "", "x", "nan", "\ud800", "a\nb",
    "__tensor__", [], {}, [1], [[1], [2, 3]], [None], {"x": 1}, [[[[]]]], [0.5] * 1000, {"__tuple__": [1]},
    {"__tensor__": "/model/x"}, float("nan"), float("inf"), -float("inf"),
)  # fmt: skip

HEADS = (
    (b"<f8", b"<f4"), (b"<f8", b"<i8"), (b"<i8", b"<f8"), (b"<f4", b"<i4"), (b"<i8", b">i8"), (b"(20", b"(02"),
    (b"False", b"True "), (b", ", b",1"), (b"<f4", b"<c8"), (b"<i8", b"|S8"), (b"<f8", b"|O8"), (b"(", b"(("),
)  # fmt: skip


def _places(content: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [path]
    if isinstance(content, dict | list):
        keys = content if isinstance(content, dict) else range(min(len(content), 50))
        for key in keys:
            found += _places(content[key], (*path, key))
    return found


def _edited(content: Any, draw: random.Random) -> Any:
    """One entry replaced, left out, doubled, renamed or exchanged with another."""
    places = [place for place in _places(content) if place]
    if not places:
        return copy.deepcopy(draw.choice(VALUES))
    place = draw.choice(places)
    holder = content
    for key in place[:-1]:
        holder = holder[key]
    key, kind = place[-1], draw.random()
    if kind < 0.55:
        # A copy: edits that follow must not change what later mutants are given.
        holder[key] = copy.deepcopy(draw.choice(VALUES))
    elif kind < 0.75:
        del holder[key]
    elif kind < 0.85:
        other = content
        for step in draw.choice(places):
            other = other[step]
        holder[key] = json.loads(json.dumps(other))
    elif isinstance(holder, list):
        holder.insert(key, json.loads(json.dumps(holder[key])))
    else:
        holder[draw.choice(("", "x", str(key) + "s"))] = holder.pop(key)
    return content


def in_json(data: bytes, draw: random.Random) -> bytes:
    """One to three entries of a JSON file."""
    content = json.loads(data)
    for _ in range(draw.choice((1, 1, 1, 2, 3))):
        content = _edited(content, draw)
    return json.dumps(content).encode()


def in_lines(data: bytes, draw: random.Random) -> bytes:
    """An entry of one object of a file of JSON lines."""
    lines = data.splitlines()
    at = draw.randrange(len(lines))
    lines[at] = in_json(lines[at], draw)
    return b"\n".join(lines) + b"\n"


def in_npz(data: bytes, draw: random.Random) -> bytes:
    """Bytes of one array of an .npz file; or arrays left out, renamed, exchanged; or all values of one the same."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    name, other = draw.choice(list(parts)), draw.choice(list(parts))
    kind = draw.random()
    if kind < 0.4:
        parts[name] = mutant([parts[name]], str(draw.random()), text=False)
    elif kind < 0.6:
        # The head of an array is text: {'descr': '<f8', 'fortran_order': False, 'shape': (20, 3), }
        head, body = parts[name][:128], parts[name][128:]
        old, new = draw.choice(HEADS)
        parts[name] = head.replace(old, new, 1) + body
    elif kind < 0.7:
        fill = draw.choice((b"\x00", b"\xff", b"\x7f", b"\x00\x00\xf8\x7f", b"\x00\x00\x00\x00\x00\x00\xf0\x7f"))
        size = len(parts[name]) - 128
        parts[name] = parts[name][:128] + (fill * size)[:size]
    elif kind < 0.8:
        parts[name], parts[other] = parts[other], parts[name]
    elif kind < 0.9:
        del parts[name]
    else:
        parts[draw.choice(("z.npy", "../z.npy", "x", "y.npy"))] = parts.pop(name)
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    return out.getvalue()


def in_gzip(data: bytes, draw: random.Random) -> bytes:
    """What a gzip file holds."""
    return gzip.compress(mutant([gzip.decompress(data)], str(draw.random()), text=False), 1, mtime=0)


def in_png(data: bytes, draw: random.Random) -> bytes:
    """A PNG's chunks, with the check sums that fit; of pixels, before they are compressed."""
    chunks, at = [], 8
    while at + 8 <= len(data):
        size = struct.unpack(">I", data[at : at + 4])[0]
        chunks.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + size]))
        at += 12 + size
    place = draw.randrange(len(chunks))
    name, body = chunks[place]
    if name == b"IDAT" and draw.random() < 0.5:
        body = zlib.compress(mutant([zlib.decompress(body)], str(draw.random()), text=False))
    else:
        body = mutant([body or b"\0"], str(draw.random()), text=False)
    chunks[place] = (name, body)
    if draw.random() < 0.3:
        chunks.insert(draw.randrange(len(chunks) + 1), draw.choice(chunks))
    parts = [
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body)) for name, body in chunks
    ]
    return data[:8] + b"".join(parts)
