"""A plain module as users of snnTorch write it; run as a script it trains itself, to be killed and gone on with."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import bitspike


class FastSigmoid(torch.autograd.Function):
    """1 above the threshold; its derivative is 1 / (1 + 5 |v|)^2."""

    @staticmethod
    def forward(ctx: Any, v: Tensor) -> Tensor:
        ctx.save_for_backward(v)
        return (v > 0).to(v.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Tensor:
        (v,) = ctx.saved_tensors
        return grads[0] / (1 + 5 * v.abs()) ** 2


class Leaky(nn.Module):
    """A leaky integrate-and-fire neuron, one step a call: spikes and membrane."""

    def forward(self, x: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        v = 0.9 * v + x
        spikes = FastSigmoid.apply(v - 1)
        return spikes, v - spikes


class Net(nn.Module):
    """(T, B, 4) to membranes of the read-out (T, B, 3)."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden, self.lif, self.drop, self.out = nn.Linear(4, 20), Leaky(), nn.Dropout(0.1), nn.Linear(20, 3)

    def forward(self, x: Tensor) -> Tensor:
        v = u = torch.zeros(())
        read = []
        for now in x:
            spikes, v = self.lif(self.hidden(now), v)
            u = 0.9 * u + self.out(self.drop(spikes))
            read.append(u)
        return torch.stack(read)


def waves(count: int = 120) -> tuple[Tensor, Tensor]:
    """Series (N, 6, 4) whose class is the channel that is high."""
    y = torch.arange(count) % 3
    noise = torch.randn(count, 6, 4, generator=torch.Generator().manual_seed(0))
    return 0.5 * noise + nn.functional.one_hot(y, 4).unsqueeze(1), y


def train_on_waves(out: Path | str, resume: bool = False) -> bitspike.Run:
    """Four epochs, each update saved."""
    return bitspike.fit(
        Net, waves(), out, epochs=4, lr=0.02, batch_size=16, training={"checkpoint_seconds": 0.0}, resume=resume
    )


if __name__ == "__main__":
    # Under the name by which it can be imported again.
    importlib.import_module("tests.run.own_net").train_on_waves(sys.argv[1], "--resume" in sys.argv)
