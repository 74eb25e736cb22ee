"""MNIST and Fashion-MNIST, from their four idx files (gzip-compressed or not).

Sources: Y. LeCun et al., "Gradient-based learning applied to document recognition", Proc. IEEE 86 (1998);
H. Xiao, K. Rasul, R. Vollgraf, "Fashion-MNIST", arXiv 1708.07747 (2017).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from bitspike.data.alone import by_table
from bitspike.data.base import DataSet
from bitspike.data.idx import read_idx
from bitspike.data.official import DIGITS, images
from bitspike.data.sources import cache_folder, download, find_folder, not_downloaded, sha256_of_file
from bitspike.errors import refuse
from bitspike.tables.data import MNIST, FashionMNIST

MNIST_DIGESTS = {
    "train-images-idx3-ubyte.gz": "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
    "train-labels-idx1-ubyte.gz": "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
    "t10k-images-idx3-ubyte.gz": "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
    "t10k-labels-idx1-ubyte.gz": "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
}
FILES = tuple(MNIST_DIGESTS)
SIZES = (60_000, 10_000)
SIDE = 28
MNIST_MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)
CLOTHES = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")


class Raw(NamedTuple):
    """Pixels uint8 (N, 1, 28, 28) and labels int64 (N,) of both parts, digests of the files, and notes on them."""

    trained: tuple[Tensor, Tensor]
    tested: tuple[Tensor, Tensor]
    digests: dict[str, str]
    notes: tuple[str, ...]


@by_table("mnist")
def mnist(*, folder: Path | None, seed: int, **asked: Any) -> DataSet:
    """x (N, 1, 28, 28) in [0, 1]."""
    return _built("mnist", raw_mnist(folder), DIGITS, {"seed": seed, **asked})


def raw_mnist(folder: Path | None) -> Raw:
    """MNIST's four files, downloaded where there are none."""
    paths = _found("mnist", MNIST.folders, folder)
    if paths is None:
        cache = cache_folder("mnist")
        paths = [download(file, MNIST_DIGESTS[file], MNIST_MIRRORS, cache) for file in FILES]
    return _raw(paths, len(DIGITS), MNIST_DIGESTS)


@by_table("fashion-mnist")
def fashion_mnist(*, folder: Path | None, seed: int, **asked: Any) -> DataSet:
    """In the form of MNIST; never downloaded, as no verified SHA-256 is at hand."""
    names = FashionMNIST.folders
    paths = _found("fashion-mnist", names, folder)
    if paths is None:
        not_downloaded("fashion-mnist", ", ".join(FILES), names, folder)
    return _built("fashion-mnist", _raw(paths, len(CLOTHES), {}), CLOTHES, {"seed": seed, **asked})


def _found(name: str, names: Sequence[str], folder: Path | None) -> list[Path] | None:
    """The four files, or None when no folder of the set is there; a folder that lacks one is refused."""
    home = find_folder(names, folder)
    if home is None:
        if folder is not None:
            refuse(name, f"{folder} without {' or '.join(names)}", f"{', '.join(FILES)} in one of these")
        return None
    paths = []
    for file in FILES:
        present = [path for path in (home / file, home / file.removesuffix(".gz")) if path.is_file()]
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


def _raw(paths: list[Path], classes: int, listed: dict[str, str]) -> Raw:
    """The files; a note for each that is not as `listed`."""
    digests = {path.name: sha256_of_file(path) for path in paths}
    other = [file for file, digest in digests.items() if digest != listed.get(file, digest)]
    notes = tuple(f"{file} has another SHA-256 than the published file" for file in other)
    trained, tested = (_read(paths[k], paths[k + 1], classes) for k in (0, 2))
    return Raw(trained, tested, digests, notes)


def _built(name: str, raw: Raw, classes: tuple[str, ...], asked: dict[str, Any]) -> DataSet:
    more: dict[str, Any] = {"classes": classes, "digests": raw.digests, "notes": raw.notes}
    return images(name, raw.trained, raw.tested, SIZES, asked, None, **more)
