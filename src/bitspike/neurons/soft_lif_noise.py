"""Soft rates as units of a network in training, with noise that imitates what spikes and synapses will do.

The noise changes the value sent on; the gradient is always that of the noiseless rate. With p the period, t uniform on
(0, p), q = exp(-p/tau_s), qr = exp(-p/tau_rc), d = tau_rc - tau_s, all in seconds (Hunsberger & Eliasmith 2016):

    gaussian    1/p + N(0, sigma) where the neuron fires (z > 0), at least 0                     sigma in Hz
    alpha       exp(-t/tau_s)/tau_s^2 (t/(1-q) + p q/(1-q)^2)
    alpha-rc    tau_rc/d^2 (exp(-t/tau_rc)/(1-qr) - exp(-t/tau_s)/(1-q))
                - exp(-t/tau_s) (t (1-q) + p q) / (d tau_s (1-q)^2)

times the amplitude. The last two are what a regular spike train of period p is behind an alpha synapse (and behind it
the membrane of the next neuron), seen at a random moment; their means over t are 1/p. 1 - q is computed as -expm1, and
a period counts as `LONGEST` at most: exp(-t/tau_s) and q are then 0 where t and p are far above tau_s.
"""

from __future__ import annotations

from collections import namedtuple
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from bitspike import draws
from bitspike.draws import Key
from bitspike.errors import check_name, refuse
from bitspike.kernels import Spike, choose, exp, expm1, maximum, minimum, no_spike, with_gradient
from bitspike.kernels.dtypes import computing, given_back, once
from bitspike.kernels.run import Chooser, run_on
from bitspike.kernels.transforms import outside_graphs
from bitspike.neurons.recordings import outputs_alone
from bitspike.neurons.soft_lif import Curve, SoftIF, SoftLIF, rate_and_period
from bitspike.neurons.soft_lif_fused import NOISES, NoiseKind, fused, takes
from bitspike.neurons.stochastic import Stochastic
from bitspike.products.kinds import Kind

LONGEST = 1e6  # s
CLOSEST = 1e-3  # s, |tau_rc - tau_s|


@dataclass(frozen=True)
class Noise:
    """kind; sigma: standard deviation in Hz (gaussian); tau_s: synaptic time constant in s (alpha, alpha-rc)."""

    kind: NoiseKind = "none"
    sigma: float = 10.0
    tau_s: float = 0.003

    def __post_init__(self) -> None:
        check_name("soft-lif noise", self.kind, NOISES)
        for name in ("sigma", "tau_s"):
            if not 0 < getattr(self, name) < float("inf"):
                refuse(f"soft-lif noise {name}", getattr(self, name), "a positive number")


class NoNoise(NamedTuple):
    """Nothing is drawn."""


class Draw(NamedTuple):
    """u: N(0, 1) for gaussian noise, else the share t / p of the period, uniform on [0, 1). One per value of x."""

    u: Any


# The fields of `RateConstants`, and those of `Noise`.
NoisyConstants = namedtuple("NoisyConstants", "slope offset gamma log_gamma tau_ref tau_rc amplitude sigma tau_s")


def filtered(t: Any, period: Any, p: Any, membrane: bool) -> Any:
    """s(t): the alpha-filtered spike train of this period, t seconds after a spike, behind a membrane if asked."""
    off = -expm1(-period / p.tau_s)
    q = exp(-period / p.tau_s)
    left = exp(-t / p.tau_s)
    if not membrane:
        return left / (p.tau_s * p.tau_s) * (t / off + period * q / (off * off))
    d = p.tau_rc - p.tau_s
    slow = exp(-t / p.tau_rc) / -expm1(-period / p.tau_rc)
    return p.tau_rc / (d * d) * (slow - left / off) - left * (t * off + period * q) / (d * p.tau_s * off * off)


@dataclass(frozen=True)
class RateStep:
    """The step of a soft-rate unit: equal ones share their kernels."""

    curve: Curve
    noise: NoiseKind

    def __call__(self, x: Any, state: Any, p: Any, spike: Spike) -> tuple[Any, Any]:
        """f(x), with noise; the state (the draws) stays."""
        rate, period = rate_and_period(x, p, self.curve)
        if self.noise == "none":
            return rate, state
        if self.noise == "gaussian":
            fires = x * p.slope + p.offset > 0
            value = choose(fires, maximum(rate + p.amplitude * p.sigma * state.u, 0), rate)
        else:
            period = minimum(period, LONGEST)
            value = p.amplitude * filtered(state.u * period, period, p, self.noise == "alpha-rc")
        return with_gradient(value, rate), state


