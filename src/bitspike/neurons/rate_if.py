"""Integrate-and-fire whose spikes carry the threshold: the spiking twin of a ReLU.

    v_t = v_{t-1} + x_t                    v_0 = start theta
    s_t = 1[v_t - theta >= 0]
    v_t <- v_t - theta s_t                 reset by subtraction
    y_t = theta s_t,   n_t = n_{t-1} + s_t

x: current, in the units of the activation; theta: threshold, the largest mean of y, in the same units; n: spikes so
far. As v_T = v_0 + sum(x) - theta n_T, a constant x gives

    |mean(y) - min(max(x, 0), theta)| <= theta max(start, 1 - start) / T       where 0 <= start <= 1

after every number T of steps: n_T rounds T x / theta where start = 1/2, and cuts it off where start = 0. Current that
comes after the spikes it should have held back is not undone, so for a changing x the mean of y has an error of 1/T
only as long as the sums of x stay near those of a constant. With theta folded into the next weights the spikes are 0
and 1. Source: Rueckauer et al. 2017; the half threshold: Deng & Gu 2021 (arXiv 2103.00476).
"""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from bitspike.errors import refuse
from bitspike.kernels import Spike
from bitspike.kernels.dtypes import at_least_single, rest
from bitspike.neurons.base import Neuron
from bitspike.neurons.constants import Constant, positive
from bitspike.neurons.reset import soft
from bitspike.neurons.surrogate import Surrogate
from bitspike.products.kinds import Kind


class RateIFState(NamedTuple):
    """v: membrane; n: spikes so far. Both (B, *features)."""

    v: Any
    n: Any


class RateIFConstants(NamedTuple):
    """theta: threshold and height of a spike. A scalar, or one per neuron."""

    theta: Any


def rate_if_step(x: Any, state: RateIFState, p: RateIFConstants, spike: Spike) -> tuple[Any, RateIFState]:
    """One step."""
    v = state.v + x
    s = spike(v - p.theta)
    return s * p.theta, RateIFState(soft(v, s, p.theta), state.n + s)


class RateIF(Neuron):
    """Currents (T, B, *features) to spikes of height theta, whose mean over time follows min(max(x, 0), theta).

    theta: one value, or a tensor that broadcasts to the features; in the `state_dict`. start: the first membrane in
    thresholds, 0 to 1.
    """

    kind: ClassVar[str] = "rate-if"
    emits: ClassVar[Kind] = "real"
    theta: Tensor

    def __init__(self, theta: Constant = 1.0, start: float = 0.5) -> None:
        super().__init__()
        if not 0 <= start <= 1:
            refuse("neuron start", start, "a share of the threshold, 0 to 1")
        self.step = rate_if_step
        self.spike = Surrogate()
        self.start = float(start)
        self.register_buffer("theta", positive(theta, "neuron theta").to(torch.get_default_dtype()))

    def initial(self, like: Tensor) -> RateIFState:
        """The membrane at start theta, no spike yet."""
        n = rest(like)
        return RateIFState((self.start * self.theta.to(n)).expand(like.shape).clone(), n)

    def constants(self) -> RateIFConstants:
        """theta."""
        return RateIFConstants(at_least_single(self.theta))
