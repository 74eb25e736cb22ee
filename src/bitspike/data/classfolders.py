"""Folders of image or event files, one folder per class, with or without `train` and `test` above them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from bitspike.data.images import SUFFIXES
from bitspike.data.targets import sorted_names
from bitspike.errors import refuse

EVENT_SUFFIX = ".bin"


@dataclass(frozen=True)
class Files:
    """Paths of N examples and their classes y int64 (N,); the last `tested` are those of a test folder."""

    paths: list[Path]
    y: Tensor
    classes: tuple[str, ...]
    tested: int
    events: bool


def _folders(root: Path) -> list[Path]:
    return sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))


def _classes(root: Path) -> dict[str, list[Path]]:
    """Class name to its files, sorted by name."""
    found: dict[str, list[Path]] = {}
    for child in _folders(root):
        files = sorted(path for path in child.iterdir() if path.suffix.lower() in SUFFIXES | {EVENT_SUFFIX})
        files = [path for path in files if path.is_file() and not path.name.startswith(".")]
        if not files:
            refuse(str(child), "an empty class folder", "image files or .bin event files in it")
        found[child.name] = files
    return found


def listed(root: Path) -> Files:
    """The files below root/CLASS, or root/train/CLASS and root/test/CLASS, by class and file name."""
    tops = {path.name.lower(): path for path in _folders(root)}
    if {"train", "test"} <= set(tops):
        extra = sorted(set(tops) - {"train", "test"})
        if extra:
            refuse(str(root), f"a folder {extra[0]!r} beside train and test", "only these two")
        parts = [_classes(tops["train"]), _classes(tops["test"])]
    else:
        parts = [_classes(root)]
    names = sorted_names(parts[0])
    if len(names) < 2:
        came = f"only the class {names[0]!r}" if names else "no class folders"
        refuse(str(root), came, "at least 2 folders, one per class")
    unknown = [name for name in parts[-1] if name not in parts[0]]
    if unknown:
        refuse(str(tops["test"] / unknown[0]), "a class without training files", f"one of {', '.join(names)}")
    paths: list[Path] = []
    labels: list[int] = []
    for part in parts:
        for number, name in enumerate(names):
            files = part.get(name, [])
            paths += files
            labels += [number] * len(files)
    tested = sum(len(files) for files in parts[1].values()) if len(parts) == 2 else 0
    if len(parts) == 2 and not tested:
        refuse(str(tops["test"]), "no class folders", "the classes of train")
    kinds = {path.suffix.lower() == EVENT_SUFFIX for path in paths}
    if len(kinds) == 2:
        refuse(str(root), "both images and .bin event files", "one kind")
    return Files(paths, torch.tensor(labels), tuple(names), tested, kinds.pop())
