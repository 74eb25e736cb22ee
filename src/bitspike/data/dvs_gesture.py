"""DVS128 Gesture: hand and arm gestures of 29 people before an event camera of 128 x 128 pixels, in AEDAT 3.1.

A file userNN_LIGHT.aedat holds gestures one after the other; userNN_LIGHT_labels.csv says of each its class (1 to 11),
begin and end in microseconds. Users 1 to 23 are for training, 24 to 29 for the test; validation is whole users.

Source: A. Amir et al., "A low power, fully event-based gesture recognition system", CVPR (2017).
"""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from bitspike.data import grouped
from bitspike.data.alone import by_table
from bitspike.data.base import DataSet, Split, event_set
from bitspike.data.eventfiles import as_events
from bitspike.data.formats import EventFile
from bitspike.data.formats.base import Array
from bitspike.data.sources import found_folder, sha256_of_files
from bitspike.errors import refuse
from bitspike.tables.data import DVSGesture

SIDE = 128
LAST_TRAINED, LAST = 23, 29
GESTURES = (
    "hand clapping", "right hand wave", "left hand wave", "right arm clockwise", "right arm counter-clockwise",
    "left arm clockwise", "left arm counter-clockwise", "arm roll", "air drums", "air guitar", "other",
)  # fmt: skip
COLUMNS = ["class", "startTime_usec", "endTime_usec"]
LARGEST = 1 << 20  # bytes of a CSV of labels
MOST = 100_000  # clips of a recording


class Clips(NamedTuple):
    """Pieces of gestures in order of time: class 0 to 10, begin and end in us, int64 (N,)."""

    gesture: Array
    begin: Array
    end: Array


