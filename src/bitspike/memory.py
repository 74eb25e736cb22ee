"""Freed arrays stay with a process that trains, where each new one would cost a page fault for every 4 KB.

The GNU C library gives large arrays back when they are freed. A training makes and frees the same ones at every update;
with these thresholds they are used again, and nothing else changes.
"""

from __future__ import annotations

import ctypes
import os
import platform

LARGEST = 64 << 20  # bytes of an array that comes from memory that was used before
KEPT = 1 << 30  # bytes at the end of it that are kept free
# The library's names, its numbers for `mallopt`, and values.
THRESHOLDS = {
    "MALLOC_MMAP_THRESHOLD_": (-3, LARGEST),
    "MALLOC_TRIM_THRESHOLD_": (-1, KEPT),
    "MALLOC_TOP_PAD_": (-2, LARGEST),
}


def keep_freed() -> bool:
    """Set the thresholds of this process and of those that it starts; False where there is another C library.

    What somebody has set by environment variables stays as it is.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    if any(name in os.environ for name in THRESHOLDS) or "glibc.malloc" in os.environ.get("GLIBC_TUNABLES", ""):
        return False
    library = ctypes.CDLL(None)
    for name, (number, value) in THRESHOLDS.items():
        if not library.mallopt(number, value):
            return False
        os.environ[name] = str(value)
    return True
