"""Soft-LIF in training on the processor: rates, slopes and noise by the loops of `soft_lif_loops`, for autograd.

The gradient is gy df/dx, df/dx stored on the way forward. Taken for float32 and bfloat16 where "auto" chooses and
nobody transforms or traces the network; elsewhere the step of `soft_lif_noise` runs, which is the oracle.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor

from bitspike.draws import HALF, Key, key_words
from bitspike.kernels.cpu import back_end as cpu
from bitspike.kernels.cpu import threads
from bitspike.kernels.cpu.buffers import empty
from bitspike.kernels.cpu.subnormal import flushed
from bitspike.kernels.transforms import once, transformed
from bitspike.neurons.soft_lif import SoftLIF

NoiseKind = Literal["none", "gaussian", "alpha", "alpha-rc"]
NOISES: tuple[NoiseKind, ...] = get_args(NoiseKind)
DTYPES = (torch.float32, torch.bfloat16)


def takes(x: Tensor, rate: SoftLIF, back_end: str) -> bool:
    """Whether these loops may run."""
    here = back_end in ("auto", "cpu") and x.device.type == "cpu" and x.dtype in DTYPES and rate.curve == "lif"
    if not here or torch.compiler.is_compiling() or cpu.unavailable():
        return False
    return not transformed()


def numbers(rate: SoftLIF, sigma: float, tau_s: float, kind: str) -> Any:
    """What `soft_lif_loops.rates` reads."""
    p = rate.constants()
    first = second = 0.0
    if kind == "alpha":
        first = p.amplitude / tau_s**2
    elif kind == "alpha-rc":
        d = p.tau_rc - tau_s
        first, second = p.amplitude * p.tau_rc / d**2, p.amplitude / (d * tau_s)
    lost = -math.expm1(-p.tau_ref / p.tau_rc)
    rise = p.amplitude * p.tau_rc * p.slope
    return np.asarray(
        [
            p.slope, p.offset, p.gamma, p.log_gamma, p.tau_ref, p.tau_rc, p.amplitude, p.amplitude * sigma, 1 / tau_s,
            1 / p.tau_rc, lost, first, second, rise,
        ],
        dtype=np.float32,
    )  # fmt: skip


class _Rates(torch.autograd.Function):
    """(x flat, numbers, number of the kind, the draw's two words) -> y."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, constants: Any, kind: int, words: tuple[int, int]) -> Tensor:
        # Late: importing the loops imports Numba.
        from bitspike.kernels.cpu import soft_lif_loops as loops
        from bitspike.kernels.cpu.half import array

        count, keeps = x.numel(), bool(ctx.needs_input_grad[0])
        y = empty((count,), torch.float32)
        slope = empty((count if keeps else 0,), torch.float32)
        keys = [np.uint32(word) for word in words]
        given: list[Any] = [array(x), y.numpy(), slope.numpy(), int(keeps), kind, *keys, constants]
        with flushed():
            threads.run(lambda lo, hi: loops.rates(lo, hi, *given), -(-count // (2 * HALF)), count, lanes=1)
        ctx.save_for_backward(slope)
        ctx.dtype = x.dtype
        return y

    @staticmethod
    @once
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None]:
        from bitspike.kernels.cpu import soft_lif_loops as loops
        from bitspike.kernels.cpu.half import array

        (slope,) = ctx.saved_tensors
        gx = empty(tuple(slope.shape), ctx.dtype)
        arrays = (grads[0].float().contiguous().numpy(), slope.numpy(), array(gx))
        with flushed():
            threads.run(lambda lo, hi: loops.times(lo, hi, *arrays), slope.numel(), slope.numel())
        return gx, None, None, None


_rates: Callable[..., Tensor] = _Rates.apply


def fused(x: Tensor, rate: SoftLIF, kind: str, sigma: float, tau_s: float, keys: tuple[Key, ...]) -> Tensor:
    """The noisy rates, float32, of x (N,), float32 or bfloat16; the draw's name is `keys`."""
    words = key_words(*keys) if kind != "none" else (0, 0)
    return _rates(x, numbers(rate, sigma, tau_s, kind), NOISES.index(kind), words)
