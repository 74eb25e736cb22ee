"""Soft-LIF: the firing rate of a LIF neuron with its threshold smoothed, so that it has a gradient everywhere.

    z = gain x + bias - 1                            current above the threshold
    j = gamma log(1 + exp(z / gamma))                max(z, 0) where gamma -> 0: the rate of LIF
    f(x) = amplitude / (tau_ref + tau_rc log(1 + 1/j))
    f'(x) = amplitude gain tau_rc / (p^2 j (j + 1) (1 + exp(-z / gamma))),   p = tau_ref + tau_rc log(1 + 1/j)

(Hunsberger & Eliasmith 2016, arXiv 1611.05141.) tau_ref, tau_rc: seconds; x, gamma: in units of the threshold
current; f: amplitude times spikes per second. Far below the threshold j leaves the floating-point numbers: there
log(1 + 1/j) is -z/gamma - log(gamma), to which it tends.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import torch
import torch.nn.functional as F
from torch import Tensor

from bitspike.errors import refuse

FAR_BELOW = -20.0  # z / gamma; log(1 + exp(z / gamma)) is exp(z / gamma) to 1e-9 there
FAR_ABOVE = 34.0  # log(1 + exp(a)) is a in float64


@dataclass(frozen=True)
class SoftLIF:
    """The rate as a function of x; the constants are those of the paper's CIFAR networks, close to max(x, 0)."""

    tau_ref: float = 0.001
    tau_rc: float = 0.05
    gamma: float = 0.02
    amplitude: float = 0.063
    gain: float = 0.825
    bias: float = 1.0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            least = -math.inf if field.name == "bias" else 0.0
            if not (math.isfinite(value) and (value > least or (field.name == "tau_ref" and value == 0))):
                refuse(f"soft-lif {field.name}", value, "a number" if field.name == "bias" else "a positive number")

    def __call__(self, x: Tensor) -> Tensor:
        """f(x), of x's shape and dtype."""
        if x.dtype in (torch.float16, torch.bfloat16):
            return self(x.float()).to(x.dtype)
        a = (self.gain * x + (self.bias - 1)) / self.gamma
        # Each branch sees only values it can take: a NaN in the other one would reach the gradient.
        j = self.gamma * F.softplus(a.clamp_min(FAR_BELOW), threshold=FAR_ABOVE)
        far = -a.clamp_max(FAR_BELOW) - math.log(self.gamma)
        period = self.tau_ref + self.tau_rc * torch.where(a < FAR_BELOW, far, torch.log1p(1 / j))
        return self.amplitude / period
