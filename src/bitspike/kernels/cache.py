"""Generated modules on disk: one file per digest of its source, so that later processes compile nothing."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import sys
import tempfile
from pathlib import Path
from types import ModuleType

MODULES: dict[str, ModuleType] = {}


def folder() -> Path:
    """`BITSPIKE_CACHE`, else the user's cache folder; a temporary one where neither can be written."""
    wanted = os.environ.get("BITSPIKE_CACHE") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "bitspike"
    path = Path(wanted).expanduser()
    try:
        path.mkdir(parents=True, exist_ok=True)
        if os.access(path, os.W_OK):
            return path
    except OSError:
        pass
    return Path(tempfile.gettempdir()) / f"bitspike-{os.getuid() if hasattr(os, 'getuid') else 'cache'}"


def module(source: str, name: str) -> ModuleType:
    """Import `source` as a module from its file in the cache; the same text is imported once."""
    digest = hashlib.sha256(source.encode()).hexdigest()[:16]
    unique = f"bitspike_kernel_{name}_{digest}"
    if unique not in MODULES:
        path = folder() / "kernels" / f"{unique}.py"
        if not path.is_file() or path.read_text() != source:
            path.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile("w", dir=path.parent, suffix=".tmp", delete=False) as file:
                file.write(source)
            os.replace(file.name, path)
        spec = importlib.util.spec_from_file_location(unique, path)
        assert spec is not None
        assert spec.loader is not None
        made = importlib.util.module_from_spec(spec)
        sys.modules[unique] = made
        spec.loader.exec_module(made)
        MODULES[unique] = made
    return MODULES[unique]
