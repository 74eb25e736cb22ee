"""Spiking Heidelberg Digits: spoken digits, English and German, as spikes of 700 channels of a model cochlea.

Source: B. Cramer et al., "The Heidelberg Spiking Data Sets for the Systematic Evaluation of Spiking Neural Networks",
IEEE Transactions on Neural Networks and Learning Systems 33:2744 (2022). Files: shd_train.h5 and shd_test.h5.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bitspike.data.alone import by_table
from bitspike.data.base import DataSet, Events, Split, event_set
from bitspike.data.eventfiles import as_events
from bitspike.data.formats.base import Source
from bitspike.data.formats.hdf5 import CHANNELS, Hdf5
from bitspike.data.official import parts_of
from bitspike.data.sources import find_file, not_downloaded, sha256_of_file
from bitspike.errors import refuse
from bitspike.tables.data import SHD

SIZES = (8156, 2264)
WORDS = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine",
    "null", "eins", "zwei", "drei", "vier", "fünf", "sechs", "sieben", "acht", "neun",
)  # fmt: skip


@by_table("shd")
def shd(*, folder: Path | None, seed: int, merge: int, **asked: Any) -> DataSet:
    """`Events` of shape (1, 1, 700 / merge, rounded up), numbered in the order of the files, training first."""
    paths = [find_file(file, SHD.folders, folder) for file in SHD.files]
    if None in paths:
        not_downloaded("shd", " and ".join(SHD.files), SHD.folders, folder)
    train, test = (path for path in paths if path is not None)
    y, y_test = _labels(train), _labels(test)
    parts = parts_of("shd", y, y_test, SIZES, seed, **asked)
    events, events_test = _read(train, parts.trained, merge), _read(test, parts.tested, merge)
    known = Split(events, y[parts.trained], parts.trained)
    apart = Split(events_test, y_test[parts.tested], len(y) + parts.tested)
    digests = {path.name: sha256_of_file(path) for path in (train, test)}
    return event_set("shd", parts.inner.of(known, apart), WORDS, digests, subset=parts.subset)


def _labels(path: Path) -> Tensor:
    with Source(path) as source:
        labels = Hdf5(source).labels
    if labels is None:
        refuse(str(path), "no labels", f"a class, 0 to {len(WORDS) - 1}, for each recording")
    if len(labels) and not (labels.min() >= 0 and labels.max() < len(WORDS)):
        refuse(f"{path} labels", f"{labels.min()} to {labels.max()}", f"0 to {len(WORDS) - 1}")
    return torch.from_numpy(labels)


def _read(path: Path, rows: Tensor, merge: int) -> Events:
    """The recordings `rows`, ascending."""
    wanted, parts = set(rows.tolist()), []
    with Source(path) as source:
        for number, part in enumerate(Hdf5(source).every()):
            if number in wanted:
                part["x"] //= merge
                parts.append(part[part["t"].argsort(kind="stable")])
    return as_events(parts, (1, 1, -(-CHANNELS // merge)))
