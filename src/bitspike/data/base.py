"""What every data set is: three splits, the kind of input, and how new input is brought into the same form."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

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

    `index` numbers an example within the whole data set; train, validation and test share none.
    """

    x: Tensor | Events
    y: Tensor
    index: Tensor

    def __len__(self) -> int:
        """The number N of examples."""
        return len(self.index)


@dataclass(frozen=True)
class DataSet:
    """A data set ready to train on.

    shape: of one example without time, (P, H, W) for events; steps: T if x is (N, T, *shape);
    digests: name to SHA-256; subset: "subset 1,000/100" (training + validation / test) when fewer
    examples than the official set; normalisation: of x, applied already; target: that of a regression's
    y, applied already (`normalise.restore` undoes it).
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

    @property
    def form(self) -> dict[str, Any]:
        """What `prepare` needs to read new input the same way; plain JSON values, stored with a run."""
        return {
            "input": self.input,
            "shape": list(self.shape),
            "steps": self.steps,
            "normalisation": self.normalisation,
            "target": self.target,
        }

    def class_weights(self) -> Tensor:
        """Weights (C,) float32 proportional to 1 / (training examples of the class), scaled to mean 1."""
        if self.kind != "classification":
            refuse("class weights", f"{self.name}, a {self.kind} set", "a classification set")
        inverse = 1.0 / torch.bincount(self.train.y, minlength=len(self.classes)).double()
        return (inverse / inverse.mean()).float()


def select(x: Tensor | Events, y: Tensor, index: Tensor, chosen: Tensor) -> Split:
    """The split made of the rows `chosen`."""
    return Split(x[chosen], y[chosen], index[chosen])