@by_table("dvs-gesture")
def dvs_gesture(
    *, folder: Path | None, seed: int, validation: float, gestures: Sequence[int] | None, downsample: int,
    train_clip: float, test_clip: float,
) -> DataSet:  # fmt: skip
    """Clips as `Events` of shape (2, 128 / downsample, 128 / downsample), times from each one's begin.

    A gesture for training is cut into clips that do not overlap, of a test gesture the first clip is taken. Clips are
    numbered by file and time, training first, those of gestures that are left out as well.
    """
    put = "userNN_LIGHT.aedat and userNN_LIGHT_labels.csv"
    home = found_folder("dvs-gesture", put, DVSGesture.folders, folder)
    chosen = tuple(range(len(GESTURES))) if gestures is None else tuple(gestures)
    if len(set(chosen)) != len(chosen) or len(chosen) < 2:
        refuse("dvs-gesture option gestures", list(chosen), "two or more different gestures, 0 to 10")
    files: dict[bool, list[tuple[int, Path]]] = {False: [], True: []}
    for path in sorted(home.rglob("user*.aedat")):
        named = re.fullmatch(r"user(\d{1,3})_\w+", path.stem)
        if named is None or not 1 <= int(named[1]) <= LAST:
            refuse(str(path), f"a recording named {path.stem}", "userNN_LIGHT.aedat, NN from 01 to 29")
        files[int(named[1]) > LAST_TRAINED].append((int(named[1]), path))
    for tested, words in ((False, "1 to 23"), (True, "24 to 29")):
        if not files[tested]:
            refuse(str(home), f"no recording of users {words}", "userNN_LIGHT.aedat of both parts")
    shape = (2, SIDE // downsample, SIDE // downsample)
    made, first = [], 0
    for tested, length in ((False, train_clip), (True, test_clip)):
        parts: list[Array] = []
        labels, users, index = [], [], []
        for user, path in files[tested]:
            clips = _clips(path, round(1000 * length), several=not tested)
            wanted = np.flatnonzero(np.isin(clips.gesture, chosen))
            parts += _read(path, Clips(*(column[wanted] for column in clips)), downsample)
            labels += [chosen.index(g) for g in clips.gesture[wanted].tolist()]
            users += [user] * len(wanted)
            index += (first + wanted).tolist()
            first += len(clips.gesture)
        if not parts:
            refuse(str(home), f"no clip of the gestures {list(chosen)} of one part", "some for training and test")
        made.append((as_events(parts, shape), torch.tensor(labels), torch.tensor(users), torch.tensor(index)))
    (x, y, users_of, index_of), (x_test, y_test, _, index_test) = made
    inner = grouped.split_by_group(y, users_of, seed, validation, None, "dvs-gesture")
    paths = [path for some in files.values() for _, path in some]
    digests = {f"{home.name} ({len(paths):,} recordings)": sha256_of_files(home, [*paths, *map(_labels_of, paths)])}
    made_of = inner.of(Split(x, y, index_of), Split(x_test, y_test, index_test))
    return event_set("dvs-gesture", made_of, tuple(GESTURES[gesture] for gesture in chosen), digests)


def _labels_of(path: Path) -> Path:
    return path.with_name(f"{path.stem}_labels.csv")


def _clips(path: Path, length: int, several: bool) -> Clips:
    """The clips that a file's labels say, of `length` us at most, `several` of a gesture or its first one."""
    table = _labels_of(path)
    if not table.is_file():
        refuse(str(path), f"no {table.name} beside it", "the CSV of its gestures")
    if table.stat().st_size > LARGEST:
        refuse(str(table), f"{table.stat().st_size:,} bytes", f"at most {LARGEST:,}")
    try:
        rows = list(csv.reader(table.read_text("utf-8").splitlines()))
    except (OSError, UnicodeDecodeError, csv.Error):
        refuse(str(table), "a file that is no CSV", f"columns {', '.join(COLUMNS)}")
    if not rows or [name.strip() for name in rows[0]] != COLUMNS:
        refuse(str(table), f"columns {', '.join(rows[0]) if rows else '(none)'}", ", ".join(COLUMNS))
    found: list[tuple[int, int, int]] = []
    for number, row in enumerate(rows[1:], 2):
        if len(row) != 3 or not all(re.fullmatch(r"\s*\d{1,15}\s*", value) for value in row):
            refuse(f"{table} line {number}", ",".join(row), "three whole numbers")
        gesture, begin, end = map(int, row)
        before = found[-1][2] if found else 0
        if not 1 <= gesture <= len(GESTURES) or not before <= begin < end:
            refuse(f"{table} line {number}", ",".join(row), "a class from 1 to 11, and times that go on")
        found.append((gesture - 1, begin, end))
    clips: list[tuple[int, int, int]] = []
    for gesture, begin, end in found:
        size = min(length, end - begin)
        count = (end - begin) // size if several else 1
        if len(clips) + count > MOST:
            refuse(str(table), f"gestures of {end - begin:,} us and clips of {size:,}", f"at most {MOST:,} clips")
        clips += [(gesture, begin + k * size, begin + (k + 1) * size) for k in range(count)]
    return Clips(*np.array(clips, np.int64).reshape(-1, 3).T)


def _read(path: Path, clips: Clips, downsample: int) -> list[Array]:
    """The events of each clip; the file is read part by part."""
    if not len(clips.begin):
        return []
    found: list[list[Array]] = [[] for _ in clips.begin]
    for part in EventFile(path, format="aedat3", size=(SIDE, SIDE)):
        which = np.searchsorted(clips.begin, part["t"], side="right") - 1
        inside = (which >= 0) & (part["t"] < clips.end[which])
        for clip in np.unique(which[inside]).tolist():
            some = part[inside & (which == clip)]
            some["t"] -= clips.begin[clip]
            some["x"] //= downsample
            some["y"] //= downsample
            found[clip].append(some)
    for clip, some in enumerate(found):
        if not some:
            came = f"no event from {clips.begin[clip]:,} to {clips.end[clip]:,} us"
            refuse(str(path), came, f"some, as {_labels_of(path).name} says")
    return [np.concatenate(some) for some in found]
