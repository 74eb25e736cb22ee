"""SVHN, house numbers seen from the street, from the MATLAB files in which it is published (cropped digits).

    train_32x32.mat, test_32x32.mat       X uint8 (32, 32, 3, N), y (N, 1) with the digit 0 written as 10
    extra_32x32.mat                       more and easier ones; only with extra = true

Source: Y. Netzer et al., "Reading digits in natural images with unsupervised feature learning" (2011).
"""

from __future__ import annotations

from dataclasses import replace
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bitspike.data.alone import by_table
from bitspike.data.base import DataSet
from bitspike.data.official import DIGITS, images, joined
from bitspike.data.sources import find_file, sha256_of_arrays, where_to_put
from bitspike.errors import BitspikeError, refuse
from bitspike.tables.data import SVHN

SIZES = (73_257, 26_032)
NUMBERS = frozenset({"double", "single", *(f"{sign}int{size}" for sign in ("", "u") for size in (8, 16, 32, 64))})


@by_table("svhn")
def svhn(*, folder: Path | None, seed: int, extra: bool, **asked: Any) -> DataSet:
    """x (N, 3, 32, 32) in [0, 1]."""
    parts = {part: _read(_found(f"{part}_32x32.mat", folder)) for part in ("train", "test")}
    if extra:
        parts["extra"] = _read(_found("extra_32x32.mat", folder))
    digests = {f"{part}_32x32.mat": sha256_of_arrays(x, y) for part, (x, y) in parts.items()}
    tested = parts.pop("test")
    asked["seed"] = seed
    made = images("svhn", joined(parts.values()), tested, SIZES, asked, None, classes=DIGITS, digests=digests)
    return replace(made, subset=None) if extra else made


def _found(file: str, folder: Path | None) -> Path:
    found = find_file(file, SVHN.folders, folder)
    if found is None:
        home = where_to_put(SVHN.folders, folder)
        raise BitspikeError(f"svhn: {file} not found and not downloaded; put it into {home}")
    return found


def _read(path: Path) -> tuple[Tensor, Tensor]:
    """Pixels uint8 (N, 3, 32, 32) and labels int64 (N,) of one file."""
    from scipy.io import loadmat, whosmat

    try:
        # Shapes and types first, which cost no memory.
        for name, shape, kind in whosmat(path):
            if name == "X" and (kind != "uint8" or len(shape) != 4 or shape[:3] != (32, 32, 3)):
                refuse(f"{path} X", f"{kind} of shape {shape}", "uint8 of shape (32, 32, 3, N)")
            if name == "y" and (kind not in NUMBERS or max(shape, default=0) != prod(shape)):
                refuse(f"{path} y", f"{kind} of shape {shape}", "numbers of shape (N, 1)")
        content: dict[str, Any] = loadmat(path, variable_names=["X", "y"])
    except BitspikeError:
        raise
    except Exception as error:
        # What a damaged file raises has no common class.
        refuse(str(path), f"a damaged or other file ({error or type(error).__name__})", "a MATLAB 5 file")
    for name in ("X", "y"):
        if name not in content:
            refuse(str(path), f"a file without {name}", "X (32, 32, 3, N) and y (N, 1)")
    X, y = np.asarray(content["X"]), np.asarray(content["y"]).reshape(-1)
    if len(y) != X.shape[3]:
        refuse(f"{path} y", f"{len(y)} labels", f"{X.shape[3]}, one for each image")
    wrong = next((i for i, label in enumerate(y.tolist()) if label not in range(1, 11)), None)
    if wrong is not None:
        refuse(f"{path} y", f"label {y[wrong]} at position {wrong}", "1 to 10, 10 being the digit 0")
    pixels = torch.from_numpy(np.ascontiguousarray(X.transpose(3, 2, 0, 1)))
    return pixels, torch.from_numpy(y.astype(np.int64)) % 10
