"""The ways to take a convolution of x (B, C, H, W) with w (O, C/groups, R, S), and its two gradients.

int8       both operands as int8, int32 sums, by oneDNN's quantised convolution with scale 1: exact
sparse     a spike adds its weights to the outputs it meets, float32; stride 1, no dilation, one group only
bfloat16   gradient and operand rounded to 8 bits: reduced precision, backward only
float32    torch's own convolution
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from bitspike.kernels.cpu import threads
from bitspike.products import conv_loops, loops
from bitspike.products.operands import over_rows

PARTS = 8  # shares of a batch that are summed apart: fixed, so that the sum does not depend on the threads

Pair = tuple[int, int]


class Geometry(NamedTuple):
    """What a convolution does besides multiplying."""

    stride: Pair
    padding: Pair
    dilation: Pair
    groups: int

    @property
    def form(self) -> list[int]:
        """Its numbers, as operators know it; see `geometry_of`."""
        return [*self.stride, *self.padding, *self.dilation, self.groups]

    def sizes(self, x_shape: tuple[int, ...], w_shape: tuple[int, ...]) -> Pair:
        """Height and width of the output."""
        high, wide = (
            (x_shape[2 + i] + 2 * self.padding[i] - self.dilation[i] * (w_shape[2 + i] - 1) - 1) // self.stride[i] + 1
            for i in (0, 1)
        )
        return high, wide

    def plain(self, w_shape: tuple[int, ...]) -> bool:
        """Whether the sums over spikes cover this convolution."""
        inside = self.padding[0] < w_shape[2] and self.padding[1] < w_shape[3]
        return self.stride == (1, 1) and self.dilation == (1, 1) and self.groups == 1 and inside


def geometry_of(form: list[int]) -> Geometry:
    """From its numbers, as operators know it."""
    return Geometry((form[0], form[1]), (form[2], form[3]), (form[4], form[5]), form[6])


def int8_available() -> bool:
    """Whether this torch has the quantised convolution."""
    return hasattr(torch.ops.onednn, "qconv_pointwise") and hasattr(torch.ops.onednn, "qconv_prepack")


def int8_forward(x8: Tensor, w8: Tensor, x_kind: str, geometry: Geometry) -> Tensor:
    """x8 and w8 int8; exact while sums stay within 2^24."""
    stride, padding, dilation = list(geometry.stride), list(geometry.padding), list(geometry.dilation)
    # The operator wants x unsigned: spikes are, others move up by 128, which the zero point takes back.
    zero = 0 if x_kind == "spikes" else 128
    x = x8.view(torch.uint8) if zero == 0 else (x8 ^ -128).view(torch.uint8)
    ones, zeros = torch.ones(w8.shape[0]), torch.zeros(w8.shape[0], dtype=torch.int64)
    weight = torch.ops.onednn.qconv_prepack(
        w8, ones, 1.0, zero, stride, padding, dilation, geometry.groups, list(x8.shape)
    )
    y: Tensor = torch.ops.onednn.qconv_pointwise(
        x.contiguous(memory_format=torch.channels_last), 1.0, zero, weight, ones, zeros, None,
        stride, padding, dilation, geometry.groups, 1.0, 0, torch.float32, "none", [], "",
    )  # fmt: skip
    return y.contiguous()


def sparse_forward(x8: Tensor, weight: Tensor, geometry: Geometry) -> Tensor:
    """x8 int8 spikes (B, C, H, W), weight float32 (O, C, R, S)."""
    outputs, channels, rows, columns = weight.shape
    high, wide = geometry.sizes(x8.shape, weight.shape)
    w_t = weight.detach().flip(3).permute(1, 2, 3, 0).reshape(channels, rows, columns * outputs).contiguous()
    y = torch.empty(x8.shape[0], outputs, high * wide)
    over_rows(conv_loops.scatter, x8.shape[0], y.numel(), x8.flatten(2), w_t, _sizes(x8, weight.shape, geometry), y)
    return y.view(-1, outputs, high, wide)


def sparse_grad_weight(g: Tensor, x8: Tensor, w_shape: tuple[int, ...], geometry: Geometry) -> Tensor:
    """g float32 (B, O, HO, WO), x8 int8 spikes (B, C, H, W)."""
    outputs, channels, rows, columns = w_shape
    parts = torch.empty(PARTS, channels, rows, columns * outputs)
    function = loops.compiled(conv_loops.collect)
    arrays = (x8.flatten(2).numpy(), g.flatten(2).numpy(), _sizes(x8, w_shape, geometry), parts.numpy())
    # One part is one lane's worth of the range, so that parts are shared out whole.
    lanes = threads.LANES
    threads.run(lambda lo, hi: function(lo // lanes, hi // lanes, *arrays), PARTS * lanes, g.numel())
    return parts.sum(0).view(channels, rows, columns, outputs).flip(2).permute(3, 0, 1, 2).contiguous()


def torch_grads(
    g: Tensor, x: Tensor, weight: Tensor, geometry: Geometry, wanted: tuple[bool, bool]
) -> tuple[Tensor | None, Tensor | None]:
    """Torch's own gradients of x and of the weight, each if wanted, in the operands' dtype."""
    stride, padding, dilation, groups = geometry
    gx, gw, _ = torch.ops.aten.convolution_backward(
        g, x, weight, None, stride, padding, dilation, False, [0, 0], groups, [*wanted, False]
    )
    return gx, gw


def _sizes(x8: Tensor, w_shape: tuple[int, ...], geometry: Geometry) -> tuple[int, ...]:
    high, wide = geometry.sizes(x8.shape, w_shape)
    above, left = w_shape[2] - 1 - geometry.padding[0], w_shape[3] - 1 - geometry.padding[1]
    return x8.shape[3], w_shape[0], high, wide, above, left
