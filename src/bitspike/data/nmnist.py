"""N-MNIST: MNIST digits filmed by a moving event camera, 34 x 34 pixels, 2 polarities, about 0.3 s each.

Source: G. Orchard et al., "Converting static image datasets to spiking neuromorphic datasets using
saccades", Frontiers in Neuroscience 9:437 (2015).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bitspike.data import normalise
from bitspike.data.base import DataSet, Split, select
from bitspike.data.events import recordings
from bitspike.data.official import DIGITS, parts_of
from bitspike.data.sources import find_folder, sha256_of_files, where_to_put
from bitspike.errors import BitspikeError, refuse
from bitspike.tables.data import NMNIST

SIDE = 34
SIZES = (60_000, 10_000)


def nmnist(*, folder: Path | None, seed: int, **asked: Any) -> DataSet:
    """Recordings as `Events` of shape (2, 34, 34).

    They are numbered by digit and file name, Train first. The whole set needs about 4 GB of memory.
    """
    home = find_folder(NMNIST.folders, folder)
    if home is None:
        raise BitspikeError(
            "nmnist: not found and not downloaded (no verified SHA-256); put Train/DIGIT/*.bin and "
            f"Test/DIGIT/*.bin into {where_to_put(NMNIST.folders, folder)}"
        )
    (paths, y), (paths_test, y_test) = _listed(home / "Train"), _listed(home / "Test")
    trained, inner, tested, subset = parts_of("nmnist", y, y_test, SIZES, seed, **asked)
    paths = [paths[row] for row in trained.tolist()]
    paths_test = [paths_test[row] for row in tested.tolist()]
    events, notes = recordings(paths, (SIDE, SIDE))
    events_test, notes_test = recordings(paths_test, (SIDE, SIDE))
    return DataSet(
        name="nmnist",
        kind="classification",
        train=select(events, y[trained], trained, inner.train),
        validation=select(events, y[trained], trained, inner.validation),
        test=Split(events_test, y_test[tested], len(y) + tested),
        classes=DIGITS,
        shape=(2, SIDE, SIDE),
        steps=None,
        digests={
            f"{home.name}/{part}/*/*.bin ({len(files):,} files)": sha256_of_files(home, files)
            for part, files in (("Train", paths), ("Test", paths_test))
        },
        input="events",
        normalisation=dict(normalise.NONE),
        notes=(*(f"Train: {note}" for note in notes), *(f"Test: {note}" for note in notes_test)),
        subset=subset,
    )


def _listed(root: Path) -> tuple[list[Path], Tensor]:
    """The recordings below root/DIGIT and their digits (N,), sorted by digit and file name."""
    if not root.is_dir():
        refuse(str(root), "no such folder", "Train and Test, each with a folder per digit")
    paths: list[Path] = []
    labels: list[int] = []
    for child in sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith(".")):
        if child.name not in "0123456789" or len(child.name) != 1:
            refuse(str(child), f"label {child.name}", "a folder named by a digit, 0 to 9")
        files = sorted(child.glob("*.bin"))
        if not files:
            refuse(str(child), "no .bin file", "recordings (an empty class folder)")
        paths += files
        labels += [int(child.name)] * len(files)
    if len(set(labels)) < 2:
        refuse(str(root), f"{len(set(labels))} digit folders", "at least 2 (DIGIT/*.bin)")
    return paths, torch.tensor(labels)
