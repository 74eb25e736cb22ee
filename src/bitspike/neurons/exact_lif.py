"""LIF with refractory time, integrated exactly: the spiking run of a network trained with soft-LIF rates.

Over one step of dt seconds, with a constant current J (Hunsberger & Eliasmith 2016, as computed by Nengo):

    delta = clip(dt - refr, 0, dt)                          part of the step outside the refractory time
    V <- max(V + (J - V) (1 - exp(-delta / tau_rc)), 0)
    s = 1[V > 1]
    s = 1:  over = -tau_rc log1p((1 - V) / (J - 1)),  refr <- tau_ref - over,  V <- 0
    s = 0:  refr <- refr - dt
    y = s amplitude / dt

over: how long before the end of the step V was 1. refr is decremented after the membrane and only without a spike;
decremented first, it would have to become tau_ref + dt - over. x: current J in units of the threshold (a trained
unit's is gain * input + 1); refr, dt, tau_rc, tau_ref: seconds; y: spikes of area `amplitude`. For a constant J > 1
the mean of y is amplitude / (tau_ref + tau_rc log(1 + 1/(J - 1))), whatever dt is; with dt > tau_ref, however, an
overshoot beyond tau_ref is lost and the rate falls short. The floor at 0 changes nothing where J >= 0; without it, a
unit that one image held down would need several tau_rc to come back for the next.

Gradient: through V, with the surrogate of V - 1 at the spike; none through reset and refractory time.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, ClassVar, NamedTuple

from bitspike.kernels import Spike, choose, expm1, log1p, maximum, minimum, stop, with_gradient
from bitspike.neurons.base import Neuron
from bitspike.neurons.constants import Constant, held, hold, one_positive
from bitspike.neurons.surrogate import Surrogate
from bitspike.products.kinds import Kind


class ExactLIFState(NamedTuple):
    """V: membrane; refr: refractory time left at the start of the step, s. Both (B, *features)."""

    V: Any
    refr: Any


class ExactLIFConstants(NamedTuple):
    """dt, tau_rc, tau_ref: s; height: of a spike, amplitude / dt."""

    dt: Any
    tau_rc: Any
    tau_ref: Any
    height: Any


def exact_lif_step(x: Any, state: ExactLIFState, p: ExactLIFConstants, spike: Spike) -> tuple[Any, ExactLIFState]:
    """One step, in the order of operations above."""
    delta = minimum(maximum(p.dt - stop(state.refr), 0), p.dt)
    V = maximum(state.V - (x - state.V) * expm1(-delta / p.tau_rc), 0)
    at_least = spike(V - 1)
    s = with_gradient(choose(V > 1, at_least, 0.0), at_least)
    over = -p.tau_rc * log1p((1 - V) / (x - 1))
    refr = choose(V > 1, p.tau_ref - over, state.refr - p.dt)
    return s * p.height, ExactLIFState(V * (1 - stop(s)), stop(refr))


class ExactLIF(Neuron):
    """Exact LIF neurons: currents J (T, B, *features) to spikes of height amplitude / dt.

    dt, tau_rc, tau_ref in seconds; the last two and the amplitude may be one per neuron. `learn` may hold "tau_rc" and
    "amplitude" (no gradient passes through the refractory time), one per neuron if `shape`.
    """

    kind: ClassVar[str] = "exact-lif"
    state_class = ExactLIFState
    emits: ClassVar[Kind] = "real"

    def __init__(
        self,
        dt: float = 0.001,
        tau_rc: Constant = 0.05,
        tau_ref: Constant = 0.001,
        amplitude: Constant = 0.063,
        surrogate: Surrogate | None = None,
        learn: Collection[str] = (),
        shape: tuple[int, ...] = (),
    ) -> None:
        super().__init__()
        self.step = exact_lif_step
        self.spike = surrogate or Surrogate()
        hold(self, {"tau_rc": tau_rc, "amplitude": amplitude}, learn, shape)
        hold(self, {"tau_ref": tau_ref}, (), shape)
        self.dt = one_positive(dt, "neuron dt", "a positive number of seconds")

    def constants(self) -> ExactLIFConstants:
        """The times and the height of a spike."""
        return ExactLIFConstants(
            self.dt, held(self, "tau_rc"), held(self, "tau_ref"), held(self, "amplitude") / self.dt
        )
