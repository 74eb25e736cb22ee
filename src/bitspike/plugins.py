"""Own files that register something: each is imported once, before a name is looked up.

They are the .py files of the folders in the environment variable BITSPIKE_PLUGINS (':'-separated; the command's
`--plugins DIR` adds to it), those that a run was made with, and the modules that installed packages name as entry
points of the group `bitspike.plugins`. A file whose content was read already is not read again.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import sys
import traceback
from pathlib import Path

from bitspike.errors import BitspikeError, refuse
from bitspike.paths import home, is_folder, read_text

VARIABLE = "BITSPIKE_PLUGINS"
GROUP = "bitspike.plugins"

_folders: dict[str, str | None] = {}  # a folder that was asked for -> None, or why it was not read
_files: dict[str, str] = {}  # SHA-256 of a file's text -> its path
_modules: dict[str, str] = {}  # what a file was imported as -> the first digits of its SHA-256
_asked: dict[str, None] = {}  # folders that were given beside the variable, in their order
_state = {"entries": False, "variable": ""}


def add(folder: Path | str) -> None:
    """Also read the files of `folder`, now and in every process that this one starts."""
    path = home(folder, "--plugins")
    if not is_folder(path, "--plugins"):
        refuse("--plugins", f"'{folder}'", "an existing folder of .py files")
    _asked[str(path)] = None
    entries = [entry for entry in os.environ.get(VARIABLE, "").split(":") if entry]
    if str(path.resolve()) not in entries:
        os.environ[VARIABLE] = ":".join([*entries, str(path.resolve())])


def recall(folders: list[str]) -> None:
    """Read the folders that a run was made with, unless others are named; one that is not read is remembered."""
    for folder in folders:
        if _folders.get(folder, "") is None:
            continue
        if not Path(folder).is_dir():
            _folders[folder] = "are not there"
        elif os.environ.get(VARIABLE):
            _folders[folder] = "were not read, as others are named"
        else:
            _read_folder(folder)


def asked() -> list[str]:
    """The folders that were given to `add`, as they were."""
    return list(_asked)


def used() -> list[str]:
    """The folders that were read."""
    ready()
    return [folder for folder, state in _folders.items() if state is None]


def unread() -> dict[str, str]:
    """The folders that a run was made with and that were not read, and why."""
    return {folder: why for folder, why in _folders.items() if why is not None}


def digest_of(module: str) -> str | None:
    """The first digits of the SHA-256 of the own file that was imported as `module`; None: it is no own file."""
    return _modules.get(module)


def ready() -> None:
    """Read what was not read yet."""
    if not _state["entries"]:
        _state["entries"] = True
        from importlib.metadata import entry_points

        for point in entry_points(group=GROUP):
            try:
                point.load()
            except BitspikeError:
                raise
            except Exception as error:
                raise BitspikeError(f"plug-in '{point.value}' of an installed package: {_said(error)}") from error
    if (variable := os.environ.get(VARIABLE, "")) != _state["variable"]:
        _state["variable"] = variable
        for entry in filter(None, variable.split(":")):
            path = home(entry, VARIABLE)
            if not is_folder(path, VARIABLE):
                refuse(VARIABLE, f"'{entry}'", "an existing folder of .py files")
            if _folders.get(folder := str(path.resolve()), "") is not None:
                _read_folder(folder)


def _read_folder(folder: str) -> None:
    _folders[folder] = None  # before its files ask for something by name
    try:
        for path in sorted(Path(folder).glob("*.py")):
            if not path.name.startswith("_"):
                _read(path)
    except BaseException:
        del _folders[folder]
        _state["variable"] = ""  # asked again, it fails again
        raise


def _read(path: Path) -> None:
    """Import one file under a name of its own."""
    digest = hashlib.sha256(read_text(path, "plug-in", "a Python file").encode()).hexdigest()
    if digest in _files:
        return
    name = f"bitspike_own_{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        refuse("plug-in", f"'{path}'", "a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pickling look modules up by name
    _files[digest], _modules[name] = str(path), digest[:16]
    try:
        spec.loader.exec_module(module)
    except BaseException as error:
        del sys.modules[name], _files[digest], _modules[name]
        if isinstance(error, BitspikeError):
            raise BitspikeError(f"plug-in '{path}': {error}") from error
        if not isinstance(error, Exception | SystemExit):
            raise
        raise BitspikeError(f"plug-in '{path}'{_line(error, path)}: {_said(error)}") from error


def blamed(error: Exception) -> str:
    """The line that says an error of an own file, or a method that its class lacks; "" for one that is not of these.

    What breaks in this package, called from an own file, is not the file's: it stays a traceback.
    """
    own, ours = set(_files.values()), str(Path(__file__).parent)
    for frame, number in reversed(list(traceback.walk_tb(error.__traceback__))):
        made = type(frame.f_locals.get("self"))
        if frame.f_code.co_filename in own:
            return f"plug-in '{frame.f_code.co_filename}', line {number}: {_said(error)}"
        if isinstance(error, NotImplementedError) and made.__module__ in _modules:
            file = sys.modules[made.__module__].__file__
            lacks = str(error) or f"{made.__name__} has no method '{frame.f_code.co_name}'"
            return f"plug-in '{file}': {lacks}"
        if frame.f_code.co_filename.startswith(ours):
            break
    return ""


def _line(error: BaseException, path: Path) -> str:
    """Where in the file it happened."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    number = getattr(error, "lineno", None) if isinstance(error, SyntaxError) else lines[-1] if lines else None
    return f", line {number}" if number else ""


def _said(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"
