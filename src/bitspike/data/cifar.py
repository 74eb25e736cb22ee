"""CIFAR-10 and CIFAR-100, from the folders of Python pickles in which they are published.

    cifar-10-batches-py/   data_batch_1 ... data_batch_5, test_batch, batches.meta
    cifar-100-python/      train, test, meta

Every image is a row of 3,072 bytes: 32 x 32 red, then green, then blue. The pickles are read as plain data; see
`plain_pickle`. Source: A. Krizhevsky, "Learning multiple layers of features from tiny images" (2009).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bitspike.data.alone import by_table
from bitspike.data.base import DataSet
from bitspike.data.official import images, joined
from bitspike.data.plain_pickle import read_plain_pickle
from bitspike.data.sources import find_folder, sha256_of_arrays, where_to_put
from bitspike.errors import BitspikeError, refuse
from bitspike.tables.data import CIFAR10, CIFAR100

SHAPE = (3, 32, 32)
SIZES = (50_000, 10_000)
BATCHES = tuple(f"data_batch_{number}" for number in range(1, 6))

# A copy of CIFAR-10 in which some images could only be had as JPEGs: digest of a batch to their number.
FROM_JPEG = {
    "27ed352130de1ebbd8a547489c1201ddb43563ec1e07db94de83f2712434d353": 10,
    "9dd402aaecef9b6bdb43265e9cac6d404ee8f4692e2483375a06c2ef1b12b7b6": 5,
    "43c9ce6b498725ca83a59a8c414199fed605c0b3fd4bd029034710fedeb53717": 9,
    "1f2aa4782896db9c5127a8c0fbfd15cf9609dd22a9e62b9b7f66bcc29be9f6ff": 27,
    "001f3aada17d89cd7cc27553ee1124892d167233e63110aaf4ad8bf1b5396269": 26,
    "76c37a0dc7334a7a6e62409e1bdd64e95a7ea3df41da1641c1ee4e17c2b4ca21": 21,
}


@by_table("cifar10")
def cifar10(*, folder: Path | None, seed: int, scale: str, **asked: Any) -> DataSet:
    """x (N, 3, 32, 32) in [0, 1]; scale = "channel": each channel with mean 0 and variance 1 over the training part."""
    home = _home("cifar10", CIFAR10.folders, folder)
    classes = _classes(home / "batches.meta", "label_names")
    parts = {name: _read(home / name, "labels", len(classes)) for name in (*BATCHES, "test_batch")}
    return _built("cifar10", parts, classes, scale, {"seed": seed, **asked})


@by_table("cifar100")
def cifar100(*, folder: Path | None, seed: int, scale: str, labels: str, **asked: Any) -> DataSet:
    """As `cifar10`."""
    home = _home("cifar100", CIFAR100.folders, folder)
    classes = _classes(home / "meta", f"{labels}_label_names")
    parts = {name: _read(home / name, f"{labels}_labels", len(classes)) for name in ("train", "test")}
    return _built("cifar100", parts, classes, scale, {"seed": seed, **asked})


def _home(name: str, names: tuple[str, ...], folder: Path | None) -> Path:
    home = find_folder(names, folder)
    if home is None:
        raise BitspikeError(
            f"{name}: not found and not downloaded; put the folder {names[0]} at {where_to_put(names, folder)}"
        )
    return home


def _entry(path: Path, content: Any, key: str) -> Any:
    if not isinstance(content, dict) or key not in content:
        refuse(str(path), f"a pickle without {key!r}", "a batch of CIFAR in its Python form")
    return content[key]


def _content(path: Path) -> Any:
    if not path.is_file():
        refuse(path.parent.name, f"no {path.name} in {path.parent}", "all files of the folder")
    return read_plain_pickle(path)


def _classes(path: Path, key: str) -> tuple[str, ...]:
    names = _entry(path, _content(path), key)
    if not isinstance(names, list) or not all(isinstance(name, bytes | str) for name in names):
        refuse(f"{path} {key}", type(names).__name__, "a list of names")
    read = tuple(name.decode("utf-8", "backslashreplace") if isinstance(name, bytes) else name for name in names)
    if wrong := [name for name in read if not name.isprintable() or read.count(name) > 1]:
        refuse(f"{path} {key}", ascii(wrong[0]), "names of their own that can be printed")
    return read


def _read(path: Path, key: str, classes: int) -> tuple[Tensor, Tensor]:
    """Pixels uint8 (N, 3, 32, 32) and labels int64 (N,) of one file."""
    content = _content(path)
    rows, labels = _entry(path, content, "data"), _entry(path, content, key)
    if not isinstance(rows, np.ndarray) or rows.dtype != np.uint8 or rows.ndim != 2 or rows.shape[1] != 3072:
        came = f"{rows.dtype} of shape {rows.shape}" if isinstance(rows, np.ndarray) else type(rows).__name__
        refuse(f"{path} data", came, "uint8 of shape (N, 3072)")
    if not isinstance(labels, list) or len(labels) != len(rows) or not all(type(label) is int for label in labels):
        came = f"{len(labels)} entries" if isinstance(labels, list) else type(labels).__name__
        refuse(f"{path} {key}", came, f"a list of {len(rows)} whole numbers, one for each image")
    wrong = next((i for i, label in enumerate(labels) if not 0 <= label < classes), None)
    if wrong is not None:
        refuse(f"{path} {key}", f"label {labels[wrong]} at position {wrong}", f"0 to {classes - 1}")
    return torch.from_numpy(rows.reshape(-1, *SHAPE).copy()), torch.tensor(labels, dtype=torch.int64)


def _channels(pixels: Tensor) -> dict[str, Any]:
    """Mean and standard deviation of each channel of pixels (N, 3, H, W) in 0 to 255."""
    counts = torch.stack([torch.bincount(pixels[:, c].flatten(), minlength=256) for c in range(SHAPE[0])]).double()
    values = torch.arange(256, dtype=torch.float64)
    shares = counts / counts.sum(1, keepdim=True)
    mean = shares @ values
    spread = (shares @ values.square() - mean.square()).clamp_min(0).sqrt()
    return {"kind": "standard", "mean": mean.tolist(), "std": spread.tolist(), "axis": -3}


def _built(
    name: str, parts: dict[str, tuple[Tensor, Tensor]], classes: tuple[str, ...], scale: str, asked: dict[str, Any]
) -> DataSet:
    # Of pixels and labels, not of files: the same images pickled by another version are the same data.
    digests = {part: sha256_of_arrays(x, y) for part, (x, y) in parts.items()}
    *trained, tested = parts.values()
    from_jpeg = sum(FROM_JPEG.get(digest, 0) for digest in digests.values())
    total = sum(len(y) for _, y in parts.values())
    notes = (f"{from_jpeg} of {total:,} images come from JPEGs",) if from_jpeg else ()
    fitted = None if scale == "unit" else _channels
    trained_on = joined(trained)
    return images(name, trained_on, tested, SIZES, asked, fitted, classes=classes, digests=digests, notes=notes)
