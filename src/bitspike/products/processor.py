"""What the processor found can do with few bits.

Integer products pay where the processor multiplies and adds int8 into int32 in one instruction (AVX512-VNNI, AMX).
Without it they are slower than float32, and on AVX2 a pair of products may saturate: they are not used at all.
Sums over spikes need no such instruction, only Numba.
"""

from __future__ import annotations

import importlib.util
import platform
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import torch


class Capabilities(NamedTuple):
    """processor: its name; vnni, amx: int8 products; bfloat16: bfloat16 products; compiled: Numba is installed."""

    processor: str
    vnni: bool
    amx: bool
    bfloat16: bool
    compiled: bool

    @property
    def integers(self) -> bool:
        """Whether int8 products are used."""
        return self.vnni or self.amx

    def __str__(self) -> str:
        found = [
            name for name, has in (("AVX512-VNNI", self.vnni), ("AMX", self.amx), ("bfloat16", self.bfloat16)) if has
        ]
        sums = "sums over spikes" if self.compiled else "no sums over spikes: Numba is not installed"
        if self.integers:
            return f"int8 products ({', '.join(found)}); {sums}"
        return f"float32 only: no AVX512-VNNI/AMX; {sums}"


@lru_cache(maxsize=1)
def capabilities() -> Capabilities:
    """What this processor, this torch and this installation can do; looked up once per process."""
    onednn = torch.backends.mkldnn.is_available()
    integers = onednn and _int8_is_right()
    return Capabilities(
        processor=_name(),
        vnni=integers and _has("_is_vnni_supported"),
        amx=integers and _has("_is_amx_tile_supported"),
        bfloat16=onednn and _has("_is_avx512_bf16_supported"),
        compiled=importlib.util.find_spec("numba") is not None,
    )


def _has(probe: str) -> bool:
    # Private names of torch: a version without one is taken as a processor without it.
    return bool(getattr(torch.cpu, probe, bool)())


def _int8_is_right() -> bool:
    """One small product at the ends of int8, against int64: a saturating instruction would show here."""
    a = torch.full((32, 64), 127, dtype=torch.int8)
    a[::2] = -128
    try:
        return torch.equal(torch._int_mm(a, a.t()).long(), a.long() @ a.long().t())
    except (RuntimeError, AttributeError):
        return False


def _name() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine() or "unknown"
