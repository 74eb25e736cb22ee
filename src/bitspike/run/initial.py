"""A commented recipe for a person's own data: look at the file, apply `run.rules`, write TOML."""

from __future__ import annotations

import json
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch

from bitspike.data import DataSet, Events, load
from bitspike.errors import BitspikeError, one_line, refuse
from bitspike.run.rules import FEW_VALIDATION, Choice, Facts, is_few

GROUPS = ("group", "groups", "subject", "subjects", "person", "patient", "participant", "speaker", "user", "session")
PIXELS = 256
TESTS = {"train": "test", "Train": "Test", "TRAIN": "TEST"}
TIMED = re.compile(r"(?:t|time|step)[ _]?\d+", re.IGNORECASE)


def look(path: Path, group: str | None = None, time: bool | None = None) -> tuple[Facts, DataSet]:
    """The facts of the data at `path` and the data themselves; what cannot be read or trained is refused.

    group: a column or array that is one; else one called group, subject, person and the like. time: whether x of a
    table has a time axis; else it has one where lengths, three axes or columns t0, t1, ... say so.
    """
    options: dict[str, Any] = {"path": str(path)}
    raw = False
    if not there(path):
        refuse("init", f"'{path}', which is not there", "a folder of class folders, an .npz or a CSV")
    other = beside(path)
    if other is not None:
        options["test_path"] = str(other)
    if path.is_file():
        found, raw = _table(path, group, time)
        options |= found
    elif group is not None or time is not None:
        refuse("init", f"{'--group' if group else '--time'} for the folder {path}", "an .npz or a CSV with it")
    try:
        dataset = load("folder", **options)
    except BitspikeError as error:
        # NaN behind the ends of sequences is how many tools write them; NaN anywhere else is still refused.
        if not ("nan" in str(error) and options.get("time") and path.suffix.lower() == ".npz"):
            raise
        options["padding"] = "nan"
        dataset = load("folder", **options)
    facts = facts_of(dataset, options, raw)
    if is_few(facts):
        # The parts that are told of are those that the recipe makes.
        dataset = load("folder", validation=FEW_VALIDATION, **options)
        facts = facts_of(dataset, options, raw)
    return facts, dataset


def there(path: Path) -> bool:
    """Whether there is something at a path; one that cannot be is not there."""
    try:
        str(path).encode("utf-8")
        return path.exists()
    except (OSError, ValueError):
        return False


def beside(path: Path) -> Path | None:
    """The test file beside one to learn from: NAME_test.X beside NAME_train.X or NAME.X, test.X beside train.X."""
    if path.is_dir():
        # A test folder within it is found by the reader.
        if path.name.lower() != "train":
            return None
        other = path.with_name(TESTS.get(path.name, "test"))
        return other if other.is_dir() else None
    names = [re.sub(old, new, path.stem) for old, new in TESTS.items()]
    names += [f"{path.stem}_test", f"{path.stem}-test"]
    others = [path.with_name(name + path.suffix) for name in names if name != path.stem]
    return next((other for other in others if other.is_file()), None)


def _table(path: Path, group: str | None, time: bool | None) -> tuple[dict[str, Any], bool]:
    """Options that a look at an .npz or CSV suggests, and whether it holds pictures."""
    options: dict[str, Any] = {}
    known: list[str] = []
    raw = False
    if path.suffix.lower() == ".npz":
        names, shape, pixels = _arrays(path)
        known = [name for name in names if name.lower() in GROUPS]
        if time is None and shape is not None:
            raw = pixels and (len(shape) == 4 or (len(shape) == 3 and shape[1] == shape[2] >= 8))
            time = len(shape) >= 3 and not raw
        if group is not None and group not in names:
            refuse("--group", repr(group), f"one of the arrays {', '.join(names)}")
    elif path.suffix.lower() in (".csv", ".tsv"):
        from bitspike.data import tables

        header = tables.read_rows(path).header or []
        known = [name for name in header if name.lower() in GROUPS]
        values = [name for name in header if name.lower() not in (*tables.TARGET_NAMES, *GROUPS)]
        if time is None:
            time = len(values) >= 8 and all(TIMED.fullmatch(name) for name in values)
    if time:
        options["time"] = True
    if group is not None or len(known) == 1:
        options["group"] = known[0] if group is None else group
    return options, raw


