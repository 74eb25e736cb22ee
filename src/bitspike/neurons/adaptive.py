"""Adaptive leaky integrate-and-fire: every spike raises the threshold for a while (Bellec et al. 2020, ALIF).

    v_t = beta v_{t-1} + x_t                        beta = exp(-1/tau)
    s_t = 1[v_t - (theta + strength a_{t-1}) >= 0]
    a_t = rho a_{t-1} + s_t                         rho = exp(-1/tau_adaptation)
    soft reset:  v_t <- v_t - theta s_t
    hard reset:  v_t <- v_t (1 - s_t)

x: current (units of the threshold per step); tau, tau_adaptation: time constants in time steps, the second usually
much longer; theta: threshold at rest; strength: by how much a spike raises it. A spike first acts on the threshold
one step later. No gradient passes through the reset; it does pass through the adaptation a, which is what carries
credit over long times.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, ClassVar, NamedTuple

from bitspike.kernels import Spike
from bitspike.neurons.base import Neuron
from bitspike.neurons.constants import Constant, decay, held, hold
from bitspike.neurons.reset import with_reset
from bitspike.neurons.surrogate import Surrogate


class AdaptiveState(NamedTuple):
    """v: membrane; a: adaptation. Both (B, *features)."""

    v: Any
    a: Any


class AdaptiveConstants(NamedTuple):
    """beta, rho: decays per step of membrane and adaptation; theta: threshold at rest; strength: of adaptation."""

    beta: Any
    rho: Any
    theta: Any
    strength: Any


def adaptive_fire(x: Any, state: AdaptiveState, p: AdaptiveConstants, spike: Spike) -> tuple[Any, AdaptiveState]:
    """Spikes, the membrane before the reset and the adaptation, after one step."""
    v = p.beta * state.v + x
    s = spike(v - (p.theta + p.strength * state.a))
    return s, AdaptiveState(v, p.rho * state.a + s)


class AdaptiveLIF(Neuron):
    """Adaptive LIF neurons; `learn`: "tau", "tau_adaptation", "theta", "strength", one per neuron if `shape`."""

    kind: ClassVar[str] = "adaptive-lif"
    state_class = AdaptiveState

    def __init__(
        self,
        tau: Constant = 2.0,
        tau_adaptation: Constant = 20.0,
        theta: Constant = 1.0,
        strength: Constant = 0.2,
        reset: str = "soft",
        surrogate: Surrogate | None = None,
        learn: Collection[str] = (),
        shape: tuple[int, ...] = (),
    ) -> None:
        super().__init__()
        self.step = with_reset(adaptive_fire, reset)
        self.spike = surrogate or Surrogate()
        named = {"tau": tau, "tau_adaptation": tau_adaptation, "theta": theta, "strength": strength}
        hold(self, named, learn, shape)

    def constants(self) -> AdaptiveConstants:
        """Decays, threshold and strength."""
        return AdaptiveConstants(
            decay(held(self, "tau")), decay(held(self, "tau_adaptation")), held(self, "theta"), held(self, "strength")
        )
