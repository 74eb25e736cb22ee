"""Memory of this process, from Linux's own count of it.

Not `getrusage`: its peak is handed on to a process that is started, whatever that needs itself.
"""

from __future__ import annotations

from pathlib import Path


def resident(what: str = "VmHWM") -> int:
    """Bytes in memory: VmHWM at most since the process began, VmRSS now."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{what}:")) << 10
