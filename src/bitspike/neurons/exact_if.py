"""Integrate-and-fire with refractory time, integrated exactly: the spiking run of a network of soft-IF rates.

Over one step of dt seconds, with a constant current z (units: what brings V from 0 to 1 in tau_rc seconds):

    delta = clip(dt - refr, 0, dt)                          part of the step outside the refractory time
    V <- max(V + z delta / tau_rc, 0)
    s = 1[V > 1]
    s = 1:  over = (V - 1) tau_rc / z,  refr <- tau_ref - over,  V <- 0
    s = 0:  refr <- refr - dt
    y = s amplitude / dt

The order and the refractory clock are those of `exact_lif`. The floor at 0 stands for the leak: without one, a unit
that was held down would need as long to come back. For a constant z > 0 the mean of y is
amplitude / (tau_ref + tau_rc / z), as long as that period is above dt and, in every step, over <= tau_ref.

Gradient: through V, with the surrogate of V - 1 at the spike; none through reset and refractory time.
"""

from __future__ import annotations

from typing import Any, ClassVar

from bitspike.kernels import Spike, choose, maximum, minimum, stop, with_gradient
from bitspike.neurons.exact_lif import ExactLIF, ExactLIFConstants, ExactLIFState


def exact_if_step(x: Any, state: ExactLIFState, p: ExactLIFConstants, spike: Spike) -> tuple[Any, ExactLIFState]:
    """One step, in the order of operations above."""
    delta = minimum(maximum(p.dt - stop(state.refr), 0), p.dt)
    V = maximum(state.V + x * delta / p.tau_rc, 0)
    at_least = spike(V - 1)
    s = with_gradient(choose(V > 1, at_least, 0.0), at_least)
    over = (V - 1) * p.tau_rc / x
    refr = choose(V > 1, p.tau_ref - over, state.refr - p.dt)
    return s * p.height, ExactLIFState(V * (1 - stop(s)), stop(refr))


class ExactIF(ExactLIF):
    """Exact IF neurons: currents z (T, B, *features) to spikes of height amplitude / dt; options as in `ExactLIF`."""

    kind: ClassVar[str] = "exact-if"

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.step = exact_if_step
