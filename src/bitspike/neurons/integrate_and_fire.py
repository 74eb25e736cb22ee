"""Integrate-and-fire, without leak.

    v_t = v_{t-1} + x_t
    s_t = 1[v_t - theta >= 0]
    soft reset:  v_t <- v_t - theta s_t
    hard reset:  v_t <- v_t (1 - s_t)

x: current (units of the threshold per step); theta: threshold. With soft reset and 0 <= x <= theta the spikes of T
steps count floor(sum(x) / theta): the neuron is a quantiser of its input (Rueckauer et al. 2017).
No gradient passes through the reset.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, ClassVar, NamedTuple

from torch import Tensor

from bitspike.kernels import Spike, Step
from bitspike.kernels.dtypes import rest
from bitspike.neurons.base import Neuron
from bitspike.neurons.constants import Constant, held, hold
from bitspike.neurons.reset import hard, none, soft, step_with
from bitspike.neurons.surrogate import Surrogate


class IFState(NamedTuple):
    """v: membrane, (B, *features)."""

    v: Any


class IFConstants(NamedTuple):
    """theta: threshold. A scalar, or one per neuron."""

    theta: Any


def if_soft_step(x: Any, state: IFState, p: IFConstants, spike: Spike) -> tuple[Any, IFState]:
    """One step with reset by subtraction."""
    v = state.v + x
    s = spike(v - p.theta)
    return s, IFState(soft(v, s, p.theta))


def if_hard_step(x: Any, state: IFState, p: IFConstants, spike: Spike) -> tuple[Any, IFState]:
    """One step with reset to zero."""
    v = state.v + x
    s = spike(v - p.theta)
    return s, IFState(hard(v, s, p.theta))


def if_none_step(x: Any, state: IFState, p: IFConstants, spike: Spike) -> tuple[Any, IFState]:
    """One step without reset."""
    v = state.v + x
    s = spike(v - p.theta)
    return s, IFState(none(v, s, p.theta))


STEPS: dict[str, Step] = {"soft": if_soft_step, "hard": if_hard_step, "none": if_none_step}


class IF(Neuron):
    """Integrate-and-fire neurons; `learn` may hold "theta", one per neuron if `shape`."""

    kind: ClassVar[str] = "if"

    def __init__(
        self,
        theta: Constant = 1.0,
        reset: str = "soft",
        surrogate: Surrogate | None = None,
        learn: Collection[str] = (),
        shape: tuple[int, ...] = (),
    ) -> None:
        super().__init__()
        self.step = step_with(reset, STEPS)
        self.spike = surrogate or Surrogate()
        hold(self, {"theta": theta}, learn, shape)

    def initial(self, like: Tensor) -> IFState:
        """Membrane at rest."""
        return IFState(rest(like))

    def constants(self) -> IFConstants:
        """theta."""
        return IFConstants(held(self, "theta"))
