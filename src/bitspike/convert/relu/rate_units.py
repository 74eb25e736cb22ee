"""What stands in the place of ReLUs and max pools where activations become firing rates.

    ReLU       h = max(x, 0)     spikes of `RateIF`: their mean over time follows min(max(x, 0), theta)
    max pool   y = max_i x_i     y_t = max_i X_{i,t} - max_i X_{i,t-1},  X_{i,t} = sum of x_i up to step t

The second is exact at every step: sum(y) = max_i sum(x_i). The X of neurons with one threshold are whole multiples of
it that grow by one at most, so y is a spike of the same height, or none: the pool passes a spike on when it makes its
neuron the one with most of them. On currents, y is a current. Compare Rueckauer et al. 2017, whose gate passes on the
spikes of the neuron that has fired most, and may pass more than any one of them fired.

Each module has its static form too (`forward`), in one of two settings: "given", the network as it came, and "limit",
what its spikes tend to: activations cut off at theta, and means in the place of max pools that were swapped.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from bitspike.convert.high_value import high_value
from bitspike.kernels import Spike
from bitspike.layers.fused import LARGEST_POOL
from bitspike.layers.memory_format import dim_order, run_in_memory_format
from bitspike.layers.stepwise import stepwise
from bitspike.neurons.base import Neuron
from bitspike.neurons.rate_if import RateIF
from bitspike.neurons.recordings import Note, Undo, after_each, replaced
from bitspike.products.kinds import Kind


class Setting:
    """What the static forms compute, one object for all modules of a network: "given", "limit" or "measure"."""

    def __init__(self) -> None:
        self.now = "given"


class RateUnit(nn.Module):
    """A ReLU, and the neurons that fire at its rate once `settle` has set their threshold.

    name: the ReLU's path. ceiling: where the ReLU itself is cut off (ReLU6). spikes: of all presentations that ended
    since `forget_counts`; updates: neurons times steps; neurons: of one example. cut: activations above the threshold,
    of `looked_at`, where the network was asked for what its spikes tend to.
    """

    neuron: RateIF

    def __init__(self, name: str, setting: Setting, ceiling: float = math.inf) -> None:
        super().__init__()
        self.name, self.setting, self.ceiling = name, setting, ceiling
        self.percentile, self.per = 1.0, "layer"
        self.seen: Tensor | None = None
        self.batches = 0
        self.state: Any = None
        self.spikes, self.updates, self.neurons = 0.0, 0, 0
        self.cut, self.looked_at = 0, 0
        # Called with what came in over time and what went out.
        self.watchers: list[Callable[[Tensor, Tensor], None]] = []

    def forward(self, x: Tensor) -> Tensor:
        """The activation, static: x (B, *features)."""
        y = torch.relu(x) if math.isinf(self.ceiling) else x.clamp(0, self.ceiling)
        if self.setting.now == "measure":
            self._note(y)
        if self.setting.now != "limit":
            return y
        theta = self.neuron.theta.to(y)
        self.cut, self.looked_at = self.cut + int((y > theta).sum()), self.looked_at + y.numel()
        return y.minimum(theta)

    def _note(self, y: Tensor) -> None:
        channels = self.per == "channel" and y.ndim > 1
        rows = y.movedim(1, 0).flatten(1) if channels else y.reshape(1, -1)
        high = high_value(rows, self.percentile)
        together = Tensor.maximum if self.percentile == 1 else Tensor.add
        self.seen = high if self.seen is None else together(self.seen, high)
        self.batches += 1
        self.shape = (-1, *(1,) * (y.ndim - 2)) if channels else ()

    def highest(self) -> float:
        """The largest threshold that what was seen asks for; 0: it never answered."""
        assert self.seen is not None
        return float(self.seen.max()) / (1 if self.percentile == 1 else self.batches)

    def settle(self, start: float, otherwise: float) -> None:
        """Set the threshold from what was seen; a channel that was always 0 gets the layer's median.

        otherwise: the threshold of a layer that never answered, whose neurons then are silent.
        """
        assert self.seen is not None
        seen = self.seen / (1 if self.percentile == 1 else self.batches)
        alive = seen[seen > 0]
        typical = alive.median() if len(alive) else seen.new_tensor(min(otherwise, self.ceiling))
        self.neuron = RateIF(seen.where(seen > 0, typical).reshape(self.shape), start)
        self.seen = None

    def over_time(self, x: Tensor) -> Tensor:
        """Spikes (T, B, *features) for currents of that shape; goes on from the last call."""
        y, self.state = self._run(x, self.state)
        self.updates += y.numel()
        self.neurons = y[0, 0].numel()
        for watcher in self.watchers:
            watcher(x, y)
        return y

    def _run(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        # A threshold per channel fits features in their own order alone.
        shared = self.neuron.theta.numel() == 1
        return run_in_memory_format(self.neuron, x, state) if shared else self.neuron.run(x, state)

    def watch(self, note: Note) -> Undo:
        """See `neurons.recordings`."""
        over_time = self.over_time

        def told(x: Tensor) -> Tensor:
            before, y = self.state, over_time(x)
            note(y, lambda: after_each(self._run, x, before))
            return y

        return replaced(self, "over_time", told)

    def report_operations(self, tally: Any, given: tuple[Any, ...], output: Tensor) -> None:
        """For the energy account (`energy.tally`)."""
        tally.fires(output, self.neuron, (output / self.neuron.theta).round())

    def reset(self) -> None:
        """Back to the first membrane; the spikes since are counted now."""
        if self.state is not None:
            self.spikes += float(self.state.n.sum(dtype=torch.float64))
        self.state = None

    def forget_counts(self) -> None:
        """Count from 0."""
        # Spikes of a run that was left unfinished are in the state, and would be counted at its end.
        self.state = None
        self.spikes, self.updates = 0.0, 0
        self.cut, self.looked_at = 0, 0

    def __getstate__(self) -> dict[str, Any]:
        """A copy or a pickle begins anew."""
        return {**self.__dict__, "state": None}


class SumState(NamedTuple):
    """total: of the inputs so far, (B, *features)."""

    total: Any


class NoConstants(NamedTuple):
    """A sum has none."""


def sum_step(x: Any, state: SumState, p: NoConstants, spike: Spike) -> tuple[Any, SumState]:
    """One step."""
    total = state.total + x
    return total, SumState(total)


class RunningSum(Neuron):
    """x (T, B, *features) to its sum up to each step."""

    is_spiking: ClassVar[bool] = False
    emits: ClassVar[Kind] = "real"
    state_class = SumState
    step = staticmethod(sum_step)

    def constants(self) -> NoConstants:
        """None."""
        return NoConstants()

    def watch(self, note: Note) -> None:
        """Sums are no layer to record."""


class MaxUnit(nn.Module):
    """A max pool, and the exact one of running sums. mean: the average pool that stands for it instead, or None."""

    def __init__(self, name: str, setting: Setting, pool: nn.Module, mean: nn.Module | None) -> None:
        super().__init__()
        self.name, self.setting, self.pool, self.mean = name, setting, pool, mean
        self.sums = RunningSum()
        self.state: Any = None
        self.last: Tensor | None = None
        self.watchers: list[Callable[[Tensor, Tensor], None]] = []

    def forward(self, x: Tensor) -> Tensor:
        """Pooled x (B, *features)."""
        swapped = self.mean is not None and self.setting.now != "given"
        y: Tensor = self.mean(x) if self.mean is not None and swapped else self.pool(x)
        return y

    def over_time(self, x: Tensor) -> Tensor:
        """Pooled x (T, B, *features); goes on from the last call."""
        y = stepwise(self.mean, x) if self.mean is not None else self._largest(x)
        for watcher in self.watchers:
            watcher(x, y)
        return y

    def report_operations(self, tally: Any, given: tuple[Any, ...], output: Tensor) -> None:
        """For the energy account (`energy.tally`): of spikes, those that it passes on."""
        if self.mean is None and tally.origin(given[0])[0] is not None:
            tally.sends(output, output.sign())

    def _largest(self, x: Tensor) -> Tensor:
        # The kernel pools what it has just summed: the sums themselves are never stored.
        inside = _plain_size(self.pool) if x.ndim == 5 and x.device.type == "cpu" else 1
        inside = inside if min(x.shape[-2:]) >= inside and dim_order(x) == list(range(x.ndim)) else 1
        if inside > 1:
            totals, self.state = self.sums.run_between(x, self.state, None, inside)
        else:
            totals, self.state = run_in_memory_format(self.sums, x, self.state)
        most = totals if inside > 1 else stepwise(self.pool, totals)
        first = most[:1] if self.last is None else most[:1] - self.last
        self.last = most[-1].clone()
        return torch.cat([first, most[1:] - most[:-1]]) if len(most) > 1 else first

    def reset(self) -> None:
        """Forget all sums."""
        self.state, self.last = None, None

    def __getstate__(self) -> dict[str, Any]:
        """A copy or a pickle begins anew."""
        return {**self.__dict__, "state": None, "last": None}


def _plain_size(pool: nn.Module) -> int:
    """k of a plain k x k max pool that the kernels can compute, else 1."""
    if type(pool) is not nn.MaxPool2d or pool.dilation not in (1, (1, 1)) or pool.padding not in (0, (0, 0)):
        return 1
    size, stride = _pair(pool.kernel_size), _pair(pool.stride)
    plain = size == stride and size[0] == size[1] <= LARGEST_POOL and not pool.ceil_mode
    return int(size[0]) if plain else 1


def _pair(value: Any) -> tuple[Any, Any]:
    return value if isinstance(value, tuple) else (value, value)
