"""Class folders of images, event files or sound, as they stand."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from bitspike.data import classfolders
from bitspike.data.audio import read_sounds
from bitspike.data.base import longer
from bitspike.data.classfolders import IN_WORDS, Files
from bitspike.data.eventfiles import recordings
from bitspike.data.found import Found
from bitspike.data.image_sets import read_set
from bitspike.data.normalise import NONE
from bitspike.data.sources import sha256_of_files
from bitspike.data.targets import of_array
from bitspike.errors import refuse


def read_files(root: Path, test_root: Path | None, pictures: dict[str, Any], sound: dict[str, Any]) -> Found:
    """The files below root/CLASS (and test_root/CLASS, the last ones then); options of pictures and of sound."""
    files = classfolders.listed(root)
    roots = [(root, len(files.paths))]
    if test_root is not None:
        other = classfolders.listed(test_root, files.classes)
        roots.append((test_root, len(other.paths)))
        files = classfolders.joined(files, other)
    at, digests = 0, {}
    for place, count in roots:
        paths = files.paths[at : at + count]
        name = f"{place.name}/" if f"{place.name}/ ({count:,} files)" not in digests else f"{place.name}/ (test)"
        digests[f"{name} ({count:,} files)"] = sha256_of_files(place, paths)
        at += count
    common: dict[str, Any] = {
        "source": str(root),
        "y": of_array(np.array([files.classes[c] for c in files.y.tolist()]), str(root)),
        "digests": digests,
        "tested": files.tested,
    }
    return _read(files, pictures, sound, common)


def _read(files: Files, pictures: dict[str, Any], sound: dict[str, Any], common: dict[str, Any]) -> Found:
    size = pictures["size"]
    unused = pictures if files.kind == "sound" else dict(sound)
    if files.kind == "events":
        unused |= {"channels": pictures["channels"], "white": pictures["white"]}
    for option, value in unused.items():
        if value is not None:
            refuse(f"folder option {option}", value, f"it left out (these are {IN_WORDS[files.kind]}s)")
    if files.kind == "sound":
        # Sequences; also where all are equally long, as new files may be shorter.
        steps = sound.pop("steps")
        made = read_sounds(files.paths, sound)
        longest, end = int(made.lengths.max()), asdict(made.front_end)
        if steps is not None and steps < longest:
            refuse("folder option steps", steps, f"at least {longest}, the frames of the longest sound")
        common |= {
            "x": longer(made.x, steps or longest),
            "time": True,
            "lengths": made.lengths,
            "notes": (*files.notes, *made.notes),
        }
        return Found(input="series", audio=end, **common)
    if files.kind == "events":
        x, notes, view = recordings(files.paths, size)
        common["sensor"] = {"asked": size is not None, **view._asdict()}
        return Found(x=x, input="events", normalisation=dict(NONE), notes=(*files.notes, *notes), **common)
    seen = read_set(files.paths, size, pictures["channels"], pictures["white"])
    notes = (*files.notes, *seen.notes)
    return Found(x=seen.x, input="image", normalisation=seen.setting.normalisation(), notes=notes, **common)
