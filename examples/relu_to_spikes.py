"""An ordinary PyTorch network, trained and saved elsewhere, made spiking: its accuracy after 1, 2, 4, ... 256 steps.

Run: python examples/relu_to_spikes.py            handwritten digits of 8 x 8, which come with scikit-learn
     python examples/relu_to_spikes.py mnist      MNIST, from the folder that BITSPIKE_DATA names
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

STEPS = 256


class Net(nn.Module):
    """Plain PyTorch: batch norm, a max pool, one residual sum. Knows nothing of time, of spikes, or of bitspike."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(1, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16)
        self.first, self.norm1 = nn.Conv2d(16, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16)
        self.second, self.norm2 = nn.Conv2d(16, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16)
        self.dropout = nn.Dropout(0.2)
        self.dense, self.out = nn.Linear(16 * (size // 4) ** 2, 64), nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Images (B, 1, size, size) to scores (B, 10)."""
        h = F.max_pool2d(F.relu(self.norm(self.stem(x))), 2)
        inner = self.norm2(self.second(F.relu(self.norm1(self.first(h)))))
        h = F.avg_pool2d(F.relu(h + inner), 2)
        scores: Tensor = self.out(F.relu(self.dense(self.dropout(torch.flatten(h, 1)))))
        return scores


def train(model: nn.Module, x: Tensor, y: Tensor, epochs: int) -> None:
    """A loop as anyone would write it."""
    optimiser = torch.optim.AdamW(model.parameters(), 3e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 1e-2, total_steps=epochs * -(-len(x) // 64))
    for _ in range(epochs):
        for rows in torch.randperm(len(x)).split(64):
            optimiser.zero_grad()
            F.cross_entropy(model(x[rows]), y[rows]).backward()
            optimiser.step()
            schedule.step()


if __name__ == "__main__":
    from bitspike import accuracy_curve, relu_to_spiking
    from bitspike.data import load

    torch.manual_seed(0)
    name = sys.argv[1] if len(sys.argv) > 1 else "digits"
    data = load(name)
    few, epochs = (10_000, 2) if name == "mnist" else (len(data.train), 12)
    size, test = data.shape[-1], (data.test.x[:1000], data.test.y[:1000])

    model = Net(size)
    train(model, data.train.x[:few], data.train.y[:few], epochs)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "net.pt"
        torch.save(model.state_dict(), path)
        # From here on nothing is known but the class and the file.
        net = relu_to_spiking(lambda: Net(size), data.train.x[:500], state=path)

    started = time.perf_counter()
    curve = accuracy_curve(net, [test], STEPS)
    print(f"{name}: {curve.examples:,} test images, {STEPS} steps in {time.perf_counter() - started:.1f} s")
    print("| steps | accuracy |\n| ---: | ---: |")
    for power in range(STEPS.bit_length()):
        print(f"| {2**power} | {curve.accuracy[2**power - 1]:.2%} |")
    print(f"| ReLU network | {curve.ann:.2%} |")
    print(f"| its activations cut off at the thresholds | {curve.limit:.2%} |")
    gap, reached = curve.ann - curve.accuracy[-1], curve.reached(0.01)
    print(f"gap after {STEPS} steps: {100 * gap:.2f} points; within 1 point from step {reached} on")
    for layer, rate in curve.rates.items():
        print(f"  {layer:<10} {curve.neurons[layer]:>6,} neurons, {rate:.3f} spikes per neuron and step")
