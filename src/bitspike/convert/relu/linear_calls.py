"""Calls that are linear (or affine) in what they are given, row by row: what a mean over time may be taken behind.

By the name of a function, method or module. A name that is also used for work across the batch (a sum over dimension 0,
a roll of everything) is allowed here and found out when the converted network is compared with itself on other batches.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from bitspike.layers import Local2d

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
LARGEST = (
    nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d, nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d, nn.AdaptiveMaxPool3d,
)  # fmt: skip
MODULES: tuple[type[nn.Module], ...] = (
    nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d, Local2d,
    nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d, nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d,
    nn.Flatten, nn.Unflatten, nn.ZeroPad1d, nn.ZeroPad2d, nn.ZeroPad3d, nn.ConstantPad1d, nn.ConstantPad2d,
    nn.ConstantPad3d, nn.ReflectionPad1d, nn.ReflectionPad2d, nn.ReflectionPad3d, nn.ReplicationPad1d,
    nn.ReplicationPad2d, nn.ReplicationPad3d, nn.CircularPad1d, nn.CircularPad2d, nn.CircularPad3d, nn.Upsample,
    nn.UpsamplingNearest2d, nn.UpsamplingBilinear2d, nn.PixelShuffle, nn.PixelUnshuffle, nn.ChannelShuffle, nn.Fold,
    nn.Unfold, *NORMS,
)  # fmt: skip
SHAPED = (
    "flatten", "reshape", "view", "view_as", "reshape_as", "contiguous", "squeeze", "unsqueeze", "unflatten", "permute",
    "transpose", "swapaxes", "swapdims", "movedim", "moveaxis", "chunk", "split", "split_with_sizes", "tensor_split",
    "hsplit", "dsplit", "unbind", "select", "narrow", "index_select", "gather", "take_along_dim", "diagonal", "expand",
    "expand_as", "broadcast_to", "repeat", "repeat_interleave", "tile", "roll", "flip", "fliplr", "rot90", "clone",
    "detach", "cat", "concat", "concatenate", "stack", "hstack", "dstack", "column_stack", "pixel_shuffle",
    "pixel_unshuffle", "channel_shuffle", "native_channel_shuffle", "unfold", "fold", "pad", "constant_pad_nd", "tril",
    "triu", "diag_embed", "positive", "float", "double", "type_as",
)  # fmt: skip
_SUMS = (
    "add", "sub", "subtract", "rsub", "neg", "negative", "sum", "mean", "cumsum", "diff", "avg_pool1d", "avg_pool2d",
    "avg_pool3d", "adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d", "interpolate", "upsample",
    "upsample_nearest", "upsample_bilinear", "masked_fill", "where", "batch_norm",
)  # fmt: skip
_FILLED = ("zeros_like", "ones_like", "full_like", "new_zeros", "new_ones", "new_full")
# Linear in one operand: at most one may be spiking, and none below a fraction bar.
_PRODUCTS = (
    "mul", "multiply", "matmul", "mm", "bmm", "einsum", "tensordot", "linear", "conv1d", "conv2d", "conv3d",
    "conv_transpose1d", "conv_transpose2d", "conv_transpose3d", "addmm", "baddbmm",
)  # fmt: skip
_FRACTIONS = ("truediv", "div", "divide", "true_divide")
SIZES = ("size", "dim", "ndimension", "numel", "nelement", "stride", "is_floating_point", "get_device", "__len__")
# Attributes of tensors that say something of their shape.
SHAPES = ("shape", "ndim")


def _found(names: Iterable[str]) -> set[Any]:
    homes = (torch, F, operator)
    return {f for name in names for home in homes if (f := getattr(home, name, None)) is not None}


FUNCTIONS = _found((*SHAPED, *_SUMS, *_FILLED)) | {operator.getitem, getattr, len, operator.floordiv}
METHODS = {name for name in (*SHAPED, *_SUMS, *_FILLED) if hasattr(Tensor, name)} | {*SIZES, "to"}
PRODUCTS: set[Any] = _found(_PRODUCTS) | {n for n in _PRODUCTS if hasattr(Tensor, n)}
FRACTIONS: set[Any] = _found(_FRACTIONS) | {n for n in _FRACTIONS if hasattr(Tensor, n)}


def is_linear(node: fx.Node) -> bool:
    """Whether a call of a function or method is one of the above."""
    known = METHODS if node.op == "call_method" else FUNCTIONS
    return node.target in known or node.target in PRODUCTS or node.target in FRACTIONS


def nodes_in(value: Any) -> list[fx.Node]:
    """The nodes in an argument, however deep."""
    found: list[fx.Node] = []
    fx.map_arg(value, found.append)
    return found