def _arrays(path: Path) -> tuple[list[str], tuple[int, ...] | None, bool]:
    """Names of the arrays of an .npz, the shape of x, and whether it may hold pixels (0 to 1 or 8 bits)."""
    from bitspike.data.arrays import read_npz

    try:
        import numpy as np

        with np.load(path, allow_pickle=False) as archive:
            names = list(archive.files)
    except Exception:
        names = []  # the reader below says what is wrong
    try:
        arrays = read_npz(path, target=True)
    except BitspikeError as error:
        if "nan" not in str(error):
            raise
        arrays = read_npz(path, target=True, padding="nan")
    x = arrays.x
    pixels = bool((x >= 0).all()) and (bool((x <= 1).all()) or bool(((x < PIXELS) & (x == x.round())).all()))
    return names, tuple(x.shape), pixels and arrays.lengths is None


def facts_of(dataset: DataSet, options: dict[str, Any], raw: bool = False) -> Facts:
    """The facts of a loaded data set."""
    splits = (dataset.train, dataset.validation, dataset.test)
    counts: dict[str, int] = {}
    if dataset.kind == "classification":
        y = torch.cat([split.y.flatten() for split in splits])
        of_class = torch.bincount(y[y >= 0], minlength=len(dataset.classes)).tolist()
        counts = dict(zip(dataset.classes, of_class, strict=True))
    lengths = None
    if dataset.lengths:
        some = torch.cat([split.lengths for split in splits if split.lengths is not None])
        lengths = (int(some.min()), int(some.median()), int(some.max()))
    milliseconds = 0.0
    x = dataset.train.x
    if isinstance(x, Events) and len(x.t):
        spans = pairwise(x.offsets.tolist())
        last = torch.stack([x.t[a:b].max() if b > a else x.t.new_zeros(()) for a, b in spans])
        milliseconds = max(1.0, float(last.double().quantile(0.95)) / 1000)
    return Facts(
        kind=dataset.kind,
        input=dataset.input,
        examples=sum(map(len, splits)),
        training=len(dataset.train),
        held=len(dataset.validation),
        shape=tuple(dataset.shape),
        steps=dataset.steps,
        lengths=lengths,
        per_step=dataset.per_step,
        counts=counts,
        groups=0 if "group" in options else None,
        tested=options.get("test_path"),
        milliseconds=milliseconds,
        options=options,
        raw=raw,
    )


def described(facts: Facts, dataset: DataSet) -> list[str]:
    """What was found, in lines."""
    parts = " / ".join(f"{len(part):,}" for part in (dataset.train, dataset.validation, dataset.test))
    shape = " x ".join(map(str, facts.shape))
    over = f", {facts.steps} time steps" if facts.steps else ""
    x = f"events on {shape} pixels" if facts.input == "events" else f"{shape} values{over}; nothing is missing"
    lines = [
        f"{facts.options['path']}: {facts.examples:,} examples ({parts} for training, validation, test)",
        f"x: {x}",
    ]
    if facts.lengths:
        lines.append(f"sequences of {facts.lengths[0]} to {facts.lengths[2]} steps, typically {facts.lengths[1]}")
    if facts.kind == "classification":
        what = "a class for each step" if facts.per_step else "classes"
        shown = ", ".join(f"{name!r} {count:,}" for name, count in list(facts.counts.items())[:12])
        more = f", and {len(facts.counts) - 12} more" if len(facts.counts) > 12 else ""
        lines.append(f"y: {len(facts.counts)} {what}: {shown}{more}")
    else:
        lines.append(f"y: {dataset.train.y.shape[1]} value(s): regression")
    if facts.groups is not None:
        lines.append(f"groups: {facts.options['group']!r}")
    inner = Path(facts.options["path"])
    if not facts.tested and inner.is_dir() and any(child.name.lower() == "test" for child in inner.iterdir()):
        lines.append("test part: the folder of that name")
    else:
        none = "no test file beside it: a fifth is the test part"
        lines.append(f"test part: {facts.tested}" if facts.tested else none)
    return lines + [f"note: {note}" for note in dataset.notes]


def recipe_toml(name: str, about: str, made: list[Choice], out: str) -> str:
    """The recipe's text: tables in order, each reason above its key."""
    lines = [f"# bitspike train {one_line(out)}", f"name = {_value(name)}", f"about = {_value(about)}"]
    tables: dict[str, list[Choice]] = {}
    for choice in made:
        tables.setdefault(choice.key.rpartition(".")[0], []).append(choice)
    for table, entries in tables.items():
        lines += ["", f"[{table}]"]
        for entry in entries:
            lines += [f"# {entry.why}"] if entry.why else []
            lines.append(f"{entry.key.rpartition('.')[2]} = {_value(entry.value)}")
    return "\n".join(lines) + "\n"


def _value(value: Any) -> str:
    """A TOML value; strings as in JSON, whose escapes TOML shares."""
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return json.dumps(value)
