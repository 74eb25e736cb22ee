"""What stands in the place of a nonlinearity: a quantiser, and how the calls it gets are cut into time steps.

Presented   x (T*B, *features), or (B, *features) that does not change: the T presentations of one input
Stepped     x (B, *features), one call one time step; the carry goes from call to call
quantiser   x (T, B, *features) in models that put time first: no unit around it

"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from bitspike.convert.high_value import high_value
from bitspike.errors import refuse
from bitspike.layers import Stepwise
from bitspike.neurons import TemporalQuantiser


class Clock:
    """The number of presentation steps, one object for all units of a model."""

    def __init__(self, steps: int) -> None:
        self.steps = steps


class Presented(nn.Module):
    """A quantiser over the presentations of one input."""

    def __init__(self, quantiser: TemporalQuantiser, clock: Clock, constant: bool = False) -> None:
        super().__init__()
        self.quantiser, self.clock, self.constant = quantiser, clock, constant

    def forward(self, x: Tensor) -> Tensor:
        """(T*B, *features), presentation by presentation; x has B rows if it is constant, else T*B."""
        steps = self.clock.steps
        if self.constant:
            over = x.unsqueeze(0).expand(steps, *x.shape)
        elif x.shape[0] % steps:
            came = f"{x.shape[0]} rows"
            refuse("hybrid activation", came, f"{steps} times the batch: the batch must stay the first dimension")
        else:
            over = x.unflatten(0, (steps, -1))
        y: Tensor = self.quantiser(over)
        return y.flatten(0, 1)


class Stepped(nn.Module):
    """A quantiser that is called once for each time step; `reset` before the first."""

    def __init__(self, quantiser: TemporalQuantiser) -> None:
        super().__init__()
        self.quantiser = quantiser
        self.state: Any = None

    def reset(self) -> None:
        """Forget the carry: the next call is the first step of new inputs."""
        self.state = None

    def forward(self, x: Tensor) -> Tensor:
        """Quantised f(x), x (B, *features)."""
        y, self.state = self.quantiser.advance(x, self.state)
        return y

    def __getstate__(self) -> dict[str, Any]:
        """A copy or a pickle begins anew."""
        return {**self.__dict__, "state": None}


class Probe(nn.Module):
    """Applies the nonlinearity and notes how large its values are: the mean over batches of a percentile of |f(x)|.

    lead: how many dimensions stand before the features. per: "layer", or "channel" for the first feature dimension.
    """

    def __init__(self, nonlinearity: nn.Module, lead: int, percentile: float, per: str) -> None:
        super().__init__()
        self.nonlinearity, self.lead, self.percentile, self.per = nonlinearity, lead, percentile, per
        self.sums: Tensor | None = None
        self.batches = 0

    def forward(self, x: Tensor) -> Tensor:
        """f(x)."""
        y: Tensor = self.nonlinearity(x)
        sizes = y.detach().abs()
        channel = self.per == "channel" and y.ndim > self.lead
        rows = sizes.movedim(self.lead, 0).flatten(1) if channel else sizes.flatten().unsqueeze(0)
        seen = high_value(rows, self.percentile)
        if self.sums is not None and self.sums.shape != seen.shape:
            came = f"{len(self.sums)} and {len(seen)} channels in calls of one module"
            refuse("hybridise scale", f"'channel' with {came}", "'layer', or a module for each call")
        self.sums = seen if self.sums is None else self.sums + seen
        self.batches += 1
        self.shape = (-1, *(1,) * (y.ndim - self.lead - 1)) if channel else ()
        return y

    def scale(self, name: str) -> Tensor:
        """The typical |f(x)|, (C, 1, ...) or (); a channel that was always 0 gets the layer's median, a layer is 0."""
        if self.sums is None:
            refuse(f"hybridise layer {name!r}", "no call by the data given", "data that reach it")
        seen = self.sums / self.batches
        alive = seen[seen > 0]
        if len(alive) == 0:
            return seen.reshape(self.shape)
        return seen.where(seen > 0, alive.median()).reshape(self.shape)


def over_time(module: nn.Module) -> nn.Module:
    """A nonlinearity for all steps at once; one with a parameter per channel must not see time."""
    return Stepwise(module) if isinstance(module, nn.PReLU) else module
