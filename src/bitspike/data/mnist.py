"""MNIST and Fashion-MNIST, from their four idx files (gzip-compressed or not).

Sources: Y. LeCun et al., "Gradient-based learning applied to document recognition", Proc. IEEE 86 (1998);
H. Xiao, K. Rasul, R. Vollgraf, "Fashion-MNIST", arXiv 1708.07747 (2017).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from bitspike.data import normalise, splits
from bitspike.data.base import DataSet, Split
from bitspike.data.idx import read_idx
from bitspike.data.sources import cache_folder, download, find_folder, sha256_of_file, where_to_put
from bitspike.errors import BitspikeError, refuse

MNIST_NAMES = ("mnist", "MNIST/raw")
FASHION_NAMES = ("fashion-mnist", "FashionMNIST/raw")
Share = Annotated[float, Field(gt=0)]
Size = Annotated[int, Field(ge=10)]

FILES = (
    "train-images-idx3-ubyte.gz",
    "train-labels-idx1-ubyte.gz",
    "t10k-images-idx3-ubyte.gz",
    "t10k-labels-idx1-ubyte.gz",
)
SIZES = (60_000, 10_000)
SIDE = 28
HIGHEST = 255.0
# 5,000 of the 60,000 unless another share or number is asked for.
VALIDATION = 1 / 12

MNIST_DIGESTS = dict(
    zip(
        FILES,
        (
            "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
            "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
            "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
            "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
        ),
        strict=True,
    )
)
MNIST_MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)
DIGITS = tuple(str(digit) for digit in range(10))
CLOTHES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)


def mnist(
    *,
    folder: Path | None = None,
    seed: int = 0,
    validation: Share = VALIDATION,
    train_size: Size | None = None,
    test_size: Size | None = None,
) -> DataSet:
    """Handwritten digits, x (N, 1, 28, 28) in [0, 1]; validation is a share or number of the training files.

    train_size (validation included) and test_size take a seeded stratified subset.
    """
    paths = _found("mnist", MNIST_NAMES, folder)
    if paths is None:
        cache = cache_folder("mnist")
        paths = [download(file, MNIST_DIGESTS[file], MNIST_MIRRORS, cache) for file in FILES]
    return _built("mnist", paths, DIGITS, MNIST_DIGESTS, seed, validation, train_size, test_size)


def fashion_mnist(
    *,
    folder: Path | None = None,
    seed: int = 0,
    validation: Share = VALIDATION,
    train_size: Size | None = None,
    test_size: Size | None = None,
) -> DataSet:
    """Pieces of clothing in the form of MNIST; never downloaded, as no verified SHA-256 is at hand."""
    paths = _found("fashion-mnist", FASHION_NAMES, folder)
    if paths is None:
        raise BitspikeError(
            f"fashion-mnist: not found and not downloaded (no verified SHA-256); put {', '.join(FILES)} "
            f"into {where_to_put(FASHION_NAMES, folder)}"
        )
    return _built("fashion-mnist", paths, CLOTHES, {}, seed, validation, train_size, test_size)


def _found(name: str, names: Sequence[str], folder: Path | None) -> list[Path] | None:
    """The four files, or None when no folder of the set is there; a folder that lacks one is refused."""
    home = find_folder(names, folder)
    if home is None:
        if folder is not None:
            refuse(name, f"{folder} without {' or '.join(names)}", f"{', '.join(FILES)} in one of these")
        return None
    paths = []
    for file in FILES:
        forms = [home / file, home / file.removesuffix(".gz")]
        present = [path for path in forms if path.is_file()]
        if not present:
            refuse(name, f"no {file} in {home}", "the four idx files, .gz or not")
        paths.append(present[0])
    return paths


def _read(images: Path, labels: Path, classes: int) -> tuple[Tensor, Tensor]:
    """Images uint8 (N, 1, 28, 28) and labels int64 (N,) of one pair of files."""
    x, y = read_idx(images, 3), read_idx(labels, 1).long()
    if x.shape[1:] != (SIDE, SIDE):
        refuse(str(images), f"images of {x.shape[1]} x {x.shape[2]}", f"{SIDE} x {SIDE}")
    if len(x) != len(y):
        refuse(str(labels), f"{len(y)} labels", f"{len(x)}, one for each image of {images.name}")
    if len(y) and int(y.max()) >= classes:
        first = int((y >= classes).nonzero()[0])
        refuse(str(labels), f"label {int(y[first])} at position {first}", f"0 to {classes - 1}")
    return x.unsqueeze(1), y


def _scaled(x: Tensor, y: Tensor, index: Tensor, chosen: Tensor) -> Split:
    # Pixels become floats only once rows are chosen: a small subset then needs little memory.
    return Split(x[chosen].float().div_(HIGHEST), y[chosen], index[chosen])


def _built(
    name: str,
    paths: list[Path],
    classes: tuple[str, ...],
    listed: dict[str, str],
    seed: int,
    validation: float,
    train_size: int | None,
    test_size: int | None,
) -> DataSet:
    digests = {path.name: sha256_of_file(path) for path in paths}
    notes = tuple(
        f"{file} has another SHA-256 than the published file"
        for file, digest in digests.items()
        if file in listed and digest != listed[file]
    )
    x, y = _read(paths[0], paths[1], len(classes))
    x_test, y_test = _read(paths[2], paths[3], len(classes))
    rows = splits.subset(y, train_size, seed, f"{name} train_size")
    parts = splits.split(y[rows], seed, validation, None, name)
    tested = splits.subset(y_test, test_size, seed, f"{name} test_size")
    index, index_test = torch.arange(len(y)), len(y) + torch.arange(len(y_test))
    train = _scaled(x, y, index, rows[parts.train])
    valid = _scaled(x, y, index, rows[parts.validation])
    test = _scaled(x_test, y_test, index_test, tested)
    whole = (len(rows), len(tested)) == SIZES
    return DataSet(
        name=name,
        kind="classification",
        train=train,
        validation=valid,
        test=test,
        classes=classes,
        shape=(1, SIDE, SIDE),
        steps=None,
        digests=digests,
        input="image",
        normalisation=normalise.scaled_from(HIGHEST),
        subset=None if whole else f"subset {len(rows):,}/{len(tested):,}",
        notes=notes,
    )