@outside_graphs
def _drawn(kind: NoiseKind, like: Tensor, keys: tuple[Key, ...]) -> Tensor:
    """u of `Draw`, one for each value of like (1, N)."""
    count = like.shape[1]
    if like.device.type == "cpu":
        return (draws.normal if kind == "gaussian" else draws.uniform)(count, *keys).to(like.dtype)
    make = torch.randn if kind == "gaussian" else torch.rand
    return make(count, generator=draws.generator(*keys, device=like.device), device=like.device, dtype=like.dtype)


class SoftNeuron(Stochastic, nn.Module):
    """Units with a soft firing rate: x (T, B, *features), or any other shape, to f(x) of that shape.

    noise: drawn anew at every call in training, for every time step; none in evaluation. keys: names the draws until
    `redraw_units` does. `bitspike.spiking` swaps these units for spiking ones.
    """

    is_spiking: ClassVar[bool] = False
    emits: ClassVar[Kind] = "real"
    watch = outputs_alone

    def __init__(
        self, rate: SoftLIF | None = None, noise: Noise | NoiseKind = "none", keys: tuple[Key, ...] = (0, "noise")
    ) -> None:
        super().__init__()
        self.rate = rate or SoftLIF()
        self.noise = noise if isinstance(noise, Noise) else Noise(noise)
        self.keys = keys
        self.back_end = "auto"
        self._chooser = Chooser()
        if self.noise.kind == "alpha-rc":
            if self.rate.curve != "lif":
                wanted = "'none', 'gaussian' or 'alpha': this neuron's membrane has no leak"
                refuse("soft-if noise", "'alpha-rc'", wanted)
            if abs(self.rate.tau_rc - self.noise.tau_s) < CLOSEST:
                came = f"{self.noise.tau_s:g} beside tau_rc = {self.rate.tau_rc:g}"
                refuse("soft-lif noise tau_s", came, f"one at least {CLOSEST:g} s away from it")

    @classmethod
    def from_options(cls, options: Any) -> SoftNeuron:
        """The unit of a recipe."""
        soft = options.soft
        rate = {"lif": SoftLIF, "if": SoftIF}[options.curve]
        constants = (soft.tau_ref, soft.tau_rc, soft.gamma, soft.amplitude, soft.gain)
        return cls(rate(*constants), Noise(soft.noise, soft.sigma, soft.tau_s))

    def forward(self, x: Tensor) -> Tensor:
        """f(x); without noise, an input that does not change over time is computed once."""
        if not x.is_floating_point():
            x = computing(x)
        noisy = self.training and self.noise.kind != "none"
        return self._run(x, True) if noisy else once(lambda part: self._run(part, False), x)

    def _run(self, x: Tensor, noisy: bool) -> Tensor:
        # Elementwise: the values are taken as they lie in memory, whatever the order of the dimensions.
        strides = x.stride()
        order = sorted(range(x.ndim), key=lambda d: (-strides[d], d))
        lying = x.permute(order)
        flat = lying.reshape(1, -1)
        kind: NoiseKind = self.noise.kind if noisy else "none"
        keys = self.next_keys() if noisy else ()
        if (noisy or (x.requires_grad and torch.is_grad_enabled())) and takes(x, self.rate, self.back_end):
            y = fused(flat[0], self.rate, kind, self.noise.sigma, self.noise.tau_s, keys)
        else:
            y = self._stepped(computing(flat), kind, keys)
        back = sorted(range(x.ndim), key=order.__getitem__)
        return given_back(y, x.dtype).view(lying.shape).permute(back)

    def _stepped(self, flat: Tensor, kind: NoiseKind, keys: tuple[Key, ...]) -> Tensor:
        """The rates of flat (1, N) by the step of this file."""
        state: Any = NoNoise()
        rate = self.rate.constants()
        constants: Any = rate
        if kind != "none":
            state = Draw(_drawn(kind, flat, keys))
            constants = NoisyConstants(*rate, self.noise.sigma, self.noise.tau_s)
        step = (RateStep, self.rate.curve, kind)
        recurrence, choice = self._chooser(step, type(state), type(constants), no_spike, flat, self.back_end)
        y, _ = run_on(choice, recurrence, flat, state, constants)
        return y

    def report_operations(self, tally: Any, given: tuple[Any, ...], output: Tensor) -> None:
        """For the energy account (`energy.tally`)."""
        tally.computes(output)

    def extra_repr(self) -> str:
        """The rate and the noise."""
        return f"{self.rate}" + ("" if self.noise.kind == "none" else f", {self.noise}")
