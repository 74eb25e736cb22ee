"""How the step sizes of quantisers change over training: large at first, close to f(x), then towards the final one.

At progress q in [0, 1), with hold h, p = min(q / (1 - h), 1), from a = start (times final) to b = end times final:

    geometric   a^(1-p) b^p
    linear      (1 - p) a + p b
    cosine      b + (a - b)(1 + cos(pi p))/2
    constant    b

so that the last fraction h of training runs at b. With epochs = E the step changes between epochs only: epoch k has
p = min(k / floor((1 - h) E), 1).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

import torch
from torch import Tensor, nn

from bitspike.errors import check_name, refuse
from bitspike.neurons.quantiser_control import quantisers

STEP_SCHEDULES = ("geometric", "linear", "cosine", "constant")
PER = ("step", "epoch")


@dataclass(frozen=True)
class StepSchedule:
    """A quantiser's dt as a pure function of progress; nothing to store, nothing to resume.

    start, end: factors on the final dt; absolute: start is a dt itself, the same for every unit. hold: the last
    fraction of training, at the end value. per: "step", or "epoch" with the number of `epochs`.
    """

    kind: str = "geometric"
    start: float = 2.0**8
    end: float = 1.0
    hold: float = 0.25
    per: str = "step"
    epochs: int = 0
    absolute: bool = False

    def __post_init__(self) -> None:
        check_name("step schedule kind", self.kind, STEP_SCHEDULES)
        check_name("step schedule per", self.per, PER, " or ".join(map(repr, PER)))
        for name in ("start", "end"):
            if not 0 < getattr(self, name) < math.inf:
                refuse(f"step schedule {name}", getattr(self, name), "a positive number")
        if not 0 <= self.hold <= 1:
            refuse("step schedule hold", self.hold, "a fraction of training, 0 to 1")
        if self.per == "epoch" and self.epochs < 1:
            refuse("step schedule epochs", self.epochs, "the number of epochs, 1 or more, with per = 'epoch'")

    def share(self, progress: float) -> float:
        """p: how much of the way to the end value is gone at `progress`."""
        if not 0 <= progress <= 1:
            refuse("progress", progress, "0 to 1")
        if self.per == "epoch":
            # 1e-9: k / E is the first progress of epoch k although it is rounded.
            done = math.floor(progress * self.epochs + 1e-9)
            moving = math.floor((1 - self.hold) * self.epochs + 1e-9)
            return min(done / moving, 1.0) if moving else 1.0
        return min(progress / (1 - self.hold), 1.0) if self.hold < 1 else 1.0

    def factor(self, progress: float) -> float:
        """The factor on the final dt; refused where start is a dt."""
        if self.absolute:
            refuse("step schedule factor", "an absolute start", "dt(final, progress)")
        return self._between(self.start, self.end, self.share(progress))

    def dt(self, final: Tensor, progress: float) -> Tensor:
        """The step sizes at `progress`, of the shape of `final`."""
        if not self.absolute:
            return final * self.factor(progress)
        ends = (final.double() * self.end).flatten().tolist()
        p = self.share(progress)
        values = [self._between(self.start, end, p) for end in ends]
        return torch.tensor(values, dtype=final.dtype, device=final.device).view(final.shape)

    def _between(self, a: float, b: float, p: float) -> float:
        if self.kind == "constant" or p == 1:
            return b
        if self.kind == "geometric":
            return float(a * (b / a) ** p)
        if self.kind == "linear":
            return (1 - p) * a + p * b
        return b + (a - b) * (1 + math.cos(math.pi * p)) / 2


Steps = StepSchedule | float


@torch.no_grad()
def set_step(model: nn.Module, steps: Steps | Mapping[str, Steps], progress: float = 0.0) -> None:
    """Set the `dt` of every quantiser of `model`, which training uses, to its value at `progress`.

    steps: a schedule, or a factor on the final dt; or a mapping from module path to either, where a path stands for
    all that lies below it and may hold wildcards ("memory", "cells.*.hidden", "*"). The first path that fits is
    taken; a quantiser that none fits keeps its dt. A path that fits no quantiser is refused.
    """
    parts = steps if isinstance(steps, Mapping) else {"*": steps}
    used = set()
    for name, quantiser in quantisers(model):
        path = next((p for p in parts if _fits(name, p)), None)
        used |= {p for p in parts if _fits(name, p)}
        if path is None:
            continue
        wanted = parts[path]
        if isinstance(wanted, StepSchedule):
            dt = wanted.dt(quantiser.final, progress)
        elif 0 < wanted < math.inf:
            dt = quantiser.final * wanted
        else:
            refuse("quantiser step factor", wanted, "a positive number")
        if dt.shape == quantiser.dt.shape:
            quantiser.dt.copy_(dt)
        else:
            quantiser.dt = dt
    if isinstance(steps, Mapping) and (unused := sorted(set(parts) - used)):
        names = ", ".join(repr(name) for name, _ in quantisers(model)) or "no quantiser"
        refuse("step schedule path", ", ".join(map(repr, unused)), f"the path of a quantiser; there are {names}")


def _fits(name: str, pattern: str) -> bool:
    return fnmatchcase(name, pattern) or fnmatchcase(name, f"{pattern}.*")
