"""What later processes need not compile again, on disk; any file of it may be lost, damaged or somebody else's.

    FOLDER/compiled/NAME-DIGEST.kernel      a line with the SHA-256 of what follows, then a pickled compiled function
    FOLDER/filmed/NAME-DIGEST.events        the same line, then the events of a simulated camera (`data.filmed`)

FOLDER is `BITSPIKE_CACHE` or the user's cache folder. The digest names everything the machine code depends on (see
`compiled`). A file that is not regular, not this user's, too long, or does not have the sum it says is dropped and made
again; it is never unpickled. Files appear whole, in one rename, so two processes may write one at the same time. Where
nothing can be kept, that is said once on standard error, and every process compiles for itself.
"""

from __future__ import annotations

import errno
import hashlib
import linecache
import os
import shutil
import stat
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from types import ModuleType

MODULES: dict[str, ModuleType] = {}
MARK = b"bitspike kernel 1 "
LARGEST = 64 << 20  # bytes of a file; kernels have a few hundred thousand at most

_said: set[str] = set()


def folder() -> Path:
    """`BITSPIKE_CACHE`, else the user's cache folder; a temporary one of this user where neither can be written."""
    wanted = os.environ.get("BITSPIKE_CACHE") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "bitspike"
    try:
        path = Path(wanted).expanduser()
        path.mkdir(parents=True, exist_ok=True)
        if os.access(path, os.W_OK):
            return path
        reason = "cannot be written"
    except (OSError, ValueError, RuntimeError) as error:  # a null character, an unknown user
        reason = _why(error)
    other = Path(tempfile.gettempdir()) / f"bitspike-{os.getuid() if hasattr(os, 'getuid') else 'cache'}"
    say(f"cache folder {_shown(wanted)} is not used ({reason}): {other} is")
    return other


def say(message: str) -> None:
    """One line on standard error, once in a process."""
    if message not in _said:
        _said.add(message)
        print(f"bitspike: {message}", file=sys.stderr)


def read(name: str, room: str = "compiled", largest: int = LARGEST) -> bytes | None:
    """What was kept under this name, if it is what was written; else None, and the file is gone where it can be."""
    path = folder() / room / name
    try:
        found = path.stat()
        if stat.S_ISREG(found.st_mode) and found.st_size <= largest and _ours(found):
            head, _, content = path.read_bytes().partition(b"\n")
            if head == MARK + hashlib.sha256(content).hexdigest().encode():
                return content
    except (OSError, ValueError):
        if not os.path.lexists(path):
            return None
    with suppress(OSError):
        drop(path)
    return None


def write(name: str, content: bytes, room: str = "compiled", lost: str = "kernels are compiled") -> None:
    """Keep it, in one rename; where that fails, say why (what is `lost` has to be done again) and go on without."""
    place = folder() / room
    draft = ""
    try:
        made(place)
        handle, draft = tempfile.mkstemp(dir=place, prefix=".", suffix=".tmp")
        with os.fdopen(handle, "wb") as file:
            file.write(MARK + hashlib.sha256(content).hexdigest().encode() + b"\n" + content)
        if (place / name).is_dir():
            drop(place / name)
        os.replace(draft, place / name)
    except OSError as error:
        say(f"{lost} again in every process: {_shown(place)}: {_why(error)}")
        with suppress(OSError):
            os.unlink(draft)


def module(source: str, name: str) -> ModuleType:
    """`source` as a module of its own; the same text is one module. `inspect` finds its lines, no file holds them."""
    digest = hashlib.sha256(source.encode()).hexdigest()[:16]
    unique = f"bitspike_kernel_{name}_{digest}"
    if unique not in MODULES:
        made = ModuleType(unique, source.split("\n", 1)[0].strip('"'))
        made.__file__ = f"<{unique}>"
        linecache.cache[made.__file__] = (len(source), None, source.splitlines(keepends=True), made.__file__)
        sys.modules[unique] = made
        exec(compile(source, made.__file__, "exec"), made.__dict__)
        MODULES[unique] = made
    return MODULES[unique]


def _ours(found: os.stat_result) -> bool:
    return not hasattr(os, "geteuid") or found.st_uid in (os.geteuid(), 0)


def made(place: Path) -> None:
    """A folder of the cache that is this user's alone to write to; whatever else bears its name goes."""
    if os.path.lexists(place) and not place.is_dir():
        drop(place)
    # Files are unpickled later: nobody else may put some there.
    place.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not _ours(place.stat()):
        raise PermissionError(errno.EPERM, "it is another user's")


def drop(path: Path) -> None:
    """Remove a file, or a folder with all that is in it."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def _why(error: Exception) -> str:
    return (getattr(error, "strerror", None) or str(error)).lower()


def _shown(path: object) -> str:
    text = ascii(str(path))
    return text if len(text) <= 200 else f"{text[:200]}..."
