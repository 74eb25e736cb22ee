"""Leaky integrate-and-fire.

    v_t = beta v_{t-1} + x_t            beta = exp(-1/tau)
    s_t = 1[v_t - theta >= 0]
    soft reset:  v_t <- v_t - theta s_t
    hard reset:  v_t <- v_t (1 - s_t)

With a refractory period of R steps, a counter r (steps still to wait) is R after a spike; while r > 0 the neuron
neither integrates nor fires:

    r_{t-1} = 0:  v_t and s_t as above;  r_t = R s_t
    r_{t-1} > 0:  v_t = v_{t-1}, s_t = 0;  r_t = r_{t-1} - 1

x: current (units of the threshold per step); tau: membrane time constant in time steps; theta: threshold.
No gradient passes through the reset or the counter (`stop`), as is usual with surrogate gradients.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from bitspike.errors import refuse
from bitspike.kernels import Spike, choose, maximum, stop
from bitspike.kernels.dtypes import at_least_single
from bitspike.neurons.base import Neuron
from bitspike.neurons.constants import constant, positive
from bitspike.neurons.reset import with_reset
from bitspike.neurons.surrogate import Surrogate


class LIFState(NamedTuple):
    """v: membrane, (B, *features)."""

    v: Any


class LIFConstants(NamedTuple):
    """beta: decay per step; theta: threshold. Scalars, or one per neuron."""

    beta: Any
    theta: Any


class RefractoryLIFState(NamedTuple):
    """v: membrane; r: steps still to wait. Both (B, *features)."""

    v: Any
    r: Any


class RefractoryLIFConstants(NamedTuple):
    """beta, theta: as in LIFConstants; period: steps without a spike after one."""

    beta: Any
    theta: Any
    period: Any


def lif_fire(x: Any, state: LIFState, p: LIFConstants, spike: Spike) -> tuple[Any, LIFState]:
    """Spikes and the membrane before the reset, after one step."""
    v = p.beta * state.v + x
    return spike(v - p.theta), LIFState(v)


def refractory_fire(
    x: Any, state: RefractoryLIFState, p: RefractoryLIFConstants, spike: Spike
) -> tuple[Any, RefractoryLIFState]:
    """As `lif_fire`, with a refractory period."""
    free = state.r <= 0
    v = choose(free, p.beta * state.v + x, state.v)
    s = choose(free, spike(v - p.theta), 0.0)
    return s, RefractoryLIFState(v, stop(p.period * s + maximum(state.r - 1, 0)))


class LIF(Neuron):
    """Leaky integrate-and-fire neurons; `learn` names what is trained ("tau", "theta"), per neuron if `shape`.

    tau is stored as log(tau), so that it stays positive while it is trained. tau and theta may be tensors of one
    value per neuron. refractory: steps without a spike after one; 0 costs nothing.
    """

    kind: ClassVar[str] = "lif"

    def __init__(
        self,
        tau: float | Tensor = 2.0,
        theta: float | Tensor = 1.0,
        reset: str = "soft",
        surrogate: Surrogate | None = None,
        learn: Collection[str] = (),
        shape: tuple[int, ...] = (),
        refractory: int = 0,
    ) -> None:
        super().__init__()
        if unknown := set(learn) - {"tau", "theta"}:
            refuse("neuron learn", sorted(unknown), "'tau', 'theta' or both")
        if isinstance(refractory, bool) or not isinstance(refractory, int) or refractory < 0:
            refuse("neuron refractory", refractory, "a whole number of time steps, 0 or more")
        self.step = with_reset(refractory_fire if refractory else lif_fire, reset)
        self.state_class = RefractoryLIFState if refractory else LIFState
        self.refractory = refractory
        self.spike = surrogate or Surrogate()
        self.log_tau = constant(
            positive(tau, "neuron tau", "a positive number of time steps").log(), "tau" in learn, shape, "neuron tau"
        )
        positive(theta, "neuron theta")
        self.theta = constant(theta, "theta" in learn, shape, "neuron theta")

    def constants(self) -> LIFConstants | RefractoryLIFConstants:
        """beta = exp(-exp(-log tau)), theta, and the refractory period if there is one."""
        beta, theta = torch.exp(-torch.exp(-at_least_single(self.log_tau))), at_least_single(self.theta)
        if self.refractory:
            return RefractoryLIFConstants(beta, theta, float(self.refractory))
        return LIFConstants(beta, theta)
