"""Which nodes stand for weights, norms, pools and shapes: our layers, and PyTorch's that know no time."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrize

from bitspike.layers import (
    BNTT,
    AveragePool,
    BatchStatistics,
    ChannelScale,
    Dropout,
    FewBitConv2d,
    FewBitLinear,
    Local2d,
    Stepwise,
    TemporalBatchNorm,
)
from bitspike.layers.product import weight_kind
from bitspike.models.feedforward import Flatten as FlattenLayer
from bitspike.models.plan.build import Builder, planner
from bitspike.models.plan.nodes import REAL_BITS, Flatten, Node, Pool, Scale
from bitspike.models.plan.weighing import Weights
from bitspike.products import Geometry


def fixed(tensor: Tensor) -> Tensor:
    """A copy without gradient, on the host."""
    return tensor.detach().cpu().clone().contiguous()


def shipped_bits(layer: nn.Module, tensor: str) -> float:
    """Bits of a value of this tensor: its precision's."""
    if not parametrize.is_parametrized(layer, tensor):
        return REAL_BITS
    return float(getattr(layer.parametrizations[tensor][-1], "bits", REAL_BITS))  # type: ignore[index]


def weights(layer: Any, **options: Any) -> dict[str, Any]:
    """What `Weights` holds of a layer."""
    bias = None if layer.bias is None else fixed(layer.bias)
    bits = {"bits": shipped_bits(layer, "weight"), "bias_bits": shipped_bits(layer, "bias")}
    return {"weight": fixed(layer.weight), "bias": bias, "weight_kind": weight_kind(layer), **bits, **options}


@planner(nn.Linear, FewBitLinear)
def linear(builder: Builder, layer: Any, name: str, source: str) -> Node:
    """Dense weights."""
    return Weights(form="dense", x_kind=getattr(layer, "x_kind", None), **weights(layer))


@planner(nn.Conv1d, nn.Conv2d, nn.Conv3d, FewBitConv2d)
def convolution(builder: Builder, layer: Any, name: str, source: str) -> Node:
    """Shared weights."""
    if not builder.rows:
        builder.refuse(name, f"{type(layer).__name__} on all steps at once; wanted inside Stepwise")
    padding = layer.padding
    if layer.padding_mode != "zeros":
        builder.refuse(name, f"padding_mode {layer.padding_mode!r}")
    if isinstance(padding, str):
        reach = [d * (k - 1) for d, k in zip(layer.dilation, layer.kernel_size, strict=True)]
        if padding == "same" and any(r % 2 for r in reach):
            builder.refuse(name, "padding 'same' that is not the same on both sides")
        padding = tuple(r // 2 if padding == "same" else 0 for r in reach)
    geometry = Geometry(layer.stride, padding, layer.dilation, layer.groups)
    return Weights(form="convolution", x_kind=getattr(layer, "x_kind", None), geometry=geometry, **weights(layer))


@planner(Local2d)
def local(builder: Builder, layer: Any, name: str, source: str) -> Node:
    """Weights of each place's own."""
    return Weights(form="local", geometry=Geometry(layer.stride, layer.padding, (1, 1), 1), **weights(layer))


@planner(Stepwise)
def stepwise(builder: Builder, module: Any, name: str, source: str) -> str:
    """The layer at every step."""
    before, builder.rows = builder.rows, True
    found = builder.module(module.layer, name, source)
    builder.rows = before
    return found


@planner(TemporalBatchNorm, nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, BNTT)
def normalisation(builder: Builder, norm: Any, name: str, source: str) -> Node:
    """Statistics as they are: a gain and an offset per channel, of BNTT for each step."""
    ours = isinstance(norm, BatchStatistics)
    if not ours and not builder.rows:
        builder.refuse(
            name, f"{type(norm).__name__} on all steps at once; wanted inside Stepwise, or TemporalBatchNorm"
        )
    mean, var = norm.statistics() if ours else (norm.running_mean, norm.running_var)
    if mean is None:
        builder.refuse(name, f"{type(norm).__name__} without running statistics")
    none, like = torch.zeros_like(mean.flatten()), torch.ones(1, mean.numel()).to(mean)
    weight = torch.ones_like(none) if norm.weight is None else norm.weight.flatten()
    bias = none if getattr(norm, "bias", None) is None else norm.bias
    # Read off the normalisation itself, so that they are what it multiplies with, to the last digit.
    gain = F.batch_norm(like, none, var.flatten(), weight, none, False, 0.0, norm.eps).view(mean.shape)
    offset = F.batch_norm(like * 0, mean.flatten(), var.flatten(), weight, bias, False, 0.0, norm.eps).view(mean.shape)
    return Scale(gain=fixed(gain), offset=fixed(offset), fused=True)


@planner(ChannelScale)
def scale(builder: Builder, layer: Any, name: str, source: str) -> Node:
    """Gain and offset."""
    return Scale(gain=fixed(layer.weight), offset=fixed(layer.bias))


@planner(Dropout, nn.Dropout, nn.Dropout2d, nn.Identity)
def nothing(builder: Builder, layer: Any, name: str, source: str) -> str:
    """Nothing, in evaluation."""
    return source


@planner(FlattenLayer, nn.Flatten)
def flatten(builder: Builder, layer: Any, name: str, source: str) -> Node:
    """The features in one row."""
    if isinstance(layer, nn.Flatten) and (layer.start_dim, layer.end_dim) != (1 if builder.rows else 2, -1):
        builder.refuse(name, f"Flatten({layer.start_dim}, {layer.end_dim}) that leaves something else than a row")
    return Flatten(emits=builder.emits(source))


@planner(nn.MaxPool2d, nn.AvgPool2d, AveragePool)
def pool(builder: Builder, layer: Any, name: str, source: str) -> Node:
    """Windows of space."""
    largest = isinstance(layer, nn.MaxPool2d)
    if not builder.rows:
        builder.refuse(name, f"{type(layer).__name__} on all steps at once; wanted inside Stepwise")
    if largest and layer.return_indices:
        builder.refuse(name, "MaxPool2d that returns indices")
    names = ("dilation",) if largest else ("count_include_pad", "divisor_override")
    options = {option: getattr(layer, option) for option in names}
    sizes = {"size": layer.kernel_size, "stride": layer.stride, "padding": layer.padding, "ceil": layer.ceil_mode}
    return Pool(largest=largest, **sizes, options=options, emits=builder.emits(source) if largest else "real")
