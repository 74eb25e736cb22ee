"""Braille letters read by a robot's finger: 12 taxels, about 77 readings a letter, 27 letters, 50 times each.

Source: S. F. Mueller-Cleve et al., "Braille letter reading: a benchmark for spatio-temporal pattern recognition on
neuromorphic hardware", Frontiers in Neuroscience 16:951164 (2022). The readings become events by send-on-delta. The
file holds no clock; a reading every `step` milliseconds is an option, not a fact of the recording.
"""

from __future__ import annotations

from pathlib import Path

import torch

from bitspike.data import grouped
from bitspike.data.alone import by_table
from bitspike.data.arrays import read_npz
from bitspike.data.base import DataSet, Split, event_set
from bitspike.data.delta import send_on_delta
from bitspike.data.sources import find_file, not_downloaded, sha256_of_file
from bitspike.errors import refuse
from bitspike.tables.data import Braille

FILE = "braille.npz"
LETTERS = (*"ABCDEFGHIJKLMNOPQRS", "Space", *"TUVWXYZ")
TAXELS = 12


@by_table("braille")
def braille(
    *, folder: Path | None, seed: int, fold: tuple[int, int] | None, validation: float, test: float, delta: float,
    step: float,
) -> DataSet:  # fmt: skip
    """`Events` of shape (2, 1, 12); the n-th readings of all letters are a group, which lies in one part."""
    path = find_file(FILE, Braille.folders, folder)
    if path is None:
        not_downloaded("braille", f"{FILE} (samples, lengths, labels, repetition)", Braille.folders, folder)
    read = read_npz(path, target=False, extra=("labels", "repetition"))
    if read.lengths is None or read.x.shape[2:] != (TAXELS,):
        refuse(f"{path} {read.x_name}", f"shape {tuple(read.x.shape)}", f"readings (sum of lengths, {TAXELS})")
    whole = {name: read.others[name] for name in ("labels", "repetition")}
    for name, values in whole.items():
        if values.ndim != 1 or values.dtype.kind not in "iu":
            refuse(f"{path} {name}", f"{values.dtype} of shape {values.shape}", "whole numbers (N,)")
    y, groups = (torch.from_numpy(values.astype("int64")) for values in whole.values())
    if not (int(y.min()) >= 0 and int(y.max()) < len(LETTERS)):
        refuse(f"{path} labels", f"{int(y.min())} to {int(y.max())}", f"0 to {len(LETTERS) - 1}")
    events = send_on_delta(read.x, read.lengths, delta, 1000 * step)
    index = torch.arange(len(y))
    parts = grouped.divided(y, groups, 0, fold, seed, validation, test, "braille")
    digests = {path.name: sha256_of_file(path)}
    return event_set("braille", parts.of(Split(events, y, index)), LETTERS, digests)
