"""Small networks of every style that is made spiking in these tests."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def seeded(make: Any, *arguments: Any) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made: nn.Module = make(*arguments)
    return made.eval()


class ConvNet(nn.Module):
    """Modules, one of them used twice and in place, a function, and a residual sum that meets the plain input."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = nn.Conv2d(1, 6, 3, padding=1), nn.BatchNorm2d(6)
        self.act = nn.ReLU(inplace=True)
        self.second, self.skip = nn.Conv2d(6, 6, 3, padding=1), nn.Conv2d(1, 6, 1)
        self.dense, self.out = nn.Linear(6 * 16, 12), nn.Linear(12, 4)

    def forward(self, x: Tensor) -> Tensor:
        h = self.act(self.norm(self.first(x)))
        h = self.act(self.second(h) + self.skip(x))
        h = F.leaky_relu(self.dense(F.avg_pool2d(h, 2).flatten(1)), 0.2)
        return self.out(h)


class Sized(nn.Module):
    """Asks for the batch before the first nonlinearity and uses it behind."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.out = nn.Conv2d(1, 3, 3), nn.Linear(3 * 36, 4)

    def forward(self, x: Tensor) -> Tensor:
        batch = x.shape[0]
        return self.out(torch.tanh(self.first(x)).reshape(batch, -1))


class Branching(nn.Module):
    """What torch.fx cannot trace; its nonlinearities are modules."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.act, self.out = nn.Linear(64, 16), nn.Tanh(), nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        h = self.first(x.flatten(1))
        if bool((h > 1e9).any()):
            h = h.clamp(max=1e9)
        return self.out(self.act(h))


class GatedCell(nn.Module):
    """A cell like a GRU's of a user's own; one sigmoid for two gates."""

    def __init__(self, inputs: int, units: int, functions: bool = False) -> None:
        super().__init__()
        self.units, self.functions = units, functions
        self.gates, self.new = nn.Linear(inputs + units, 2 * units), nn.Linear(inputs + units, units)
        self.sigmoid, self.tanh = nn.Sigmoid(), nn.Tanh()

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        both = self.gates(torch.cat([x, h], 1))
        if self.functions:
            z, r = torch.sigmoid(both[:, : self.units]), both[:, self.units :].sigmoid()
            n = torch.tanh(self.new(torch.cat([x, r * h], 1)))
        else:
            z, r = self.sigmoid(both[:, : self.units]), self.sigmoid(both[:, self.units :])
            n = self.tanh(self.new(torch.cat([x, r * h], 1)))
        return h + z * (n - h)


class OverTime(nn.Module):
    """Steps a cell through a sequence (T, B, F)."""

    def __init__(self, cell: nn.Module, units: int) -> None:
        super().__init__()
        self.cell, self.units, self.out = cell, units, nn.Linear(units, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = x.new_zeros(x.shape[1], self.units)
        for row in x:
            h = self.cell(row, h)
        return self.out(h)


def images(count: int = 5) -> Tensor:
    return torch.rand(count, 1, 8, 8, generator=torch.Generator().manual_seed(1))


def sequences(steps: int = 7, count: int = 5) -> Tensor:
    return torch.rand(steps, count, 4, generator=torch.Generator().manual_seed(2))
