"""Time on a machine that others use as well: what is waited for a processor is nobody's fault."""

from __future__ import annotations

import time
from pathlib import Path


def idle(process: int | str = "self") -> float:
    """Seconds, from any beginning, in which a process (its first thread) neither worked nor waited for a processor."""
    working, queued = Path(f"/proc/{process}/schedstat").read_text().split()[:2]
    return time.monotonic() - (int(working) + int(queued)) / 1e9
