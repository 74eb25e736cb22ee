"""nn.AvgPool2d, whose 2 x 2 windows are averaged by a kernel of our own while a network learns."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from bitspike.kernels.cpu import average
from bitspike.kernels.transforms import once, transformed


class AveragePool(nn.AvgPool2d):
    """As nn.AvgPool2d, bit for bit; of 2 x 2 windows in main memory differentiable once."""

    def forward(self, x: Tensor) -> Tensor:
        """x (N, C, H, W)."""
        if self._plain(x):
            return super().forward(x)
        y: Tensor = _Average.apply(x)  # type: ignore[no-untyped-call]
        return y

    def _plain(self, x: Tensor) -> bool:
        """Whether it is left to PyTorch: no gradient is asked for (then others may look on), or windows are others."""
        twos = (2, (2, 2))
        return (
            torch.compiler.is_compiling()
            or not (torch.is_grad_enabled() and x.requires_grad)
            or transformed()
            or self.kernel_size not in twos
            or self.stride not in twos
            or self.padding not in (0, (0, 0))
            or self.ceil_mode
            or self.divisor_override is not None
            or x.ndim != 4
            or x.device.type != "cpu"
            or x.dtype not in (torch.float32, torch.float64)
            or min(x.shape[2:]) < 2
            or x.is_contiguous(memory_format=torch.channels_last)  # PyTorch is as fast there
        )


class _Average(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.shape = x.shape
        return average.averages(x)

    @staticmethod
    @once
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return average.spread(gradient, ctx.shape)
