"""Placeholder."""
from __future__ import annotations
import os
def interpreted() -> bool:
    return os.environ.get("TRITON_INTERPRET") == "1"
def unavailable() -> str | None:
    return "no"
