"""What an HDF5 file says of its arrays of arrays, looked at before the library believes it.

The library takes as much memory for an inner array as its reference declares, and only then looks for it. A reference
is 16 bytes: how many elements, where in the file they are, and which of those there. Links to other files, storage in
them, and sizes that this file has no room for are refused.
"""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np

from bitspike.data.formats.base import Array, Source
from bitspike.errors import refuse

ITEM = 16
MOST_CHUNK = 1 << 22  # elements of a chunk
DEFLATE, SHUFFLE = 1, 2


def own(file: Any, name: str, library: Any, source: Source) -> Any:
    """The array or group `name` of the file itself, None where there is none."""
    at = file
    for part in name.split("/"):
        if not isinstance(at, library.Group):
            return None
        link = at.get(part, getlink=True)
        if link is None:
            return None
        if not isinstance(link, library.HardLink):
            refuse(str(source.path), f"a link in the place of {name}", "the array itself")
        at = at[part]
    if isinstance(at, library.Dataset):
        made = at.id.get_create_plist()
        if made.get_external_count() or made.get_layout() == library.h5d.VIRTUAL:
            refuse(str(source.path), f"{name} in another file", "the array itself")
        if at.chunks is not None and np.prod(at.chunks, dtype=float) > MOST_CHUNK:
            refuse(str(source.path), f"{name} in chunks of {at.chunks}", f"at most {MOST_CHUNK:,} elements")
    return at


def check_inner(array: Any, library: Any, source: Source) -> None:
    """Refuse an array (N,) of arrays, or of text, that together are larger than the file."""
    base = library.check_vlen_dtype(array.dtype)
    if library.check_string_dtype(array.dtype) is not None:
        base = np.dtype("u1")
    if base is None:
        refuse(str(source.path), f"{array.name} of {array.dtype}", "an array of arrays")
    if array.file.id.get_create_plist().get_sizes() != (8, 8):
        refuse(str(source.path), "places of other than 8 bytes", "an HDF5 file as h5py and PyTables write it")
    said = _lengths(array, library, source)
    if float(said.sum(dtype=float)) * base.itemsize > source.length:
        came = f"{array.name} of {int(said.sum(dtype=float)):,} elements in {source.length:,} bytes"
        refuse(str(source.path), came, "no more than the file has room for")


def _lengths(array: Any, library: Any, source: Source) -> Array:
    """How many elements each inner array is said to have; those that were never written have none."""
    made = array.id.get_create_plist()
    layout = made.get_layout()
    if layout == library.h5d.CONTIGUOUS:
        at = array.id.get_offset()
        blocks = [] if at is None else [_bytes(source, at, len(array) * ITEM, array.name)]
    elif layout == library.h5d.CHUNKED:
        blocks = []
        filters = [made.get_filter(k)[0] for k in range(made.get_nfilters())]
        size = int(array.chunks[0]) * ITEM
        for number in range(array.id.get_num_chunks()):
            chunk = array.id.get_chunk_info(number)
            content = _bytes(source, chunk.byte_offset, chunk.size, array.name)
            blocks.append(_unfiltered(content, filters, size, chunk.filter_mask, source))
    else:
        refuse(str(source.path), f"{array.name} kept in its header", "an array as h5py and PyTables write it")
    return np.concatenate([np.zeros(0, np.int64), *(_counts(block) for block in blocks)])


def _counts(block: bytes) -> Array:
    whole = np.frombuffer(block[: len(block) // ITEM * ITEM], np.uint8).reshape(-1, ITEM)
    return np.ascontiguousarray(whole[:, :4]).view("<u4")[:, 0].astype(np.int64)


def _bytes(source: Source, at: int, count: int, name: str) -> bytes:
    if at < 0 or count < 0 or at + count > source.length:
        refuse(str(source.path), f"{name} at byte {at:,}, {count:,} bytes", "a place within the file (truncated?)")
    source.seek(at)
    return source.take(count, name)


def _unfiltered(content: bytes, filters: list[int], size: int, mask: int, source: Source) -> bytes:
    """A chunk's bytes before its filters, deflate and shuffle; others are refused."""
    for k, kind in reversed(list(enumerate(filters))):
        if mask >> k & 1:
            continue
        if kind == DEFLATE:
            try:
                content = zlib.decompressobj().decompress(content, size)
            except zlib.error as error:
                refuse(str(source.path), f"a chunk that cannot be unpacked ({error})", "one that is not damaged")
        elif kind == SHUFFLE:
            whole = len(content) // ITEM
            content = np.frombuffer(content[: whole * ITEM], np.uint8).reshape(ITEM, whole).T.tobytes()
        else:
            refuse(str(source.path), f"an array behind filter number {kind}", "none, deflate or shuffle")
    return content
