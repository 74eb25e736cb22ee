"""Soft firing rates: the rate of a spiking neuron with its threshold smoothed, so that it has a gradient everywhere.

    z = gain x + bias - 1                            current above the threshold
    j = gamma log(1 + exp(z / gamma))                max(z, 0) where gamma -> 0: the rate of the neuron itself
    p = tau_ref + tau_rc log(1 + 1/j)                seconds between spikes: `SoftLIF`
    p = tau_ref + tau_rc / j                         the same without leak: `SoftIF`
    f(x) = amplitude / p

so that for SoftLIF

    f'(x) = amplitude gain tau_rc / (p^2 j (j + 1) (1 + exp(-z / gamma)))

(Hunsberger & Eliasmith 2016, arXiv 1611.05141.) tau_ref, tau_rc: seconds; x, gamma: in units of the threshold
current; f: amplitude times spikes per second. Far below the threshold j leaves the floating-point numbers: there
log(1 + 1/j) is -z/gamma - log(gamma), to which it tends.

Spiking twins, which fire at the rate of gamma -> 0: `ExactLIF` at the current gain x + bias, `ExactIF` at z.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from torch import Tensor

from bitspike.errors import refuse
from bitspike.kernels import choose, exp, log1p, maximum, minimum
from bitspike.kernels.dtypes import computing, given_back

FAR_BELOW = -20.0  # z / gamma; log(1 + exp(z / gamma)) is exp(z / gamma) to 1e-9 there
FAR_ABOVE = 34.0  # log(1 + exp(a)) is a in float64
Curve = Literal["lif", "if"]


class RateConstants(NamedTuple):
    """slope, offset: z / gamma = slope x + offset; gamma and its logarithm; tau_ref, tau_rc: s; amplitude."""

    slope: Any
    offset: Any
    gamma: Any
    log_gamma: Any
    tau_ref: Any
    tau_rc: Any
    amplitude: Any


def rate_and_period(x: Any, p: Any, curve: Curve) -> tuple[Any, Any]:
    """(f, seconds between spikes) in the functions of `kernels.functions`; p: has the fields of `RateConstants`."""
    a = x * p.slope + p.offset
    # Each branch sees only values it can take: a NaN in the other one would reach the gradient.
    if curve == "if":
        j = p.gamma * _softplus(a)
        return p.amplitude * j / (p.tau_ref * j + p.tau_rc), p.tau_ref + p.tau_rc / j
    j = p.gamma * _softplus(maximum(a, FAR_BELOW))
    far = -minimum(a, FAR_BELOW) - p.log_gamma
    period = p.tau_ref + p.tau_rc * choose(a < FAR_BELOW, far, log1p(1 / j))
    return p.amplitude / period, period


def _softplus(a: Any) -> Any:
    return choose(a > FAR_ABOVE, a, log1p(exp(minimum(a, FAR_ABOVE))))


@dataclass(frozen=True)
class SoftLIF:
    """The rate as a function of x; the constants are those of the paper's CIFAR networks, close to max(x, 0)."""

    tau_ref: float = 0.001
    tau_rc: float = 0.05
    gamma: float = 0.02
    amplitude: float = 0.063
    gain: float = 0.825
    bias: float = 1.0
    curve: ClassVar[Curve] = "lif"

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            least = -math.inf if field.name == "bias" else 0.0
            if not (math.isfinite(value) and (value > least or (field.name == "tau_ref" and value == 0))):
                wanted = "a number" if field.name == "bias" else "a positive number"
                refuse(f"soft-{self.curve} {field.name}", value, wanted)

    def constants(self) -> RateConstants:
        """What `rate_and_period` reads."""
        slope, offset = self.gain / self.gamma, (self.bias - 1) / self.gamma
        return RateConstants(slope, offset, self.gamma, math.log(self.gamma), self.tau_ref, self.tau_rc, self.amplitude)

    def __call__(self, x: Tensor) -> Tensor:
        """f(x), of x's shape and (floating) dtype."""
        rate: Tensor = rate_and_period(computing(x), self.constants(), self.curve)[0]
        return given_back(rate, x.dtype)

    def period(self, x: Tensor) -> Tensor:
        """Seconds between spikes at input x; infinite where an IF neuron never fires."""
        period: Tensor = rate_and_period(computing(x), self.constants(), self.curve)[1]
        return given_back(period, x.dtype)


@dataclass(frozen=True)
class SoftIF(SoftLIF):
    """The rate of integrate-and-fire; tau_rc: seconds from rest to threshold at z = 1."""

    curve: ClassVar[Curve] = "if"


def fit_to_relu(
    tau_ref: float = 0.001, tau_rc: float = 0.05, gamma: float = 0.02, low: float = -1.0, high: float = 10.0
) -> tuple[float, float]:
    """(gain, amplitude) with which soft-LIF is closest to max(x, 0): least squares over low <= x <= high."""
    import numpy as np
    from scipy.optimize import least_squares

    SoftLIF(tau_ref, tau_rc, gamma)
    if not (math.isfinite(low) and math.isfinite(high) and low < high and high > 0):
        refuse("fit_to_relu range", (low, high), "low < high, high above 0")
    x = torch.linspace(low, high, 2001, dtype=torch.float64)
    relu = x.clamp_min(0)

    def misses(logs: Any) -> Any:
        gain, amplitude = (float(v) for v in np.exp(logs))
        return (SoftLIF(tau_ref, tau_rc, gamma, amplitude, gain)(x) - relu).numpy()

    found = least_squares(misses, np.log([1.0, max(tau_ref, tau_rc)]), x_scale=0.1)
    gain, amplitude = np.exp(found.x)
    return float(gain), float(amplitude)
