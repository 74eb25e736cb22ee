"""Temporally-diffused quantiser: an activation as integers whose error is carried to the next step.

    r_t = f(x_t)                     any static nonlinearity
    u_t = v_{t-1} + dt r_t
    n_t = floor(u_t)                 spikes of this step: an integer, may exceed 1, may be negative
    v_t = u_t - n_t                  the carry, in [0, 1)
    y_t = n_t / dt

(Voelker, Rasmussen & Eliasmith 2020, arXiv 2002.03553.) dt is not a physical time: large, y follows f(x) within 1/dt
per step; small, spikes of height 1/dt are rare. The error is carried, never lost: |sum(y - f(x))| dt < 1 at all times,
and E[y_t] = f(x_t) where v_0 is uniform on [0, 1), which is why the carry is drawn; with v_0 = 0 all units fire
together. Gradient: that of f, straight through the quantiser; none through the carry.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from bitspike import draws
from bitspike.kernels import Spike, floor, indicator, stop, with_gradient
from bitspike.kernels.products.kinds import Kind
from bitspike.neurons.base import Neuron
from bitspike.neurons.constants import Constant, constant, positive
from bitspike.neurons.surrogate import Surrogate


class QuantiserState(NamedTuple):
    """v: carry, (B, *features), in [0, 1)."""

    v: Any


class QuantiserConstants(NamedTuple):
    """dt: counts per unit of activity. A scalar, or one per unit."""

    dt: Any


def quantiser_step(r: Any, state: QuantiserState, p: QuantiserConstants, spike: Spike) -> tuple[Any, QuantiserState]:
    """One step on the activity r = f(x); `spike` is not used."""
    u = state.v + p.dt * r
    n = floor(u)
    left = u - n
    # Just below an integer, u - n rounds to 1: one more count, nothing left.
    full = indicator(left >= 1, left)
    return with_gradient((n + full) / p.dt, r), QuantiserState(stop(left - full))


class TemporalQuantiser(Neuron):
    """Quantiser of activities over time: x (T, B, *features) to multiples of 1/dt, f(x) on average.

    dt: one value, or a tensor of one per unit; kept in the `state_dict`, for it is what a schedule changes.
    nonlinearity: f, applied to all steps at once; none is the identity. keys: the name of the draw of v_0 where no
    state is given (see `bitspike.draws`); for a new draw, `run(x, neuron.initial(x[0], generator))`.
    """

    kind: ClassVar[str] = "quantiser"
    emits: ClassVar[Kind] = "real"
    dt: Tensor

    def __init__(
        self,
        dt: Constant = 1.0,
        nonlinearity: Callable[[Tensor], Tensor] | None = None,
        keys: tuple[draws.Key, ...] = (0, "carry"),
        shape: tuple[int, ...] = (),
    ) -> None:
        super().__init__()
        self.step = quantiser_step
        self.spike = Surrogate()
        self.nonlinearity, self.keys = nonlinearity, keys
        self.register_buffer("dt", constant(positive(dt, "quantiser dt"), False, shape, "quantiser dt").clone())

    def initial(self, like: Tensor, generator: torch.Generator | None = None) -> QuantiserState:
        """A carry uniform on [0, 1), independent for every unit and example, in float32 at least."""
        source = generator or draws.generator(*self.keys, device=like.device)
        dtype = torch.promote_types(like.dtype, torch.float32)
        return QuantiserState(torch.rand(like.shape, generator=source, device=like.device, dtype=dtype))

    def constants(self) -> QuantiserConstants:
        """dt."""
        return QuantiserConstants(self.dt)

    def run(self, x: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        """Quantised f(x) and the carry after the last step."""
        return super().run(x if self.nonlinearity is None else self.nonlinearity(x), state)
