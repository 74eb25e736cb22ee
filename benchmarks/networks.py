"""The networks whose training step is measured: ours from `bitspike.models`, the others from the same plain layers.

Both have the same products, a gain and offset per channel, LIF neurons and a read-out; `plain` copies our weights,
so that all start as the same function. Products run over all T*B rows at once for everyone: no peer pays for a
product inside its time loop.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks import layers
from bitspike.layers import ChannelScale
from bitspike.models import feedforward
from bitspike.neurons import LIF
from bitspike.products import Policy
from bitspike.weights import StraightThrough, quantise


@dataclass(frozen=True)
class Spec:
    """A network: input shape, classes, layers as `feedforward` writes them, time steps T, batch B."""

    name: str
    shape: tuple[int, ...]
    outputs: int
    layers: tuple[str, ...]
    T: int
    B: int

    @property
    def title(self) -> str:
        """Layers and sizes in one line."""
        size = "x".join(map(str, self.shape))
        return f"{size}-{'-'.join(self.layers)}-{self.outputs}, T = {self.T}, B = {self.B}"


SPREAD, OFFSET = 0.4, 0.1  # of the currents: about a tenth of the neurons fire
MLP = Spec("mlp", (700,), 20, ("512", "512"), 100, 64)
CONV = Spec("conv", (2, 34, 34), 10, ("16c5", "p2", "32c3", "p2"), 50, 16)


class Rows(nn.Module):
    """A layer that knows no time, on the first two dimensions as one."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        """(T, B, *features) to (T, B, *outputs)."""
        y: Tensor = self.layer(x.flatten(0, 1)).unflatten(0, x.shape[:2])
        return y


class Gain(nn.Module):
    """y = g x + b per channel (dimension 2)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Same shape as x."""
        shape = (-1, *(1,) * (x.ndim - 3))
        return x * self.weight.view(shape) + self.bias.view(shape)


class Neurons(nn.Module):
    """A `layers.Layer` as a module."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.run = layers.make(name).run

    def forward(self, x: Tensor) -> Tensor:
        """Spikes for currents x."""
        return self.run(x)


def ours(spec: Spec, binary: bool, name: str = "bitspike auto, exact") -> nn.Module:
    """Our network, `bitspike BACKEND, PRODUCTS`; its input is spikes; binary weights are learned straight through."""
    back_end, products = name.removeprefix("bitspike ").split(", ")
    model = feedforward(
        spec.shape, spec.outputs, spec.layers, lambda: layers.neuron(back_end), "scale",
        x_kind="spikes", products=cast(Policy, products),
    )  # fmt: skip
    return quantise(model, StraightThrough, 0) if binary else model


def plain(spec: Spec, binary: bool, neurons: Callable[[], nn.Module], scaled: bool = True) -> nn.Module:
    """The same network of plain torch layers; scaled: with gains and offsets."""
    parts: list[nn.Module] = []
    current = spec.shape

    def weighted(layer: nn.Linear | nn.Conv2d) -> None:
        parts.append(Rows(layer))
        if scaled:
            parts.append(Gain(layer.weight.shape[0]))

    for text in spec.layers:
        if text.startswith("p"):
            parts.append(Rows(nn.MaxPool2d(int(text[1:]))))
            current = (current[0], *(side // int(text[1:]) for side in current[1:]))
            continue
        if found := re.fullmatch(r"(\d+)c(\d+)", text):
            out, kernel = int(found[1]), int(found[2])
            weighted(nn.Conv2d(current[0], out, kernel, padding=kernel // 2, bias=False))
            current = (out, *current[1:])
        else:
            weighted(nn.Linear(current[0], int(text), bias=False))
            current = (int(text),)
        parts.append(neurons())
    if len(current) > 1:
        parts.append(nn.Flatten(2))
        current = (current[0] * current[1] * current[2],)
    weighted(nn.Linear(current[0], spec.outputs, bias=False))
    model = nn.Sequential(*parts)
    return quantise(model, StraightThrough, 0) if binary else model


@torch.no_grad()
def wake(model: nn.Module, x: Tensor) -> dict[str, float]:
    """Set our network's gains so that currents have a spread of SPREAD at batch x, and their offsets to OFFSET.

    Returns each layer's share of spikes: a network that is silent would be measured on nothing.
    """
    parts, rates = list(model.named_children()), {}
    for (name, part), (_, following) in zip(parts, [*parts[1:], ("", None)], strict=True):
        if isinstance(part, ChannelScale) and isinstance(following, LIF):
            part.weight.mul_(SPREAD / part(x).std())
            part.bias.fill_(OFFSET)
        x = part(x)
        if isinstance(part, LIF):
            rates[name] = float(x.mean())
    if not all(0.02 < rate < 0.3 for rate in rates.values()):
        raise AssertionError(f"shares of spikes {rates}")
    return rates


@torch.no_grad()
def copy_weights(source: nn.Module, target: nn.Module, gain: float = 1.0) -> None:
    """Weights, gains and offsets of `source` into `target`, whose neurons multiply their input by `gain`."""
    mine, theirs = list(source.parameters()), list(target.parameters())
    for place, (p, q) in enumerate(zip(mine, theirs, strict=True)):
        if p.shape != q.shape:
            raise AssertionError(f"a weight of shape {tuple(q.shape)} where ours has {tuple(p.shape)}")
        # The last two are the read-out's gain and offset.
        q.copy_(p / gain if p.ndim == 1 and place < len(mine) - 2 else p)


@dataclass
class Trainer:
    """A network, its optimiser and one batch; `time` is the dimension of its time axis."""

    model: nn.Module
    x: Tensor
    y: Tensor
    time: int = 0

    def __post_init__(self) -> None:
        self.optimiser = torch.optim.Adam(self.model.parameters(), lr=1e-3)

    def loss(self) -> Tensor:
        """Cross-entropy of the read-out's mean over time."""
        out = self.model(self.x)
        steps = self.x.shape[self.time]
        if out.ndim != 3 or out.shape[self.time] != steps:
            raise AssertionError(f"read-out {tuple(out.shape)} for an input of {steps} steps")
        return F.cross_entropy(out.mean(self.time), self.y)

    def step(self) -> Tensor:
        """Forward, loss, backward, optimiser."""
        self.optimiser.zero_grad(set_to_none=True)
        loss = self.loss()
        loss.backward()
        self.optimiser.step()
        return loss.detach()
