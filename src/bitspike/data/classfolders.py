"""Folders of image, event or sound files, one folder per class, with or without `train` and `test` above them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from bitspike.data import audio
from bitspike.data.formats import suffixes
from bitspike.data.images import SUFFIXES
from bitspike.data.targets import sorted_names
from bitspike.errors import refuse

Kind = Literal["image", "events", "sound"]

IN_WORDS: dict[Kind, str] = {"image": "image", "events": "event file", "sound": "sound file"}


@dataclass(frozen=True)
class Files:
    """Paths of N examples and their classes y int64 (N,); the last `tested` are those of a test folder.

    notes: what else lies in the folders of classes, and is left out.
    """

    paths: list[Path]
    y: Tensor
    classes: tuple[str, ...]
    tested: int
    kind: Kind
    notes: tuple[str, ...] = ()


def _files() -> dict[Kind, frozenset[str]]:
    """How names of each kind end; own files may add formats of events."""
    return {"image": SUFFIXES, "events": suffixes(), "sound": audio.SUFFIXES}


def _folders(root: Path) -> list[Path]:
    return sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))


def _classes(root: Path) -> dict[str, list[Path]]:
    """Class name to its files, sorted by name."""
    found: dict[str, list[Path]] = {}
    known = frozenset().union(*_files().values())
    for child in _folders(root):
        files = sorted(path for path in child.iterdir() if path.suffix.lower() in known)
        files = [path for path in files if path.is_file() and not path.name.startswith(".")]
        if not files:
            others = sorted({path.suffix.lower() or "nameless" for path in child.iterdir() if path.is_file()})
            came = f"a class folder of {', '.join(others[:3])} files" if others else "an empty class folder"
            refuse(
                str(child),
                came,
                f"image files, event files ({', '.join(sorted(suffixes()))}) or {audio.IN_WORDS} in it",
            )
        found[child.name] = files
    return found


def _left_out(root: Path, found: dict[str, list[Path]]) -> tuple[str, ...]:
    """A note on files and folders in the folders of classes that are no examples; hidden ones are not told of."""
    known = {path for files in found.values() for path in files}
    others = [
        path for name in found for path in (root / name).iterdir()
        if path not in known and not path.name.startswith(".")
    ]  # fmt: skip
    return (left_out(root, others, "the folders of classes"),) if others else ()


def left_out(root: Path, paths: list[Path], of_what: str) -> str:
    """A note that counts what is no example by how its name ends."""
    kinds = ["folders" if path.is_dir() else f"{path.suffix.lower() or 'nameless'} files" for path in paths]
    told = ", ".join(f"{count:,} {what}" for what, count in sorted(Counter(kinds).items()))
    return f"{root.name}: left out of {of_what}: {told}"


def listed(root: Path, classes: tuple[str, ...] | None = None) -> Files:
    """The files below root/CLASS, or root/train/CLASS and root/test/CLASS, by class and file name.

    classes: root is a folder of test files, of these classes.
    """
    tops = {path.name.lower(): path for path in _folders(root)}
    tested_root, tops_of = root, [root]
    if classes is not None:
        parts, tops_of = [{}, _classes(root)], [root, root]
    elif {"train", "test"} <= set(tops):
        if extra := sorted(set(tops) - {"train", "test"}):
            refuse(str(root), f"a folder {extra[0]!r} beside train and test", "only these two")
        tested_root = tops["test"]
        parts, tops_of = [_classes(tops["train"]), _classes(tested_root)], [tops["train"], tested_root]
    else:
        parts = [_classes(root)]
    names = sorted_names(parts[0]) if classes is None else list(classes)
    if len(names) < 2:
        came = f"only the class {names[0]!r}" if names else "no class folders"
        refuse(str(root), came, "at least 2 folders, one per class")
    if unknown := [name for name in parts[-1] if name not in names]:
        came = "a class without training files"
        refuse(str(tested_root / unknown[0]), came, f"one of {', '.join(names)}")
    every = [(path, number) for part in parts for number, name in enumerate(names) for path in part.get(name, [])]
    paths, labels = [path for path, _ in every], [number for _, number in every]
    tested = sum(len(files) for files in parts[1].values()) if len(parts) == 2 else 0
    if len(parts) == 2 and not tested:
        refuse(str(tested_root), "no class folders", "the classes of train")
    kinds = [kind for kind, ends in _files().items() if any(path.suffix.lower() in ends for path in paths)]
    if len(kinds) > 1:
        refuse(str(root), "both " + " and ".join(f"{IN_WORDS[kind]}s" for kind in kinds), "one kind")
    notes = tuple(note for top, part in zip(tops_of, parts, strict=True) for note in _left_out(top, part))
    return Files(paths, torch.tensor(labels), tuple(names), tested, kinds[0], notes)


def joined(training: Files, tested: Files) -> Files:
    """The files of training and, behind them, those of a test folder."""
    if training.tested:
        refuse("folder option test_path", "a second test part", "it left out: there is a test folder")
    if training.kind != tested.kind:
        came = f"{IN_WORDS[tested.kind]} files"
        refuse("folder option test_path", came, f"{IN_WORDS[training.kind]} files, as in training")
    y = torch.cat([training.y, tested.y])
    notes = training.notes + tested.notes
    return Files(training.paths + tested.paths, y, training.classes, len(tested.paths), training.kind, notes)
