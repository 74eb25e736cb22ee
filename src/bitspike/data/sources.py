"""Where the files of a data set are found, and what they are (SHA-256).

A folder that is given wins and is the only one searched; else each entry of the environment variable
BITSPIKE_DATA (':'-separated) is; else files whose SHA-256 is listed are downloaded into the user's cache.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NoReturn

import numpy as np
from torch import Tensor

from bitspike.errors import BitspikeError, refuse
from bitspike.paths import home, is_folder


def search_folders(folder: Path | None) -> list[Path]:
    """The folders to search, in order."""
    if folder is not None:
        folder = home(folder, "data folder")
        if not is_folder(folder, "data folder"):
            refuse("data folder", folder, "an existing folder")
        return [folder]
    entries = os.environ.get("BITSPIKE_DATA", "").split(":")
    return [home(entry, "BITSPIKE_DATA") for entry in entries if entry]


def find_folder(names: Sequence[str], folder: Path | None) -> Path | None:
    """The first existing BASE/NAME; a folder that is given may itself bear the name."""
    bases = search_folders(folder)
    for base in bases:
        for name in names:
            if (base / name).is_dir():
                return base / name
            if folder is not None and base.resolve().as_posix().endswith("/" + name):
                return base
    return None


def find_file(file: str, inner: Sequence[str], folder: Path | None) -> Path | None:
    """The first existing BASE/INNER/FILE."""
    places = (base / name / file for base in search_folders(folder) for name in inner)
    return next((place for place in places if place.is_file()), None)


def where_to_put(names: Sequence[str], folder: Path | None) -> str:
    """The folder in which a missing file would be found, in words."""
    bases = search_folders(folder)
    return str(bases[0] / names[0]) if bases else f"FOLDER/{names[0]} with BITSPIKE_DATA=FOLDER"


def found_folder(name: str, put: str, names: Sequence[str], folder: Path | None) -> Path:
    """`find_folder`; where there is none, a line on what to put where."""
    return find_folder(names, folder) or not_downloaded(name, put, names, folder)


def not_downloaded(name: str, put: str, names: Sequence[str], folder: Path | None) -> NoReturn:
    """Say that the files of a set are not there, and no SHA-256 of them is known to download them by."""
    where = where_to_put(names, folder)
    raise BitspikeError(f"{name}: not found and not downloaded (no verified SHA-256); put {put} into {where}")


def sha256_of_file(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def sha256_of_files(root: Path, paths: Iterable[Path]) -> str:
    """SHA-256 of the lines "SHA256  PATH" of the files, sorted by path relative to root.

    It is what `sha256sum` of the sorted paths, piped into `sha256sum`, prints.
    """
    total = hashlib.sha256()
    for relative in sorted(path.relative_to(root).as_posix() for path in paths):
        total.update(f"{sha256_of_file(root / relative)}  {relative}\n".encode())
    return total.hexdigest()


def sha256_of_arrays(*arrays: Tensor) -> str:
    """SHA-256 of the tensors' dtypes, shapes and little-endian values."""
    total = hashlib.sha256()
    for array in arrays:
        values = array.numpy()
        total.update(f"{values.dtype.name}{values.shape}".encode())
        total.update(np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("<")).tobytes())
    return total.hexdigest()


def cache_folder(name: str) -> Path:
    """The user's cache folder for the set `name`."""
    import pooch

    return Path(pooch.os_cache("bitspike")) / name


def download(file: str, sha256: str, mirrors: Sequence[str], target: Path) -> Path:
    """`file` in the folder `target`, taken from the first mirror (a URL ending in "/") that has it right.

    A file already there with this SHA-256 is not fetched again.
    """
    import pooch
    import requests

    pooch.get_logger().setLevel("WARNING")
    reasons = []
    for mirror in mirrors:
        try:
            return Path(pooch.retrieve(mirror + file, f"sha256:{sha256}", fname=file, path=target))
        except ValueError:
            reasons.append("another SHA-256")
        except (requests.RequestException, OSError) as error:
            reasons.append(type(error).__name__)
    tried = ", ".join(f"{mirror}: {reason}" for mirror, reason in zip(mirrors, reasons, strict=True))
    raise BitspikeError(f"{file}: could not be downloaded ({tried}); put it into {target}")
