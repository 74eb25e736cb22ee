"""MNIST-DVS: MNIST digits that move slowly on a monitor, recorded by a DVS128; the recordings of scale 4.

Files are mnist_DIGIT_scale04_NUMBER.aedat in any folders, or DIGIT/NUMBER.aedat: AEDAT 2.0 behind the authors' scripts
(flicker of the monitor removed, stabilised). The polarity is bit 0 of the address, as it is stored.

Source: T. Serrano-Gotarredona, B. Linares-Barranco, "Poker-DVS and MNIST-DVS. Their history, how they were made, and
other details", Frontiers in Neuroscience 9:481 (2015).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from bitspike.data.alone import by_table
from bitspike.data.base import DataSet, Events, Split, event_set
from bitspike.data.eventfiles import as_events
from bitspike.data.formats import EventFile
from bitspike.data.official import DIGITS, parts_of
from bitspike.data.sources import found_folder, sha256_of_files
from bitspike.errors import refuse
from bitspike.tables.data import MNISTDVS

FIRST, LAST = 48, 73  # rows and columns that are kept
SIDE = LAST - FIRST + 1
TRAINED, EACH = 900, 1000  # files of a digit: those up to number 900 are for training
SIZES = (10 * TRAINED, 10 * (EACH - TRAINED))
NAMED = re.compile(r"mnist_(\d)_scale(\d+)_(\d+)\.aedat", re.IGNORECASE)
SCALE = 4


@by_table("mnist-dvs")
def mnist_dvs(*, folder: Path | None, seed: int, **asked: Any) -> DataSet:
    """Recordings as `Events` of shape (2, 26, 26), times from each one's first event; number 1000 digit + file - 1."""
    home = found_folder("mnist-dvs", "mnist_DIGIT_scale04_NUMBER.aedat", MNISTDVS.folders, folder)
    files = _listed(home)
    index = torch.tensor(sorted(files))
    tested = index % EACH >= TRAINED
    (train, test), y = (index[~tested], index[tested]), index // EACH
    for name, part, wanted in (("1 to 900", train, 20), ("901 to 1000", test, 10)):
        if len(part) < wanted:
            refuse(str(home), f"{len(part)} recordings numbered {name}", f"{wanted} or more")
    parts = parts_of("mnist-dvs", y[~tested], y[tested], SIZES, seed, **asked)
    index, index_test = train[parts.trained], test[parts.tested]
    paths, paths_test = ([files[number] for number in some.tolist()] for some in (index, index_test))
    events, events_test = _read(paths), _read(paths_test)
    digests = {
        f"{home.name} {part} ({len(some):,} files)": sha256_of_files(home, some)
        for part, some in (("1 to 900", paths), ("901 to 1000", paths_test))
    }
    known, apart = Split(events, index // EACH, index), Split(events_test, index_test // EACH, index_test)
    return event_set("mnist-dvs", parts.inner.of(known, apart), DIGITS, digests, subset=parts.subset)


def _listed(home: Path) -> dict[int, Path]:
    """The files of scale 4 by 1000 digit + number - 1."""
    files: dict[int, Path] = {}
    for path in sorted(home.rglob("*.aedat")):
        named = NAMED.fullmatch(path.name)
        if named and int(named[2]) != SCALE:
            continue
        digit, number = (named[1], named[3]) if named else (path.parent.name, path.stem)
        if not (re.fullmatch(r"\d", digit) and re.fullmatch(r"\d{1,6}", number) and 1 <= int(number) <= EACH):
            refuse(str(path), "a name without digit and number", "mnist_DIGIT_scale04_NUMBER.aedat, numbers 1 to 1000")
        place = EACH * int(digit) + int(number) - 1
        if place in files:
            refuse(str(path), f"recording {int(number)} of digit {digit} again, as in {files[place]}", "one file of it")
        files[place] = path
    if not files:
        refuse(str(home), "no recording", "mnist_DIGIT_scale04_NUMBER.aedat")
    return files


def _read(paths: Sequence[Path]) -> Events:
    parts = []
    for path in paths:
        events = EventFile(path, format="aedat2", camera="DVS128").read()
        events["t"] -= events["t"][0]
        x, y = events["x"], events["y"]
        kept = events[(x >= FIRST) & (x <= LAST) & (y >= FIRST) & (y <= LAST)]
        kept["x"] -= FIRST
        kept["y"] -= FIRST
        parts.append(kept)
    return as_events(parts, (2, SIDE, SIDE))
