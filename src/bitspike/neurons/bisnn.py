"""BiSNN's neuron: two synaptic traces and a soft refractory term (Jang et al. 2020, after DECOLLE).

    P_t = a P_{t-1} + Q_{t-1}        a = exp(-1/tau_mem)
    Q_t = b Q_{t-1} + x_t            b = exp(-1/tau_syn)
    R_t = g R_{t-1} + S_{t-1}        g = exp(-1/tau_ref)
    U_t = P_t - R_t
    S_t = 1[U_t >= 0]

x: weighted input current. Filters and weights commute, so filtering the current is the same as weighting
filtered inputs as long as the weights stay fixed; the online rule, which changes them at every step, keeps
P and Q per presynaptic line instead (`trace_step`) and adds R with `fire_step`. P uses Q_{t-1}: an input
first acts one step later. There is no (1 - a) normalisation, the threshold is 0, and R is the only reset.
Time constants are in time steps. No gradient passes through R.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar, NamedTuple

from bitspike.kernels import Spike, stop
from bitspike.neurons.base import Neuron
from bitspike.neurons.constants import one_positive
from bitspike.neurons.surrogate import Surrogate


class Traces(NamedTuple):
    """P: slow trace, Q: fast trace."""

    P: Any
    Q: Any


class Refractory(NamedTuple):
    """R: refractory term; S: spikes of the step before."""

    R: Any
    S: Any


class BiSNNState(NamedTuple):
    """P, Q: traces of the current; R: refractory term; S: spikes of the step before. All (B, *features)."""

    P: Any
    Q: Any
    R: Any
    S: Any


class BiSNNConstants(NamedTuple):
    """Decays per step: a (membrane), b (synapse), g (refractory)."""

    a: Any
    b: Any
    g: Any


def trace_step(x: Any, state: Traces, p: BiSNNConstants) -> Traces:
    """P and Q one step on."""
    return Traces(p.a * state.P + state.Q, p.b * state.Q + x)


def fire_step(drive: Any, state: Refractory, p: BiSNNConstants, spike: Spike) -> tuple[Any, Any, Refractory]:
    """Subtract the refractory term from `drive` and fire; returns spikes, U and the state."""
    R = p.g * state.R + state.S
    U = drive - R
    S = spike(U)
    return S, U, Refractory(R, stop(S))


def bisnn_step(x: Any, state: BiSNNState, p: BiSNNConstants, spike: Spike) -> tuple[Any, BiSNNState]:
    """One step of the whole neuron."""
    P, Q = trace_step(x, Traces(state.P, state.Q), p)
    S, _, (R, S_stopped) = fire_step(P, Refractory(state.R, state.S), p, spike)
    return S, BiSNNState(P, Q, R, S_stopped)


def decays(tau_mem: float = 10.0, tau_syn: float = 6.0, tau_ref: float = 2.0) -> BiSNNConstants:
    """a, b, g from time constants in steps; the paper's are the defaults."""
    named = {"tau_mem": tau_mem, "tau_syn": tau_syn, "tau_ref": tau_ref}
    wanted = "a positive number of time steps"
    return BiSNNConstants(*(math.exp(-1 / one_positive(tau, f"neuron {name}", wanted)) for name, tau in named.items()))


class BiSNN(Neuron):
    """BiSNN's neurons as a layer: currents (T, B, *features) to spikes."""

    kind: ClassVar[str] = "bisnn"
    state_class = BiSNNState

    def __init__(
        self, tau_mem: float = 10.0, tau_syn: float = 6.0, tau_ref: float = 2.0, surrogate: Surrogate | None = None
    ) -> None:
        super().__init__()
        self.step = bisnn_step
        self.spike = surrogate or Surrogate("boxcar")
        self.decays = decays(tau_mem, tau_syn, tau_ref)

    def constants(self) -> BiSNNConstants:
        """The three decays."""
        return self.decays
