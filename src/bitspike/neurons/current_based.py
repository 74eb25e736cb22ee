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

from torch import Tensor

from bitspike.kernels import Spike, Step
from bitspike.kernels.dtypes import rest
from bitspike.neurons.base import Neuron
from bitspike.neurons.constants import Constant, decay, held, hold
from bitspike.neurons.reset import hard, none, soft, step_with
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


def _fire(x: Any, state: CurrentState, p: CurrentConstants, spike: Spike) -> tuple[Any, Any, Any]:
    """Current, membrane before the reset and spikes after one step."""
    i = p.alpha * state.i + x
    v = p.beta * state.v + i
    return i, v, spike(v - p.theta)


def current_soft_step(x: Any, state: CurrentState, p: CurrentConstants, spike: Spike) -> tuple[Any, CurrentState]:
    """One step with reset by subtraction."""
    i, v, s = _fire(x, state, p, spike)
    return s, CurrentState(i, soft(v, s, p.theta))


def current_hard_step(x: Any, state: CurrentState, p: CurrentConstants, spike: Spike) -> tuple[Any, CurrentState]:
    """One step with reset to zero."""
    i, v, s = _fire(x, state, p, spike)
    return s, CurrentState(i, hard(v, s, p.theta))


def current_none_step(x: Any, state: CurrentState, p: CurrentConstants, spike: Spike) -> tuple[Any, CurrentState]:
    """One step without reset."""
    i, v, s = _fire(x, state, p, spike)
    return s, CurrentState(i, none(v, s, p.theta))


STEPS: dict[str, Step] = {"soft": current_soft_step, "hard": current_hard_step, "none": current_none_step}


class CurrentLIF(Neuron):
    """Current-based LIF neurons; `learn` may hold "tau", "tau_syn", "theta", one per neuron if `shape`."""

    kind: ClassVar[str] = "current-lif"

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
        self.step = step_with(reset, STEPS)
        self.spike = surrogate or Surrogate()
        hold(self, {"tau": tau, "tau_syn": tau_syn, "theta": theta}, learn, shape)

    def initial(self, like: Tensor) -> CurrentState:
        """No current, membrane at rest."""
        return CurrentState(rest(like), rest(like))

    def constants(self) -> CurrentConstants:
        """The two decays and the threshold."""
        return CurrentConstants(decay(held(self, "tau_syn")), decay(held(self, "tau")), held(self, "theta"))
