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
        self.columns, self.hidden, self.kept = columns, hidden, (averages, filtered)
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
        """Take up `state_dict()`, of a rule with another kappa or control variate too (a population changes them)."""
        state = self._in_own_form(state)
        for name, array in self.arrays.items():
            found = state.get(name)
            want = _signed(array)
            if not isinstance(found, Tensor) or found.shape != want.shape or found.numpy().dtype != want.dtype:
                refuse(f"learner state {name}", "it missing or of another form", f"{want.dtype} {tuple(want.shape)}")
            array[...] = found.numpy().view(array.dtype)
        _check(self.arrays, self.limit, self.taps)

    def _in_own_form(self, state: dict[str, Any]) -> dict[str, Any]:
        """`state` with the ring, silent steps and traces of this rule; what is damaged is left as it came."""
        state = dict(state)
        history, quiet = state.get("history"), state.get("quiet")
        if isinstance(history, Tensor) and isinstance(quiet, Tensor) and history.ndim == 3:
            before = history.shape[1] - 2
            if before >= 1 and before != self.limit and not quiet.is_floating_point():
                # Between two calls no row that does not rest is behind, so that nothing of the ring is read again.
                state["history"] = history.new_zeros(len(history), self.limit + 2, history.shape[2])
                part = quiet * self.limit // before  # of the way to rest
                state["quiet"] = torch.where(quiet < before, part, quiet - before + self.limit)
        for name in ("traces", "own_traces"):
            if isinstance(found := state.get(name), Tensor) and found.ndim == 1:
                state[name] = self._with_parts(found, len(self.arrays[name]))
        return state

    def _with_parts(self, found: Tensor, length: int) -> Tensor:
        """Traces with the averages (n, m) and filtered updates (d) that this rule keeps; what it did not have is 0."""
        averages, filtered = self.kept
        rows = length // (self.columns + self.hidden * (2 * averages + filtered))
        part = rows * self.hidden
        several, rest = divmod(len(found) - rows * self.columns, part) if part else (0, 0)
        if not part or len(found) == length or rest or not 0 <= several <= 3:
            return found
        e, others = found[: rows * self.columns], found[rows * self.columns :]
        nothing = found.new_zeros(2 * part)
        n_m = others[: 2 * part] if several >= 2 else nothing
        d = others[-part:] if several % 2 else nothing[:part]
        return torch.cat([e, *([n_m] if averages else []), *([d] if filtered else [])])


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
