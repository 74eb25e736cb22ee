"""A convolution that does not share its weights: each place of the output has a kernel and a bias of its own.

    y[n, o, i, j] = b[o, i, j] + sum_{c, a, b} W[i, j, o, a, b, c] x[n, c, s i + a - pad, s j + b - pad]

with zeros outside x. The "local" layer of cuda-convnet (Krizhevsky 2012).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bitspike.errors import refuse
from bitspike.kernels.dtypes import mixed
from bitspike.kernels.transforms import wants_gradient

Pair = int | tuple[int, int]


def _pair(value: Pair, field: str, least: int) -> tuple[int, int]:
    pair = (value, value) if isinstance(value, int) else tuple(value)
    if len(pair) != 2 or not all(isinstance(v, int) and v >= least for v in pair):
        refuse(f"Local2d {field}", value, f"one or two whole numbers, {least} or more")
    return pair[0], pair[1]


def _views(x: Tensor, kernel: tuple[int, int], stride: tuple[int, int]) -> Tensor:
    """x (B, H, W, C) as the windows (HO, WO, B, kh, kw, C) in it, without a copy."""
    (kh, kw), (sh, sw) = kernel, stride
    return x.unfold(1, kh, sh).unfold(2, kw, sw).permute(1, 2, 0, 4, 5, 3)


class _Windows(torch.autograd.Function):
    """The windows of x, copied; torch's own gradient of `unfold` is several times slower."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, kernel: tuple[int, int], stride: tuple[int, int]) -> Tensor:
        return _views(x, kernel, stride).contiguous()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        x, ctx.kernel, ctx.stride = inputs
        ctx.size = tuple(x.shape)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        return _overlaps(grads[0], ctx.size, ctx.kernel, ctx.stride), None, None


class _Overlaps(torch.autograd.Function):
    """The adjoint of `_Windows`: every window added to where it was taken from."""

    generate_vmap_rule = True

    @staticmethod
    def forward(windows: Tensor, size: tuple[int, ...], kernel: tuple[int, int], stride: tuple[int, int]) -> Tensor:
        (kh, kw), (sh, sw) = kernel, stride
        high, wide = windows.shape[:2]
        # In the order of the windows, so that the sums below go through memory as it lies; half precision has too few
        # digits for them.
        batch, *image, channels = size
        dtype, windows = windows.dtype, windows.float() if windows.dtype.itemsize < 4 else windows
        x = windows.new_zeros((*image, batch, channels))
        for a in range(kh):
            for b in range(kw):
                # Places of one offset within the windows do not overlap.
                place = x[a : a + sh * (high - 1) + 1 : sh, b : b + sw * (wide - 1) + 1 : sw]
                place += windows[:, :, :, a, b]
        return x.permute(2, 0, 1, 3).to(dtype, memory_format=torch.contiguous_format)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        _, _, ctx.kernel, ctx.stride = inputs

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None]:
        return _windows(grads[0], ctx.kernel, ctx.stride), None, None, None


_windows: Callable[..., Tensor] = _Windows.apply
_overlaps: Callable[..., Tensor] = _Overlaps.apply


class Local2d(nn.Module):
    """x (B, C, H, W) to (B, O, HO, WO) for images of one size (H, W).

    weight (HO, WO, O, kh, kw, C) and bias (O, HO, WO), drawn uniformly within +-1/sqrt(C kh kw), the bias at 0.
    """

    weighted: ClassVar[bool] = True
    bias: nn.Parameter | None

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        size: Pair,
        kernel_size: Pair,
        stride: Pair = 1,
        padding: Pair = 0,
        bias: bool = True,
    ) -> None:
        super().__init__()
        self.in_channels, self.out_channels = in_channels, out_channels
        self.size, self.kernel_size = _pair(size, "size", 1), _pair(kernel_size, "kernel_size", 1)
        self.stride, self.padding = _pair(stride, "stride", 1), _pair(padding, "padding", 0)
        reach = [n + 2 * p - k for n, p, k in zip(self.size, self.padding, self.kernel_size, strict=True)]
        if min(reach) < 0:
            refuse("Local2d kernel_size", kernel_size, f"one that fits images of {self.size} padded by {self.padding}")
        self.out_size = (reach[0] // self.stride[0] + 1, reach[1] // self.stride[1] + 1)
        self.weight = nn.Parameter(torch.empty(*self.out_size, out_channels, *self.kernel_size, in_channels))
        self.bias = nn.Parameter(torch.empty(out_channels, *self.out_size)) if bias else None
        self.reset_parameters()

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw the weights anew."""
        bound = self.weight[0, 0, 0].numel() ** -0.5
        with torch.no_grad():
            self.weight.uniform_(-bound, bound, generator=generator)
            if self.bias is not None:
                self.bias.zero_()

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, O, HO, WO), which keeps its channels last."""
        if tuple(x.shape[1:]) != (self.in_channels, *self.size):
            refuse("Local2d input", tuple(x.shape), f"(B, {self.in_channels}, {self.size[0]}, {self.size[1]})")
        weight: Tensor = self.weight
        if torch.is_autocast_enabled(x.device.type):
            # Before they are copied to many windows, not behind.
            dtype = torch.get_autocast_dtype(x.device.type)
            x, weight = x.to(dtype), weight.to(dtype)
        y = mixed(lambda a, w: local_product(a, w, self.stride, self.padding), x, weight)
        return y if self.bias is None else y + self.bias.to(y.dtype)

    def report_operations(self, tally: Any, given: tuple[Any, ...], output: Tensor) -> None:
        """For the energy account (`energy.tally`)."""
        tally.weighs(self, given[0], output)

    def extra_repr(self) -> str:
        """Sizes."""
        return (
            f"{self.in_channels}, {self.out_channels}, size={self.size}, kernel_size={self.kernel_size}, "
            f"stride={self.stride}, padding={self.padding}, bias={self.bias is not None}"
        )


def local_product(x: Tensor, weight: Tensor, stride: tuple[int, ...], padding: tuple[int, ...]) -> Tensor:
    """x (B, C, H, W) times weight (HO, WO, O, kh, kw, C): (B, O, HO, WO), channels last in memory."""
    # One product per place: windows (HO WO, B, kh kw C) with weights (HO WO, kh kw C, O).
    (high, wide, outputs, kh, kw, _), (sh, sw), (ph, pw) = weight.shape, stride, padding
    padded = F.pad(x.permute(0, 2, 3, 1), (0, 0, pw, pw, ph, ph))
    if wants_gradient(padded):
        windows = _windows(padded, (kh, kw), (sh, sw))
    else:
        windows = _views(padded, (kh, kw), (sh, sw)).contiguous()
    y = torch.bmm(
        windows.reshape(high * wide, len(x), math.prod(weight.shape[3:])),
        weight.flatten(3).flatten(0, 1).transpose(1, 2),
    )
    return y.transpose(0, 1).reshape(len(x), high, wide, outputs).permute(0, 3, 1, 2)
