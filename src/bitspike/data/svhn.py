"""SVHN, house numbers seen from the street, from the MATLAB files in which it is published (cropped digits).

    train_32x32.mat, test_32x32.mat       X uint8 (32, 32, 3, N), y (N, 1) with the digit 0 written as 10
    extra_32x32.mat                       more and easier ones; only with extra = true

Source: Y. Netzer et al., "Reading digits in natural images with unsupervised feature learning" (2011).
"""

from __future__ import annotations

from math import prod
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from bitspike.data import normalise, splits
from bitspike.data.base import DataSet, Split
from bitspike.data.sources import search_folders, sha256_of_arrays, where_to_put
from bitspike.errors import BitspikeError, refuse

Share = Annotated[float, Field(gt=0)]
Size = Annotated[int, Field(ge=10)]

SHAPE = (3, 32, 32)
SIZES = (73_257, 26_032)
VALIDATION = 1 / 10
FOLDERS = ("svhn", "SVHN", "")
NUMBERS = frozenset({"double", "single", *(f"{sign}int{size}" for sign in ("", "u") for size in (8, 16, 32, 64))})


def svhn(
    *,
    folder: Path | None = None,
    seed: int = 0,
    validation: Share = VALIDATION,
    train_size: Size | None = None,
    test_size: Size | None = None,
    extra: bool = False,
) -> DataSet:
    """Ten digits in colour, x (N, 3, 32, 32) in [0, 1]; validation is a share or number of the training files.

    extra: train on the extra part too. train_size (validation included) and test_size take a seeded stratified subset.
    """
    parts = {part: _read(_found(f"{part}_32x32.mat", folder)) for part in ("train", "test")}
    if extra:
        parts["extra"] = _read(_found("extra_32x32.mat", folder))
    digests = {f"{part}_32x32.mat": sha256_of_arrays(x, y) for part, (x, y) in parts.items()}
    x_test, y_test = parts.pop("test")
    x, y = torch.cat([x for x, _ in parts.values()]), torch.cat([y for _, y in parts.values()])
    rows = splits.subset(y, train_size, seed, "svhn train_size")
    divided = splits.split(y[rows], seed, validation, None, "svhn")
    tested = splits.subset(y_test, test_size, seed, "svhn test_size")
    index, index_test = torch.arange(len(y)), len(y) + torch.arange(len(y_test))

    def made(x: Tensor, y: Tensor, index: Tensor, chosen: Tensor) -> Split:
        return Split(x[chosen].float().div_(255.0), y[chosen], index[chosen])

    whole = (len(rows), len(tested)) == SIZES or extra
    return DataSet(
        name="svhn",
        kind="classification",
        train=made(x, y, index, rows[divided.train]),
        validation=made(x, y, index, rows[divided.validation]),
        test=made(x_test, y_test, index_test, tested),
        classes=tuple(str(digit) for digit in range(10)),
        shape=SHAPE,
        steps=None,
        digests=digests,
        input="image",
        normalisation=normalise.scaled_from(255.0),
        subset=None if whole else f"subset {len(rows):,}/{len(tested):,}",
    )


def _found(file: str, folder: Path | None) -> Path:
    for base in search_folders(folder):
        for inner in FOLDERS:
            if (base / inner / file).is_file():
                return base / inner / file
    home = where_to_put((FOLDERS[0],), folder)
    raise BitspikeError(f"svhn: {file} not found and not downloaded; put it into {home}")


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
    if X.dtype != np.uint8 or X.ndim != 4 or X.shape[:3] != (32, 32, 3):
        refuse(f"{path} X", f"{X.dtype} of shape {X.shape}", "uint8 of shape (32, 32, 3, N)")
    if len(y) != X.shape[3]:
        refuse(f"{path} y", f"{len(y)} labels", f"{X.shape[3]}, one for each image")
    wrong = next((i for i, label in enumerate(y.tolist()) if label not in range(1, 11)), None)
    if wrong is not None:
        refuse(f"{path} y", f"label {y[wrong]} at position {wrong}", "1 to 10, 10 being the digit 0")
    pixels = torch.from_numpy(np.ascontiguousarray(X.transpose(3, 2, 0, 1)))
    return pixels, torch.from_numpy(y.astype(np.int64)) % 10
