"""Bayesian binary weights: a Bernoulli posterior over {-1, +1} per weight.

    p(w = +1) = sigmoid(2 w_r)          w_r: natural parameter (stored), mean mu = tanh(w_r)
    prior: P(w = +1) = p0               natural parameter w_0 = log(p0/(1-p0)) / 2
    delta = log(eps/(1-eps)) / 2        eps ~ U(0, 1), one per weight and draw
    relaxed draw  w = tanh((delta + w_r)/tau)
    hard draw     w = sign(delta + w_r), that is w = +1 with probability sigmoid(2 w_r)

Backward, with g = dL/dw (what reaches w_r; BayesBiNN, Meng et al. 2020, and BiSNN, Jang et al. 2020):

    natural           s g,  s = (1 - w^2) / (tau (1 - mu^2)) = cosh(w_r)^2 / (tau cosh((delta + w_r)/tau)^2)
    pathwise          (1 - w^2)/tau g: the ordinary gradient of the relaxed draw
    straight-through  g: the natural gradient when dL/dmu is estimated by dL/dw at the draw
    mean              (1 - mu^2) g: the ordinary gradient by the same estimate

and the prior: KL(q || p0) has natural gradient w_r - w_0 (added for the two natural rules) and ordinary
gradient (1 - mu^2)(w_r - w_0). With SGD and rule `natural` an update is the paper's
w_r <- (1 - lr rho) w_r - lr (s g - rho w_0).

In test a draw is always hard; MAP is sign(w_r). A draw is a buffer outside the `state_dict`: it is in no checkpoint.
A draw holds for a pass, or (`redraw = "step"`) for one time step: then one pass of T steps averages T draws.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from bitspike.errors import check_name, refuse
from bitspike.kernels.cpu.buffers import empty
from bitspike.kernels.dtypes import computing, computing_dtype
from bitspike.kernels.transforms import wants_gradient
from bitspike.products.kinds import Kind
from bitspike.weights.precision import Precision, binary_sign

LARGEST_EXPONENT = 80.0  # of e, within float32
RULES = ("natural", "pathwise", "straight-through", "mean")


def natural_scale(latent: Tensor, delta: Tensor, tau: float, limit: float = math.inf) -> Tensor:
    """s = cosh(w_r)^2 / (tau cosh((delta + w_r)/tau)^2), in a form that is right at any |w_r|.

    With z = (delta + w_r)/tau, s = exp(2(|w_r| - |z|)) ((1 + exp(-2|w_r|))/(1 + exp(-2|z|)))^2 / tau: no term
    but the first can overflow, and that one means that s itself does. Its distribution is heavy-tailed (E[s] is
    finite only under a cut-off): `limit` bounds it.
    """
    here, there = latent.abs(), ((delta + latent) / tau).abs()
    ratio = (1 + torch.exp(-2 * here)) / (1 + torch.exp(-2 * there))
    return (torch.exp(2 * (here - there)) * ratio.square() / tau).clamp(max=limit)


def natural_draw(latent: Tensor, uniform: Tensor, limit: float = math.inf) -> tuple[Tensor, Tensor]:
    """The relaxed draw and s at tau = 1, with one exponential for both.

    With r = eps/(1-eps), E = exp(2 w_r) and q = r E = exp(2 (delta + w_r)): w = 1 - 2/(q+1), s = r ((E+1)/(q+1))^2.
    """
    odds = (1 - uniform).reciprocal_().mul_(uniform)
    # Beyond, both are at their limits; below, no product is infinite times 0.
    grown = (2 * latent).clamp(max=LARGEST_EXPONENT).exp_()
    inverse = (odds * grown).add_(1).reciprocal_()
    ratio = inverse * grown.add_(1)
    return inverse.mul_(-2).add_(1), (odds * ratio).mul_(ratio).clamp(max=limit)


def natural_scale_float32(weight: Tensor, latent: Tensor, tau: float) -> Tensor:
    """s as the reference computes it in float32, (1 - w^2 + 1e-10) / (tau (1 - mu^2 + 1e-10)).

    It saturates at |w_r| of about 9, where mu rounds to 1, and then jumps to about 1e9 for rare draws.
    """
    mu = torch.tanh(latent)
    return (1 - weight**2 + 1e-10) / (tau * (1 - mu**2 + 1e-10))


class _Draw(torch.autograd.Function):
    """weight forward; grad * scale to the latent backward (scale None: the gradient as it is)."""

    generate_vmap_rule = True

    @staticmethod
    def forward(latent: Tensor, weight: Tensor, scale: Tensor | None) -> Tensor:
        return weight.view_as(weight)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor | None], output: Tensor) -> None:
        scale = inputs[2]
        ctx.save_for_backward(*([] if scale is None else [scale]))

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[Tensor, None, None]:
        g: Tensor = grads[0]
        for scale in ctx.saved_tensors:
            g = (g * scale).to(g.dtype)
        return g, None, None


_draw: Callable[..., Tensor] = _Draw.apply


class BayesianBinary(Precision):
    """Binary weights with a mean-field Bernoulli posterior; see the module's equations.

    relaxed: draw relaxed weights in training (else hard). rule: what reaches w_r. scale_limit: bound on s. redraw: how
    long a draw holds, "pass" or "step". reference_float32: s in the reference's float32 form instead (parity only).
    """

    bits: ClassVar[float] = 1.0
    is_drawn: ClassVar[bool] = True
    uniform: Tensor | None

    def __init__(
        self,
        prior: float = 0.5,
        temperature: float = 1.0,
        relaxed: bool = True,
        rule: str = "natural",
        scale_limit: float = 1e3,
        reference_float32: bool = False,
        init: float = 1.0,
        init_at_ends: bool = False,
        redraw: str = "pass",
    ) -> None:
        super().__init__()
        if not 0 < prior < 1:
            refuse("weights prior", prior, "a probability strictly between 0 and 1")
        if not temperature > 0:
            refuse("weights temperature", temperature, "a positive number")
        check_name("weights rule", rule, RULES)
        if rule in ("natural", "pathwise") and not relaxed:
            refuse("weights rule", repr(rule), "'straight-through' or 'mean' with hard draws (relaxed = false)")
        if not init > 0:
            refuse("weights init", init, "a positive number")
        check_name("weights redraw", redraw, ("pass", "step"))
        if not scale_limit > 0:
            refuse("weights scale_limit", scale_limit, "a positive number")
        self.prior_natural = 0.5 * math.log(prior / (1 - prior))
        self.prior, self.temperature, self.relaxed, self.rule = prior, float(temperature), relaxed, rule
        self.scale_limit, self.reference_float32 = scale_limit, reference_float32
        self.init, self.init_at_ends = float(init), init_at_ends
        self.each_step = redraw == "step"
        # A buffer, so that torch.func can stack and map it; in no checkpoint.
        self.register_buffer("uniform", None, persistent=False)

    @property
    def kind(self) -> Kind:
        """A relaxed draw is real, a hard one is not."""
        return "real" if self.training and self.relaxed and not self.map else "signs"

    def draw(self, like: Tensor, source: torch.Generator) -> None:
        """Fix the noise of the next draw, shaped like the latent; it stays until the next call."""
        dtype = computing_dtype(like.dtype)
        # Of pooled memory: a new array of this size is drawn at every update.
        new = empty(like.shape, dtype) if like.device.type == "cpu" else like.new_empty(like.shape, dtype=dtype)
        self.uniform = new.uniform_(generator=source)

    def forward(self, latent: Tensor) -> Tensor:
        """The current draw, or MAP when `map` is set or (in evaluation) nothing was drawn."""
        if self.map or (self.uniform is None and not self.training):
            return binary_sign(latent)
        if self.uniform is None:
            refuse("Bayesian weight", "no draw", "weights.redraw(model, ...) before a training pass")
        with torch.no_grad():
            weight, scale = self._weight_and_scale(computing(latent), self.uniform)
            weight = weight.to(latent.dtype)
        return _draw(latent, weight, scale) if wants_gradient(latent) else weight

    def _weight_and_scale(self, latent: Tensor, uniform: Tensor) -> tuple[Tensor, Tensor | None]:
        if not (self.training and self.relaxed):
            # eps >= sigmoid(-2 w_r) is delta + w_r >= 0 without the logarithms.
            weight = binary_sign(uniform - torch.sigmoid(-2 * latent))
            return weight, (1 - torch.tanh(latent) ** 2 if self.rule == "mean" else None)
        if self.rule == "natural" and self.temperature == 1 and not self.reference_float32:
            return natural_draw(latent, uniform, self.scale_limit)
        delta = 0.5 * torch.logit(uniform)
        weight = torch.tanh((delta + latent) / self.temperature)
        if self.rule == "pathwise":
            return weight, (1 - weight**2) / self.temperature
        if self.rule == "mean":
            return weight, 1 - torch.tanh(latent) ** 2
        if self.rule == "straight-through":
            return weight, None
        if self.reference_float32:
            return weight, natural_scale_float32(weight, latent, self.temperature)
        return weight, natural_scale(latent, delta, self.temperature, self.scale_limit)

    def prior_gradient(self, latent: Tensor) -> Tensor:
        """Gradient of KL(q || p0) in the same geometry as the rule (natural or ordinary)."""
        pull = latent - self.prior_natural
        natural = self.rule in ("natural", "straight-through")
        return pull if natural else pull * (1 - torch.tanh(latent) ** 2)

    def divergence(self, latent: Tensor) -> Tensor:
        """KL(q || p0) summed over the weights, in nats."""
        q, not_q = F.logsigmoid(2 * latent), F.logsigmoid(-2 * latent)
        p = torch.sigmoid(2 * latent)
        return (p * (q - math.log(self.prior)) + (1 - p) * (not_q - math.log1p(-self.prior))).sum()

    def histogram(self, latent: Tensor, bins: int) -> Tensor:
        """Counts (bins,) of p(w = +1) = sigmoid(2 w_r) over equal bins of [0, 1]."""
        p = torch.sigmoid(2 * latent.detach().double())
        return torch.histc(p.cpu(), bins=bins, min=0, max=1).to(torch.int64)

    @torch.no_grad()
    def initialise(self, latent: Tensor, source: torch.Generator) -> None:
        """Uniform in [-init, init], or at +init with probability p0 and at -init otherwise."""
        draw = torch.rand(latent.shape, generator=source, dtype=torch.float64, device=source.device)
        if self.init_at_ends:
            latent.copy_(binary_sign(draw - (1 - self.prior)) * self.init)
        else:
            latent.copy_((draw * 2 - 1) * self.init)
