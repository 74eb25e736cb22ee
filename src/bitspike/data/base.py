"""What every data set is: three splits, the kind of input, and how new input is brought into the same form."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

from bitspike.data.normalise import NONE
from bitspike.errors import refuse

InputKind = Literal["image", "vector", "series", "events"]


@dataclass(frozen=True)
class Events:
    """Ragged address events of N recordings on a sensor of `shape` (P, H, W).

    t: int64 microseconds (E,); x, y: int16 column and row (E,); p: uint8 polarity (E,);
    offsets: int64 (N+1,). Recording i is offsets[i]:offsets[i+1].
    """

    t: Tensor
    x: Tensor
    y: Tensor
    p: Tensor
    offsets: Tensor
    shape: tuple[int, int, int]

    def __len__(self) -> int:
        """The number N of recordings."""
        return len(self.offsets) - 1

    def __getitem__(self, index: Tensor | slice) -> Events:
        """The recordings chosen by an integer tensor (repeats allowed), a bool tensor (N,) or a slice."""
        chosen = torch.arange(len(self))[index].reshape(-1)
        starts, counts = self.offsets[chosen], self.offsets.diff()[chosen]
        offsets = torch.zeros(len(chosen) + 1, dtype=torch.int64)
        torch.cumsum(counts, 0, out=offsets[1:])
        where = torch.repeat_interleave(starts - offsets[:-1], counts) + torch.arange(int(offsets[-1]))
        return Events(self.t[where], self.x[where], self.y[where], self.p[where], offsets, self.shape)


@dataclass(frozen=True)
class Split:
    """N examples: x (N, *shape), (N, T, *shape) or `Events`; y int64 (N,) or float32 (N, D); index int64 (N,).

    `index` numbers an example within the whole data set; train, validation and test share none. lengths: of sequences
    of different lengths, int64 (N,); x is 0 behind them. y int64 (N, T) is a class for each step, -1 behind the end.
    """

    x: Tensor | Events
    y: Tensor
    index: Tensor
    lengths: Tensor | None = None

    def __len__(self) -> int:
        """The number N of examples."""
        return len(self.index)

    def __getitem__(self, rows: Tensor | slice) -> Split:
        """The examples chosen by an integer tensor, a bool tensor (N,) or a slice; they keep their numbers."""
        lengths = None if self.lengths is None else self.lengths[rows]
        return Split(self.x[rows], self.y[rows], self.index[rows], lengths)


@dataclass(frozen=True)
class DataSet:
    """A data set ready to train on.

    shape: of one example without time, (P, H, W) for events; steps: T if x is (N, T, *shape);
    digests: name to SHA-256; subset: "subset 1,000/100" (training + validation / test) when fewer
    examples than the official set; normalisation: of x, applied already; target: that of a regression's
    y, applied already (`normalise.restore` undoes it); columns: names of the columns of x in the CSV read, None
    without a header (or with a name that comes twice); target_column: "name" (or None) and "position" (from 0,
    among the columns of x and y; None in the long form) of its column of y; aside: names of columns that are no x (a
    group); lengths: sequences may be shorter than `steps`; padding: the option of that name; audio: the front end of
    sound files (`data.audio.FrontEnd`); numbered: y was handed in as numbers of classes, whatever these are called;
    sensor: of event files, whether its size was asked for, whatever they say, and how they count (`formats.base.View`).
    """

    name: str
    kind: Literal["classification", "regression"]
    train: Split
    validation: Split
    test: Split
    classes: tuple[str, ...]
    shape: tuple[int, ...]
    steps: int | None
    digests: dict[str, str]
    input: InputKind
    normalisation: dict[str, Any]
    target: dict[str, Any] | None = None
    subset: str | None = None
    notes: tuple[str, ...] = field(default=())
    columns: tuple[str, ...] | None = None
    target_column: dict[str, Any] | None = None
    aside: tuple[str, ...] = ()
    lengths: bool = False
    padding: str | None = None
    audio: dict[str, Any] | None = None
    numbered: bool = False
    sensor: dict[str, Any] | None = None

    @property
    def per_step(self) -> bool:
        """Classes for each step of a sequence instead of one for each example."""
        return self.kind == "classification" and self.train.y.ndim == 2

    @property
    def form(self) -> dict[str, Any]:
        """What `prepare` needs to read new input the same way; plain JSON values, stored with a run."""
        some = {"aside": list(self.aside), "lengths": self.lengths, "padding": self.padding}
        some |= {"per_step": self.per_step, "audio": self.audio, "numbered": self.numbered}
        some |= {"sensor": self.sensor}
        return {
            "input": self.input,
            "shape": list(self.shape),
            "steps": self.steps,
            "normalisation": self.normalisation,
            "target": self.target,
            "columns": None if self.columns is None else list(self.columns),
            "target_column": self.target_column,
            **{name: value for name, value in some.items() if value},
        }

    def class_weights(self) -> Tensor:
        """Weights (C,) float32 proportional to 1 / (training examples of the class), scaled to mean 1."""
        if self.kind != "classification":
            refuse("data.class_weights", f"true for {self.name}, a {self.kind} set", "false")
        counts = self._counts(self.train)
        if 0 in counts:
            came = f"true, and class {self.classes[counts.index(0)]!r} has no training example"
            refuse("data.class_weights", came, "false, or examples of every class")
        inverse = 1.0 / torch.tensor(counts, dtype=torch.float64)
        return (inverse / inverse.mean()).float()

    def missing_classes(self) -> tuple[str, ...]:
        """A line for each class without an example in one of the three splits."""
        if self.kind != "classification":
            return ()
        parts = {part: self._counts(getattr(self, part)) for part in ("train", "validation", "test")}
        lines = []
        for number, name in enumerate(self.classes):
            counts = {part: of_class[number] for part, of_class in parts.items()}
            if 0 in counts.values():
                total = sum(counts.values())
                each = ", ".join(f"{count:,} {part}" for part, count in counts.items())
                what = "step" if self.per_step else "example"
                lines.append(f"class {name!r} has {total:,} {what}{'' if total == 1 else 's'}: {each}")
        return tuple(lines)

    def _counts(self, split: Split) -> list[int]:
        """Examples (or steps) of each class."""
        counts: list[int] = torch.bincount(split.y[split.y >= 0], minlength=len(self.classes)).tolist()
        return counts


def event_set(
    name: str, parts: tuple[Split, Split, Split], classes: tuple[str, ...], digests: dict[str, str], **more: Any
) -> DataSet:
    """A set of recordings: training, validation and test."""
    more |= {"input": "events", "normalisation": dict(NONE)}
    return DataSet(name, "classification", *parts, classes, tuple(parts[0].x.shape), None, digests, **more)


def drawn(
    name: str, xs: list[Tensor], ys: list[Tensor], scale: dict[str, Any], classes: tuple[str, ...] = (), **more: Any
) -> DataSet:
    """A set drawn anew for each seed, of its parts (N, F) or (N, T, F); their examples are numbered through."""
    index = torch.arange(sum(map(len, xs))).split([len(x) for x in xs])
    train, validation, test = map(Split, xs, ys, index)
    kind: Any = "classification" if classes else "regression"
    form = "series" if xs[0].ndim == 3 else "vector"
    steps = xs[0].shape[1] if form == "series" else None
    shape = (xs[0].shape[-1],)
    more |= {"input": form, "normalisation": scale}
    return DataSet(name, kind, train, validation, test, classes, shape, steps, **more)


def ends_of(x: Tensor, lengths: Tensor | None) -> Tensor:
    """The length (N,) of every sequence of x (N, T, ...)."""
    return torch.full((len(x),), x.shape[1]) if lengths is None else lengths


def filled(x: Tensor, lengths: Tensor | None, fill: float = 0.0) -> Tensor:
    """Sequences x (N, T, ...) with `fill` behind their lengths (N,); as they are where all have T steps (None)."""
    if lengths is None:
        return x
    inside = torch.arange(x.shape[1]) < lengths.unsqueeze(1)
    return torch.where(inside.view(*inside.shape, *(1,) * (x.ndim - 2)), x, fill)


def longer(x: Tensor, steps: int, fill: float = 0) -> Tensor:
    """x (N, T, ...) with `fill` behind up to `steps`."""
    return torch.cat([x, x.new_full((len(x), steps - x.shape[1], *x.shape[2:]), fill)], 1)
