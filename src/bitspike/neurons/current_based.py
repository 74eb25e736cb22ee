"""Current-based leaky integrate-and-fire: a synaptic trace drives the membrane.

    i_t = alpha i_{t-1} + x_t           alpha = exp(-1/tau_syn)
    v_t = beta v_{t-1} + i_t            beta = exp(-1/tau)
    s_t = 1[v_t - theta >= 0]
    soft reset:  v_t <- v_t - theta s_t
    hard reset:  v_t <- v_t (1 - s_t)

x: weighted spikes (units of the threshold); i: synaptic current; tau_syn, tau: time constants in time steps; theta:
threshold. An input acts in its own step; the current is not reset. No gradient passes through the reset.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, ClassVar, NamedTuple

from bitspike.kernels import Spike
from bitspike.neurons.base import Neuron
from bitspike.neurons.constants import Constant, decay, held, hold
from bitspike.neurons.reset import with_reset
from bitspike.neurons.surrogate import Surrogate


class CurrentState(NamedTuple):
    """i: synaptic current; v: membrane. Both (B, *features)."""

    i: Any
    v: Any


class CurrentConstants(NamedTuple):
    """alpha, beta: decays per step of current and membrane; theta: threshold. Scalars, or one per neuron."""

    alpha: Any
    beta: Any
    theta: Any


def current_fire(x: Any, state: CurrentState, p: CurrentConstants, spike: Spike) -> tuple[Any, CurrentState]:
    """Spikes, the current and the membrane before the reset, after one step."""
    i = p.alpha * state.i + x
    v = p.beta * state.v + i
    return spike(v - p.theta), CurrentState(i, v)


class CurrentLIF(Neuron):
    """Current-based LIF neurons; `learn` may hold "tau", "tau_syn", "theta", one per neuron if `shape`."""

    kind: ClassVar[str] = "current-lif"
    state_class = CurrentState

    def __init__(
        self,
        tau: Constant = 2.0,
        tau_syn: Constant = 2.0,
        theta: Constant = 1.0,
        reset: str = "soft",
        surrogate: Surrogate | None = None,
        learn: Collection[str] = (),
        shape: tuple[int, ...] = (),
    ) -> None:
        super().__init__()
        self.step = with_reset(current_fire, reset)
        self.spike = surrogate or Surrogate()
        hold(self, {"tau": tau, "tau_syn": tau_syn, "theta": theta}, learn, shape)

    def constants(self) -> CurrentConstants:
        """The two decays and the threshold."""
        return CurrentConstants(decay(held(self, "tau_syn")), decay(held(self, "tau")), held(self, "theta"))
