"""Straight-through binary weights.

    forward   w = sign(w_r), sign(0) = +1
    backward  dL/dw_r = dL/dw                (no clipping: w_r may grow without bound)

w_r: real latent weight. Only its sign enters the forward pass, so with plain SGD a common factor on the
learning rate and the initial w_r leaves the trajectory unchanged. Source: ST-BiSNN (Jang et al. 2020).
`clip` > 0 stops the gradient where |w_r| > clip (Hubara et al. 2016); 0, the paper's choice, does not.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor

from bitspike.errors import refuse
from bitspike.kernels.transforms import wants_gradient
from bitspike.products.kinds import Kind
from bitspike.weights.precision import Precision, binary_sign


class _Sign(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(latent: Tensor, clip: float) -> Tensor:
        return binary_sign(latent)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, float], output: Tensor) -> None:
        latent, ctx.clip = inputs
        ctx.save_for_backward(latent)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[Tensor, None]:
        (latent,) = ctx.saved_tensors
        return (grads[0] * (latent.abs() <= ctx.clip) if ctx.clip > 0 else grads[0]), None


_sign: Callable[..., Tensor] = _Sign.apply


class StraightThrough(Precision):
    """w = sign(w_r); `init`: latents start uniform in [-init, init], or at +-init if `init_at_ends`."""

    bits: ClassVar[float] = 1.0

    def __init__(self, init: float = 1.0, init_at_ends: bool = False, clip: float = 0.0) -> None:
        super().__init__()
        if not init > 0:
            refuse("weights init", init, "a positive number")
        if clip < 0:
            refuse("weights clip", clip, "0 (off) or a positive number")
        self.init, self.init_at_ends, self.clip = float(init), init_at_ends, float(clip)

    def forward(self, latent: Tensor) -> Tensor:
        """+1 or -1."""
        return _sign(latent, self.clip) if wants_gradient(latent) else binary_sign(latent)

    @property
    def kind(self) -> Kind:
        """Always -1 and +1."""
        return "signs"

    @torch.no_grad()
    def initialise(self, latent: Tensor, source: torch.Generator) -> None:
        """Uniform in [-init, init], or at the two ends with equal probability."""
        draw = torch.rand(latent.shape, generator=source, dtype=torch.float64, device=source.device) * 2 - 1
        latent.copy_((binary_sign(draw) if self.init_at_ends else draw) * self.init)
