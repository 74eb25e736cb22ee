"""An ordinary PyTorch network made spiking after training, measured at many step sizes, and given back.

Run: python examples/hybridise.py
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bitspike.convert import dehybridise, hybridise
from bitspike.data import load
from bitspike.energy import sweep


class Net(nn.Module):
    """Knows nothing of time or spikes; one nonlinearity is a module, the other a function."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.act = nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU()
        self.dense, self.out = nn.Linear(256, 64), nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Images (B, 1, 8, 8) to scores (B, 10)."""
        # The pool stands before the nonlinearity: the same network, and right for spikes too.
        h = self.act(F.max_pool2d(self.norm(self.conv(x)), 2))
        y: Tensor = self.out(F.relu(self.dense(h.flatten(1))))
        return y


if __name__ == "__main__":
    torch.manual_seed(0)
    digits = load("digits")
    model = Net()
    optimiser = torch.optim.AdamW(model.parameters(), 3e-3)
    for _ in range(8):
        for rows in torch.randperm(len(digits.train)).split(64):
            optimiser.zero_grad()
            F.cross_entropy(model(digits.train.x[rows]), digits.train.y[rows]).backward()
            optimiser.step()
    model.eval()

    # Step sizes are relative to what each layer gives on these examples: 1 is one spike at its 99.9th percentile.
    spiking = hybridise(model, 1.0, steps=1, data=digits.train.x[:500])
    print("quantised:", ", ".join(spiking.quantised()))
    test = [(digits.test.x, digits.test.y, digits.test.index)]
    for row in sweep(spiking, test, (math.inf, 16, 8, 4, 2, 1), steps=(1, 2, 4)):
        if row["factor"] is None:
            print(f"static: {row['accuracy']:.1%}")
            continue
        print(
            f"{row['steps']} x {row['factor']:<4g} {row['accuracy']:.1%}  {row['bits']:.2f} bits per activation  "
            f"{row['spikes']:.2f} spikes per neuron  {row['adds']:,.0f} additions"
        )
    assert dehybridise(spiking) is model
