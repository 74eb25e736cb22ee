"""LZ4 frames and Zstandard, unpacked piece by piece up to a limit, whatever they say of themselves."""

from __future__ import annotations

from typing import Any

from bitspike import extras
from bitspike.errors import refuse

MOST = 64 << 20
PIECE = 1 << 20


def unpack(kind: str, data: bytes, field: str) -> bytes:
    """The content of a packet; kind: "none", "lz4" or "zstd"."""
    if kind == "none":
        return data
    return (_lz4 if kind == "lz4" else _zstd)(data, field)


def pack(kind: str, data: bytes, field: str) -> bytes:
    """The inverse of `unpack`."""
    if kind == "none":
        return data
    packed: bytes = _library("lz4.frame", field).compress(data) if kind == "lz4" else _compressed(data, field)
    return packed


def _compressed(data: bytes, field: str) -> Any:
    return _library("zstandard", field).ZstdCompressor().compress(data)


def _library(name: str, field: str) -> Any:
    import importlib

    try:
        return importlib.import_module(name)
    except ImportError:
        extras.missing("events", f"{field}: reading or writing {'LZ4' if name.startswith('lz4') else 'Zstandard'}")


def _lz4(data: bytes, field: str) -> bytes:
    library = _library("lz4.frame", field)
    packed, size = library.LZ4FrameDecompressor(), 0
    pieces: list[bytes] = []
    given = data
    try:
        while not packed.eof:
            piece = packed.decompress(given, max_length=PIECE)
            given = b""
            if not piece and packed.needs_input:
                refuse(field, "a packet whose compressed content ends too soon", "a whole file (truncated?)")
            size = _added(pieces, piece, size, field)
    except (RuntimeError, ValueError, EOFError) as error:
        _damaged(error, field)
    return b"".join(pieces)


def _zstd(data: bytes, field: str) -> bytes:
    library = _library("zstandard", field)
    pieces: list[bytes] = []
    size = 0
    try:
        with library.ZstdDecompressor(max_window_size=MOST).stream_reader(data) as packed:
            while piece := packed.read(PIECE):
                size = _added(pieces, piece, size, field)
    except (library.ZstdError, ValueError) as error:
        _damaged(error, field)
    return b"".join(pieces)


def _added(pieces: list[bytes], piece: bytes, size: int, field: str) -> int:
    pieces.append(piece)
    if size + len(piece) > MOST:
        refuse(field, f"a packet of more than {MOST >> 20} MiB", "at most that")
    return size + len(piece)


def _damaged(error: Exception, field: str) -> None:
    refuse(field, f"a packet that cannot be unpacked ({error})", "one that is not damaged")
