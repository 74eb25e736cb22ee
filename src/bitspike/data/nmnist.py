"""N-MNIST: MNIST digits filmed by a moving event camera, 34 x 34 pixels, 2 polarities, about 0.3 s each.

Source: G. Orchard et al., "Converting static image datasets to spiking neuromorphic datasets using
saccades", Frontiers in Neuroscience 9:437 (2015).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bitspike.data import grouped
from bitspike.data.alone import by_table
from bitspike.data.base import DataSet, Split, event_set
from bitspike.data.events import recordings
from bitspike.data.official import DIGITS, parts_of
from bitspike.data.sources import found_folder, sha256_of_files
from bitspike.errors import refuse
from bitspike.tables.data import NMNIST

SIDE = 34
SIZES = (60_000, 10_000)


@by_table("nmnist")
def nmnist(*, folder: Path | None, seed: int, fold: tuple[int, int] | None, **asked: Any) -> DataSet:
    """Recordings as `Events` of shape (2, 34, 34).

    They are numbered by digit and file name, Train first. The whole set needs about 4 GB of memory. fold: (k, of n)
    divides the recordings of both folders.
    """
    home = found_folder("nmnist", "Train/DIGIT/*.bin and Test/DIGIT/*.bin", NMNIST.folders, folder)
    (paths, y), (paths_test, y_test) = _listed(home / "Train"), _listed(home / "Test")
    if fold is not None:
        for size in ("train_size", "test_size"):
            if asked[size] is not None:
                refuse(f"nmnist option {size}", asked[size], "it left out with folds: they divide all recordings")
        everything, labels = paths + paths_test, torch.cat([y, y_test])
        events, notes = recordings(everything, (SIDE, SIDE))
        parts = grouped.fold_parts(labels, None, fold, seed, asked["validation"], "nmnist")
        whole = Split(events, labels, torch.arange(len(labels)))
        digests = {f"{home.name}/*/*/*.bin ({len(everything):,} files)": sha256_of_files(home, everything)}
        return event_set("nmnist", parts.of(whole), DIGITS, digests, notes=notes)
    trained, inner, tested, subset = parts_of("nmnist", y, y_test, SIZES, seed, **asked)
    paths = [paths[row] for row in trained.tolist()]
    paths_test = [paths_test[row] for row in tested.tolist()]
    events, notes = recordings(paths, (SIDE, SIDE))
    events_test, notes_test = recordings(paths_test, (SIDE, SIDE))
    known, test = Split(events, y[trained], trained), Split(events_test, y_test[tested], len(y) + tested)
    digests = {
        f"{home.name}/{part}/*/*.bin ({len(files):,} files)": sha256_of_files(home, files)
        for part, files in (("Train", paths), ("Test", paths_test))
    }
    said = (*(f"Train: {note}" for note in notes), *(f"Test: {note}" for note in notes_test))
    return event_set("nmnist", inner.of(known, test), DIGITS, digests, notes=said, subset=subset)


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
