"""What the compiled learning loop carries from call to call."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from bitspike.errors import refuse
from bitspike.kernels.cpu import circuit_parts as codes
from bitspike.models.circuits import Circuits

Array = np.ndarray[Any, Any]
ORDER = (
    "live", "is_live", "traces", "own_traces", "bits", "pending", "done", "quiet", "g", "history", "filtered", "level",
    "clock",
)  # fmt: skip


class LoopState:
    """The arrays of `kernels.cpu.circuit_loops.learn` between `is_live` and `clock`, for B streams; at rest at first.

    limit: steps that a silent row is replayed. averages, filtered: whether the rule keeps n and m, and d.
    """

    def __init__(self, model: Circuits, streams: int, limit: int, averages: bool, filtered: bool) -> None:
        units, filters = model.weight.shape[:2]
        columns, hidden = model.circuits * model.symbols, model.hidden * model.symbols
        dtype = model.arrays()[0].dtype
        self.streams, self.limit, self.taps = streams, limit, model.taps
        mask = np.repeat(model.mask.numpy(), model.symbols, 1).astype(dtype)
        self.synapses = mask, mask.all(1)  # which columns have a unit as a source, and whether all have
        width = columns + hidden * (2 * averages + filtered)
        self.arrays: dict[str, Array] = {
            "live": np.zeros(units, np.int64),
            "is_live": np.zeros(units, np.bool_),
            "traces": np.zeros(streams * units * filters * width, dtype),
            "own_traces": np.zeros(streams * 2 * width, dtype),
            "bits": np.zeros((streams, units), np.uint64),
            "pending": np.zeros((streams, units, filters), dtype),
            "done": np.full((units, filters), -1, np.int64),
            "quiet": np.full((units, filters), limit, np.int64),
            "g": np.zeros((streams, columns), dtype),
            "history": np.zeros((streams, limit + 2, 2), dtype),
            "filtered": np.zeros(streams, dtype),
            "level": np.zeros(1, dtype),
            "clock": np.zeros(2, np.int64),
        }

    def forget(self) -> None:
        """Forget the last spikes; traces of learning and signals go on."""
        self.arrays["bits"][:] = 0

    def given(self) -> list[Array]:
        """In the order of the loop's arguments."""
        return [self.arrays[name] for name in ORDER]

    @property
    def steps(self) -> int:
        """Steps learned so far."""
        return int(self.arrays["clock"][0])

    def state_dict(self) -> dict[str, Tensor]:
        """Copies of all of it."""
        return {name: torch.from_numpy(_signed(array).copy()) for name, array in self.arrays.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up `state_dict()`."""
        for name, array in self.arrays.items():
            found = state.get(name)
            want = _signed(array)
            if not isinstance(found, Tensor) or found.shape != want.shape or found.numpy().dtype != want.dtype:
                refuse(f"learner state {name}", "it missing or of another form", f"{want.dtype} {tuple(want.shape)}")
            array[...] = found.numpy().view(array.dtype)
        _check(self.arrays, self.limit, self.taps)


def _signed(array: Array) -> Array:
    return array.view(np.int64) if array.dtype == np.uint64 else array


def _check(arrays: dict[str, Array], limit: int, taps: int) -> None:
    """Refuse numbers with which the loop would reach out of its arrays."""
    steps, live = arrays["clock"].tolist()
    units = len(arrays["live"])
    sound = 0 <= live <= units and 0 <= steps <= codes.LONGEST
    listed = np.sort(arrays["live"][: live if sound else 0])
    sound = sound and np.array_equal(arrays["is_live"].nonzero()[0], listed)
    sound = sound and bool(((arrays["done"] >= -1) & (arrays["done"] < max(steps, 1))).all())
    sound = sound and bool(((arrays["quiet"] >= 0) & (arrays["quiet"] <= limit)).all())
    if not sound or (taps < 64 and bool((arrays["bits"] >> np.uint64(taps)).any())):
        refuse("learner state", "numbers that no run leaves", "a whole one")
