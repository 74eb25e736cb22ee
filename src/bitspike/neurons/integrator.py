"""Leaky integrator: a read-out without spikes.

    v_t = beta v_{t-1} + x_t            beta = exp(-1/tau)
    y_t = v_t

x: weighted spikes; v: membrane, which is the output; tau: time constant in time steps. There is no (1 - beta): an
input of 1 moves the read-out by 1.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, ClassVar, NamedTuple

from bitspike.kernels import Spike
from bitspike.neurons.base import Neuron
from bitspike.neurons.constants import Constant, decay, held, hold
from bitspike.products.kinds import Kind


class IntegratorState(NamedTuple):
    """v: membrane, (B, *features)."""

    v: Any


class IntegratorConstants(NamedTuple):
    """beta: decay per step. A scalar, or one per neuron."""

    beta: Any


def integrator_step(
    x: Any, state: IntegratorState, p: IntegratorConstants, spike: Spike
) -> tuple[Any, IntegratorState]:
    """One step; `spike` is not used."""
    v = p.beta * state.v + x
    return v, IntegratorState(v)


class Integrator(Neuron):
    """Leaky integrators: currents (T, B, *features) to membranes. `learn` may hold "tau", per neuron if `shape`."""

    kind: ClassVar[str] = "integrator"
    state_class = IntegratorState
    is_spiking: ClassVar[bool] = False
    emits: ClassVar[Kind] = "real"

    def __init__(self, tau: Constant = 10.0, learn: Collection[str] = (), shape: tuple[int, ...] = ()) -> None:
        super().__init__()
        self.step = integrator_step
        hold(self, {"tau": tau}, learn, shape)

    def constants(self) -> IntegratorConstants:
        """The decay."""
        return IntegratorConstants(decay(held(self, "tau")))
