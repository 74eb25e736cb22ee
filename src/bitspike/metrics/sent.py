"""What a layer really got: counts of spikes behind a tensor, and what came in over a whole presentation.

A quantiser sends n / dt and a spiking unit of soft rates n amplitude / dt, with n a whole number; an average pool makes
fractions of these. On their way to the next weights they are still n events, and the pool's window holds their sum.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bitspike.metrics.counts import LayerCount, levels_of

AVERAGES = (nn.AvgPool1d, nn.AvgPool2d, nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d)
LARGEST = (nn.MaxPool1d, nn.MaxPool2d, nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d)
POOLS = (*AVERAGES, *LARGEST)


class Sent:
    """The last output y of every sender and its counts n, found again by the values of whoever reads y."""

    def __init__(self) -> None:
        self._kept: dict[str, tuple[Tensor, Tensor]] = {}

    def remember(self, name: str, y: Tensor, n: Tensor) -> None:
        """Sender `name` put out y, which stands for the counts n."""
        self._kept[name] = (y.detach(), n)

    def counts(self, x: Tensor) -> Tensor | None:
        """The counts behind x, in its shape, where x is what a sender put out, reshaped or not."""
        for y, n in reversed(self._kept.values()):
            if y.numel() != x.numel():
                continue
            same = y.data_ptr() == x.data_ptr() and y.is_contiguous() and x.is_contiguous()
            if same or torch.equal(x.detach().reshape(-1), y.reshape(-1)):
                return n.reshape(x.shape)
        return None

    def through(self, name: str, pool: nn.Module, x: Tensor, y: Tensor) -> None:
        """A pool made y of x: an average holds as many events as its window, a largest value those of that value."""
        n = self.counts(x)
        if n is None:
            return
        pooled = pool.forward(n) if isinstance(pool, LARGEST) else window_sums(pool, n)
        if isinstance(pooled, Tensor) and pooled.shape == y.shape:
            self.remember(name, y, pooled)

    def clear(self) -> None:
        """Forget all."""
        self._kept.clear()


def window_sums(pool: Any, n: Tensor) -> Tensor | None:
    """Sums over the windows of an average pool; none for an adaptive one whose windows differ in size."""
    if isinstance(pool, nn.AdaptiveAvgPool1d | nn.AdaptiveAvgPool2d):
        y = pool.forward(n)
        if any(a % b for a, b in zip(n.shape[1:], y.shape[1:], strict=True)):
            return None
        return (y * (n[0].numel() / y[0].numel())).round()
    if isinstance(pool, nn.AvgPool1d):
        sizes: tuple[Any, ...] = (pool.kernel_size, pool.stride, pool.padding)
        size, stride, padding = (value[0] for value in sizes)
        y = F.avg_pool2d(n.unsqueeze(-2), (1, size), (1, stride), (0, padding), pool.ceil_mode, divisor_override=1)
        return y.squeeze(-2)
    return F.avg_pool2d(n, pool.kernel_size, pool.stride, pool.padding, pool.ceil_mode, divisor_override=1)


class Once:
    """Sums over time of what each layer got in one pass: what a network that runs once would be given."""

    def __init__(self, examples: int, time_first: bool) -> None:
        self.examples, self.time_first = examples, time_first
        self._sums: dict[str, Tensor] = {}
        self._reach: dict[str, Tensor] = {}

    def add(self, layer: LayerCount, x: Tensor, reach: Tensor, row: int) -> bool:
        """Add the inputs x of a call, rows over steps and examples; False where there is no time to sum over."""
        rows = x.numel() // row
        if not self.time_first or rows % self.examples:
            return False
        total = x.reshape(rows // self.examples, self.examples, -1).sum(0)
        self._sums[layer.name] = self._sums[layer.name] + total if layer.name in self._sums else total
        self._reach[layer.name] = reach
        return True

    def close(self, layers: dict[str, LayerCount], levels: dict[str, set[float] | None]) -> None:
        """Count meetings and levels of the sums."""
        for name, total in self._sums.items():
            layers[name].once += meetings(total != 0, self._reach[name])
            note_levels(levels, name, total)


def meetings(values: Tensor, reach: Tensor) -> float:
    """Sum of values, each times the weights that it meets: reach, for all or by place (*space)."""
    per_place = values.reshape(-1, *reach.shape).sum(0, dtype=torch.float64)
    return (per_place.cpu() * reach).sum().item()


def note_levels(levels: dict[str, set[float] | None], name: str, x: Tensor) -> None:
    """Add the different values in x to those of layer `name`; none: too many to count."""
    if levels.get(name, set()) is None:
        return
    found = levels_of(x)
    levels[name] = None if found is None else levels.get(name, set()) | found  # type: ignore[operator]
