"""Leaky integrate-and-fire.

    v_t = beta v_{t-1} + x_t            beta = exp(-1/tau)
    s_t = 1[v_t - theta >= 0]
    soft reset:  v_t <- v_t - theta s_t
    hard reset:  v_t <- v_t (1 - s_t)

x: current (units of the threshold per step); tau: membrane time constant in time steps; theta: threshold.
No gradient passes through the reset (`stop`), as is usual with surrogate gradients.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from bitspike.errors import refuse
from bitspike.kernels import Spike, Step, stop
from bitspike.neurons.base import Neuron, constant, time_constant
from bitspike.neurons.surrogate import Surrogate


class LIFState(NamedTuple):
    """v: membrane, (B, *features)."""

    v: Any


class LIFConstants(NamedTuple):
    """beta: decay per step; theta: threshold. Scalars, or one per neuron."""

    beta: Any
    theta: Any


def lif_soft_step(x: Any, state: LIFState, p: LIFConstants, spike: Spike) -> tuple[Any, LIFState]:
    """One step with reset by subtraction."""
    v = p.beta * state.v + x
    s = spike(v - p.theta)
    return s, LIFState(v - p.theta * stop(s))


def lif_hard_step(x: Any, state: LIFState, p: LIFConstants, spike: Spike) -> tuple[Any, LIFState]:
    """One step with reset to zero."""
    v = p.beta * state.v + x
    s = spike(v - p.theta)
    return s, LIFState(v * (1 - stop(s)))


RESETS: dict[str, Step] = {"soft": lif_soft_step, "hard": lif_hard_step}


class LIF(Neuron):
    """Leaky integrate-and-fire neurons; `learn` names what is trained ("tau", "theta"), per neuron if `shape`.

    tau is stored as log(tau), so that it stays positive while it is trained.
    """

    kind: ClassVar[str] = "lif"

    def __init__(
        self,
        tau: float = 2.0,
        theta: float = 1.0,
        reset: str = "soft",
        surrogate: Surrogate | None = None,
        learn: Collection[str] = (),
        shape: tuple[int, ...] = (),
    ) -> None:
        super().__init__()
        if reset not in RESETS:
            refuse("neuron reset", repr(reset), "'soft' or 'hard'")
        if unknown := set(learn) - {"tau", "theta"}:
            refuse("neuron learn", sorted(unknown), "'tau', 'theta' or both")
        self.step = RESETS[reset]
        self.spike = surrogate or Surrogate()
        self.log_tau = constant(math.log(time_constant(tau, "neuron tau")), "tau" in learn, shape)
        self.theta = constant(theta, "theta" in learn, shape)

    def initial(self, like: Tensor) -> LIFState:
        """Membrane at rest."""
        return LIFState(torch.zeros_like(like))

    def constants(self) -> LIFConstants:
        """beta = exp(-exp(-log tau)) and theta."""
        return LIFConstants(torch.exp(-torch.exp(-self.log_tau)), self.theta)
