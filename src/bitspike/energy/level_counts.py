"""How often each unit took each whole number: a table (units, levels) that grows with the range seen.

Memory is the table's (one for each thread while it counts), whatever the number of values. On the processor there are
two passes over the values, each on as many threads as torch uses and without copies: one finds the range, one counts.
A value costs about two nanoseconds of one core.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor

from bitspike.errors import refuse
from bitspike.kernels.cpu import threads
from bitspike.kernels.cpu.compiled import compiled

LARGEST = 1 << 26  # entries of a table: 512 MB
SLACK = 0.25  # how far y dt, rounded, may be from its whole number
CHUNK = 1 << 22  # values looked at at once on other devices
KERNEL_DTYPES = (torch.float32, torch.float64, torch.int32, torch.int64)


class LevelCounts:
    """Counts of the numbers low, low + 1, ... of `units` units: `table` (units, width), int64, on the host."""

    def __init__(self, units: int) -> None:
        self.low = 0
        self.table = torch.zeros(units, 1, dtype=torch.int64)

    @property
    def numbers(self) -> Tensor:
        """The numbers the columns stand for, int64 (width,)."""
        return torch.arange(self.low, self.low + self.table.shape[1])

    def add(self, n: Tensor, dt: Tensor | None = None) -> None:
        """Count whole numbers n (rows, units) of any real dtype; with dt, (units,) or (), n dt is what is counted.

        Refuses what is not whole: at all without dt, by more than rounding explains with it.
        """
        if n.numel() == 0:
            return
        units = len(self.table)
        if n.dtype not in KERNEL_DTYPES:
            n = n.float() if n.is_floating_point() else n.long()
        real = n.dtype if n.is_floating_point() else torch.float64
        scale = torch.ones(units, dtype=real) if dt is None else dt.detach().to(real).expand(units).contiguous()
        slack = 0.0 if dt is None else SLACK
        if n.device.type == "cpu":
            self._add_here(n.detach().contiguous(), scale, slack)
            return
        for rows in n.detach().split(max(1, CHUNK // units)):
            self._add_anywhere(rows, scale.to(n.device), slack)

    def _add_here(self, n: Tensor, scale: Tensor, slack: float) -> None:
        values, factors = n.numpy(), scale.numpy()
        find, count = _kernels()
        # Threads share rows out: columns of a row would cost each of them most of the row's way from memory.
        found: list[tuple[int, int, int, int]] = []
        threads.run(lambda a, b: found.append(find(a, b, values, factors, slack, LARGEST)), len(n), n.numel(), each=1)
        lows, highs, large, fraction = zip(*found, strict=True)
        self._check(any(large), any(fraction))
        self._reach(int(min(lows)), int(max(highs)))
        parts: list[Tensor] = []

        def part(first: int, last: int) -> None:
            alone = last - first == len(n)
            own = self.table if alone else torch.zeros_like(self.table)
            count(first, last, values, factors, self.low, own.numpy())
            if not alone:
                parts.append(own)

        threads.run(part, len(n), n.numel(), each=1)
        for own in parts:
            self.table += own

    def _add_anywhere(self, n: Tensor, scale: Tensor, slack: float) -> None:
        """As `_add_here`, with torch's operations, on any device."""
        exact = n * scale
        whole = exact.round()
        # A comparison with NaN is false.
        self._check(not bool((whole.abs() < LARGEST).all()), bool(((exact - whole).abs() > slack).any()))
        low, high = (int(bound) for bound in whole.aminmax())
        self._reach(low, high)
        units, width = self.table.shape
        place = whole.long() + (torch.arange(units, device=n.device) * width - self.low)
        self.table += torch.bincount(place.flatten(), minlength=units * width).view(units, width).cpu()

    def _check(self, large: bool, fraction: bool) -> None:
        if large:
            refuse("levels", "values that are not finite or too large", f"whole numbers below {LARGEST:,}")
        if fraction:
            refuse("levels", "values that are not whole numbers", "counts n, which are dt times y")

    def _reach(self, low: int, high: int) -> None:
        units, width = self.table.shape
        low, high = min(low, self.low), max(high, self.low + width - 1)
        size = high - low + 1
        if size == width:
            return
        if units * size > LARGEST:
            refuse("levels", f"{size:,} levels of {units:,} units", f"{LARGEST:,} at most in all: a smaller step size")
        table = torch.zeros(units, size, dtype=torch.int64)
        table[:, self.low - low : self.low - low + width] = self.table
        self.low, self.table = low, table


@cache
def _kernels() -> tuple[Any, Any]:
    import numpy as np

    def find(first: Any, last: Any, n: Any, scale: Any, slack: Any, largest: Any) -> Any:
        low, high, large, fraction = np.int32(0), np.int32(0), np.int32(0), np.int32(0)
        for row in range(np.uintp(first), np.uintp(last)):
            for unit in range(n.shape[1]):
                exact = n[row, unit] * scale[unit]
                whole = np.rint(exact)
                fits = abs(exact) < largest
                k = np.int32(whole) if fits else np.int32(0)
                low, high = min(low, k), max(high, k)
                large |= np.int32(not fits)
                fraction |= np.int32(fits & (abs(exact - whole) > slack))
        return low, high, large, fraction

    def count(first: Any, last: Any, n: Any, scale: Any, low: Any, table: Any) -> None:
        for row in range(np.uintp(first), np.uintp(last)):
            for unit in range(n.shape[1]):
                table[unit, np.int64(np.rint(n[row, unit] * scale[unit])) - low] += 1

    return compiled(find), compiled(count)
