"""Feed-forward spiking networks from a list of layers.

A layer is written as in the papers: `512` (dense), `32c3` (convolution, 32 channels, kernel 3, same padding),
`p2` (2x2 max pool of spikes, that is OR) or `a2` (2x2 average pool). Dense and convolution layers are
weights -> normalisation -> neurons; the last dense layer is a read-out without neurons. `32c3p2` pools the
current before it reaches the neurons, so that a quarter of the neurons run; `32c3s2` has stride 2.
"""

from __future__ import annotations

import math
import re
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from bitspike.draws import Key, generator
from bitspike.errors import refuse
from bitspike.kernels.products import Kind, Policy
from bitspike.layers import ChannelScale, FewBitConv2d, FewBitLinear, OnePass, Stepwise, TemporalBatchNorm

COUNT = r"[1-9]\d{0,5}"
LAYER = re.compile(
    rf"(?:(?P<dense>{COUNT})|(?P<out>{COUNT})c(?P<kernel>{COUNT})(?:s(?P<stride>{COUNT}))?(?:p(?P<inner>{COUNT}))?"
    rf"|(?P<pool>[pa])(?P<size>{COUNT}))"
)
NORMS = ("batch", "scale")


class Flatten(nn.Module):
    """(T, B, *features) to (T, B, product); a view, so a constant input stays recognisable."""

    def forward(self, x: Tensor) -> Tensor:
        """Join the features."""
        if x.ndim == 3:
            return x
        if x.shape[0] > 1 and x.stride(0) == 0:
            return x[0].flatten(1).expand(x.shape[0], -1, -1)
        return x.flatten(2)


def feedforward(
    shape: tuple[int, ...],
    outputs: int,
    layers: Sequence[str],
    neuron: Callable[[], nn.Module],
    norm: str = "batch",
    keys: tuple[Key, ...] = (0, "init"),
    x_kind: Kind = "real",
    products: Policy = "exact",
) -> nn.Sequential:
    """A network from inputs (T, B, *shape) to read-outs (T, B, outputs).

    neuron: makes one neuron module per layer. norm: "batch", or "scale" (a gain and offset per channel,
    starting at 1/sqrt(fan-in)). keys: names the draw of the initial weights (uniform +-1/sqrt(fan-in)).
    x_kind: what the input is made of ("spikes" for 0 and 1). products: how few-bit operands are multiplied; see
    `kernels.products`.
    """
    if norm not in NORMS:
        refuse("model norm", repr(norm), " or ".join(repr(n) for n in NORMS))
    parts: OrderedDict[str, nn.Module] = OrderedDict()
    current, kind = tuple(shape), x_kind

    def normalise(channels: int, fan_in: int) -> nn.Module:
        return TemporalBatchNorm(channels) if norm == "batch" else ChannelScale(channels, fan_in**-0.5)

    def dense(name: str, units: int) -> None:
        nonlocal current
        if len(current) != 1:
            parts[f"flatten_{name}"] = Flatten()
            current = (math.prod(current),)
        linear = FewBitLinear(current[0], units, bias=False, x_kind=kind, policy=products)
        parts[name] = Stepwise(_drawn(linear, *keys, name))
        parts[f"norm_{name}"] = normalise(units, current[0])
        current = (units,)

    def fire(number: int) -> Kind:
        parts[f"spikes{number}"] = made = neuron()
        return getattr(made, "emits", "real")

    def pool(number: int, text: str, kind: type[nn.MaxPool2d | nn.AvgPool2d], size: int) -> tuple[int, ...]:
        channels, height, width = current
        if min(height, width) < size:
            refuse(f"model layers[{number - 1}]", f"{text!r} on {height}x{width}", "a smaller pool")
        parts[f"pool{number}"] = Stepwise(kind(size))
        return (channels, height // size, width // size)

    for number, text in enumerate(layers, 1):
        match = LAYER.fullmatch(str(text).lower())
        if match is None:
            refuse(f"model layers[{number - 1}]", repr(text), "'512', '32c3', '32c3s2', '32c3p2', 'p2' or 'a2'")
        if match["dense"]:
            dense(f"dense{number}", int(match["dense"]))
            kind = fire(number)
            continue
        if len(current) != 3:
            refuse(f"model layers[{number - 1}]", f"{text!r} on features of shape {current}", "shape (C, H, W)")
        channels, height, width = current
        if match["out"]:
            out, kernel, stride = int(match["out"]), int(match["kernel"]), int(match["stride"] or 1)
            sizes: tuple[Any, ...] = (channels, out, kernel, stride, kernel // 2)
            conv = FewBitConv2d(*sizes, bias=False, x_kind=kind, policy=products)
            parts[f"conv{number}"] = Stepwise(_drawn(conv, *keys, f"conv{number}"))
            parts[f"norm_conv{number}"] = normalise(out, channels * kernel**2)
            edge = 2 * (kernel // 2) - kernel
            current = (out, (height + edge) // stride + 1, (width + edge) // stride + 1)
            if match["inner"]:
                current = pool(number, text, nn.MaxPool2d, int(match["inner"]))
            kind = fire(number)
        elif match["pool"] == "p":
            current = pool(number, text, nn.MaxPool2d, int(match["size"]))
        else:
            current, kind = pool(number, text, nn.AvgPool2d, int(match["size"])), "real"
    dense("readout", outputs)
    return OnePass(parts)


def _drawn(layer: nn.Linear | nn.Conv2d, *keys: Key) -> nn.Module:
    """Uniform weights in +-1/sqrt(fan-in) from a named draw, so that a model is a function of its seed."""
    with torch.no_grad():
        bound = layer.weight[0].numel() ** -0.5
        layer.weight.uniform_(-bound, bound, generator=generator(*keys))
    return layer
