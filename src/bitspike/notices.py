"""What takes long is said, once, on standard error: to people who wait, not to programs.

The command says it always; from Python it is said on a terminal and in notebooks.
"""

from __future__ import annotations

import sys

_said: set[str] = set()
always = False


def notice(text: str) -> None:
    """Say `text` in a line of its own, the first time."""
    if text in _said or sys.stderr is None:
        return
    if always or sys.stderr.isatty() or hasattr(sys, "ps1") or "ipykernel" in sys.modules:
        _said.add(text)
        print(f"bitspike: {text}", file=sys.stderr, flush=True)
