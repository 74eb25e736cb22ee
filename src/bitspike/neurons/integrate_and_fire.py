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

from bitspike.kernels import Spike
from bitspike.neurons.base import Neuron
from bitspike.neurons.constants import Constant, held, hold
from bitspike.neurons.reset import with_reset
from bitspike.neurons.surrogate import Surrogate


class IFState(NamedTuple):
    """v: membrane, (B, *features)."""

    v: Any


class IFConstants(NamedTuple):
    """theta: threshold. A scalar, or one per neuron."""

    theta: Any


def if_fire(x: Any, state: IFState, p: IFConstants, spike: Spike) -> tuple[Any, IFState]:
    """Spikes and the membrane before the reset, after one step."""
    v = state.v + x
    return spike(v - p.theta), IFState(v)


class IF(Neuron):
    """Integrate-and-fire neurons; `learn` may hold "theta", one per neuron if `shape`."""

    kind: ClassVar[str] = "if"
    state_class = IFState

    def __init__(
        self,
        theta: Constant = 1.0,
        reset: str = "soft",
        surrogate: Surrogate | None = None,
        learn: Collection[str] = (),
        shape: tuple[int, ...] = (),
    ) -> None:
        super().__init__()
        self.step = with_reset(if_fire, reset)
        self.spike = surrogate or Surrogate()
        hold(self, {"theta": theta}, learn, shape)

    def constants(self) -> IFConstants:
        """theta."""
        return IFConstants(held(self, "theta"))
