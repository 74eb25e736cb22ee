"""Files and folders that a person names: found, of the right kind, and read up to a limit. Imports nothing heavy."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

from bitspike.errors import BitspikeError, refuse

MIB = 1 << 20
TEXT_LIMIT = 4 * MIB  # of a recipe
STANDARD_INPUT_LIMIT = 32 * MIB
SPECIAL = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket", stat.S_IFCHR: "a device",
         stat.S_IFBLK: "a device"}  # fmt: skip


def home(path: Path | str, field: str) -> Path:
    """The path with a leading ~ or ~NAME replaced by that person's home; a NAME that is nobody's is refused."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        refuse(field, f"'{path}'", "a path (its '~' names nobody's home; ./~ is a file of that name)")


def kind_of(path: Path, field: str) -> int | None:
    """The file type of `path` (stat.S_IF...), links followed; None when there is nothing; a name that cannot be one
    (too long, no characters of this system) is refused."""
    try:
        return stat.S_IFMT(os.stat(path).st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except UnicodeEncodeError:
        refuse(field, f"'{path}'", "a name that this system can encode")
    except (OSError, ValueError) as error:
        refuse(field, f"'{path}'", f"a path that can be looked at ({getattr(error, 'strerror', None) or error})")


def is_folder(path: Path, field: str) -> bool:
    """Whether a folder is there."""
    return kind_of(path, field) == stat.S_IFDIR


def regular(path: Path, field: str, wanted: str) -> None:
    """Refuse whatever is not an ordinary file: reading a pipe or a device may never end."""
    kind = kind_of(path, field)
    if kind is None:
        refuse(field, f"'{path}', which is not there", wanted)
    if kind != stat.S_IFREG:
        refuse(field, f"'{path}', {SPECIAL.get(kind, 'a special file')}", wanted)


def replaceable(path: Path, field: str) -> None:
    """Refuse to put a file in the place of a folder, pipe or device: who may do so would replace /dev/null."""
    kind = kind_of(path, field)
    if kind not in (None, stat.S_IFREG):
        refuse(field, f"'{path}', {SPECIAL.get(kind or 0, 'a special file')}", "a file, or a name that is free")


def read_text(path: Path, field: str, wanted: str, most: int = TEXT_LIMIT) -> str:
    """The content of an ordinary file of at most `most` bytes, as UTF-8 text."""
    regular(path, field, wanted)
    try:
        with path.open("rb") as stream:
            content = stream.read(most + 1)
    except OSError as error:
        raise BitspikeError(f"{field}: cannot read '{path}' ({error.strerror or error})") from None
    if len(content) > most:
        refuse(field, f"'{path}', more than {_size(most)}", f"{wanted} of at most that")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        refuse(field, f"'{path}', bytes that are no UTF-8 text", wanted)


def read_standard_input(most: int = STANDARD_INPUT_LIMIT) -> str:
    """Standard input as UTF-8 text of at most `most` bytes, whatever this system's encoding is."""
    stream = getattr(sys.stdin, "buffer", None)
    if stream is None:  # closed, or a stream of text put in its place
        content = "" if sys.stdin is None else sys.stdin.read(most + 1)
        data = content.encode("utf-8", "surrogateescape")
    else:
        data = stream.read(most + 1)
    if len(data) > most:
        refuse("standard input", f"more than {_size(most)}", "at most that; a file may be longer")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        refuse("standard input", "bytes that are no UTF-8 text", "rows of CSV")


def run_name(name: str) -> str:
    """The name of a recipe as that of a folder in runs/; one that leads elsewhere, or is none, is refused."""
    if name in ("", ".", "..") or "/" in name or os.sep in name or name.startswith("~"):
        refuse("recipe name", repr(name), "a name that a folder can have; --out DIR writes elsewhere")
    return name


def named_beside(path: Path, ending: str) -> Path:
    """The path with `ending` behind its last name."""
    last = path.name or os.path.basename(os.path.abspath(path))
    if last in ("", ".."):
        refuse("--out", f"'{path}'", "a folder with a name of its own")
    return path.with_name(f"{last}{ending}") if path.name else Path(f"{last}{ending}")


def folder_for(name: str, out: Path | None, seed: int | None) -> Path:
    """Where a recipe's run goes: `out`, or runs/NAME, or of a seed that was asked for runs/NAME-seed-N."""
    if out is not None:
        return out
    folder = Path("runs") / run_name(name)
    return folder if seed is None else named_beside(folder, f"-seed-{seed}")


def run_folder(path: Path) -> None:
    """Refuse a path that is no run folder: one with a recipe.toml in it."""
    field = "run"
    if kind_of(path, field) is not None and kind_of(path / "recipe.toml", field) == stat.S_IFREG:
        return
    raise BitspikeError(f"run: '{path}' is not a run folder (no recipe.toml in it)")


def finished_run(path: Path) -> None:
    """Refuse a path that is no finished run: one with a result.json."""
    run_folder(path)
    if kind_of(path / "result.json", "run") is None:
        begun = {"shares.npz": "federate", "population": "tune"}
        verb = next((verb for name, verb in begun.items() if kind_of(path / name, "run") is not None), "train")
        raise BitspikeError(f"run '{path}': not finished; `bitspike {verb} ... --resume` goes on with it")


def _size(count: int) -> str:
    return f"{count // MIB:,} MiB" if count >= MIB else f"{count:,} bytes"
