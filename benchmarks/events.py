"""Sums over events beside torch's dense products of the same layer and inputs, by the share that is not zero.

Run: python -m benchmarks.events [--quick]. Layers are those of soft-LIF's CIFAR-10 and MNIST networks, inputs spikes
counted by a pool (whole numbers), rows those of a chunk of 20 steps. Before a time is taken, every candidate is
compared with float64.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks import common
from bitspike.layers import Local2d, by_events

LAYERS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], int]] = {
    "convolution 5x5, 64 to 64 at 12x12": (lambda: nn.Conv2d(64, 64, 5, padding=2), (64, 12, 12), 80),
    "convolution 5x5, 16 to 64 at 14x14": (lambda: nn.Conv2d(16, 64, 5, padding=2), (16, 14, 14), 220),
    "local 3x3, 64 to 64 at 6x6": (lambda: Local2d(64, 64, (6, 6), 3, 1, 1), (64, 6, 6), 80),
    "local 3x3, 64 to 32 at 6x6": (lambda: Local2d(64, 32, (6, 6), 3, 1, 1), (64, 6, 6), 80),
    "linear, 3136 to 2000": (lambda: nn.Linear(3136, 2000), (3136,), 220),
}
SHARES = (0.02, 0.05, 0.1, 0.2, 0.25)  # beyond, a layer multiplies
OURS, DENSE, ROUNDED = "events", "dense", "dense, bfloat16"
ERROR = {OURS: 1e-5, DENSE: 1e-5, ROUNDED: 2e-2}  # of the largest output


def rows_of(shape: tuple[int, ...], count: int, share: float) -> Tensor:
    """Inputs (count, *shape), images with their channels last."""
    x = torch.where(torch.rand(count, *shape) < share, torch.randint(1, 5, (count, *shape)).float(), torch.zeros(()))
    return x.contiguous(memory_format=torch.channels_last) if x.ndim == 4 else x


def candidates(layer: nn.Module) -> dict[str, Callable[[Tensor], Tensor]]:
    """Ways to compute one layer."""
    few = by_events.EventLayer.make(layer)
    if few is None:
        raise AssertionError("no sums over events here")
    rounded = copy.deepcopy(layer).bfloat16()

    def ours(x: Tensor) -> Tensor:
        y = few(x)
        if y is None:
            raise AssertionError("the layer was not summed")
        return y

    return {OURS: ours, DENSE: layer, ROUNDED: lambda x: rounded(x.bfloat16()).float()}


@torch.no_grad()
def measure(name: str, share: float, budget: float) -> dict[str, Any]:
    """Errors and times of one layer at one share."""
    make, shape, count = LAYERS[name]
    torch.manual_seed(0)
    layer = make()
    if isinstance(layer, nn.Conv2d):
        layer = layer.to(memory_format=torch.channels_last)
    x = rows_of(shape, count, share)
    want, errors = copy.deepcopy(layer).double()(x.double()), {}
    ways = candidates(layer)
    for each, way in ways.items():
        errors[each] = float((way(x).double() - want).abs().max() / want.abs().max())
        if not errors[each] < ERROR[each]:
            raise AssertionError(f"{name}, {each}: {errors[each]:.1e} away from float64")
    calls = {each: (lambda way=way: way(x)) for each, way in ways.items()}
    times = common.compared(common.interleave(calls, budget), OURS)
    return {"layer": name, "rows": count, "share": share, "errors": errors, **times}


def main() -> None:
    """Every layer at every share."""
    chosen = common.arguments(__doc__, argparse.ArgumentParser(description="sums over events and dense products"))
    shares, budget = ((0.1,), 0.5) if chosen.quick else (SHARES, 4.0)
    found = [measure(name, share, budget) for name in LAYERS for share in shares]
    rows = [
        [
            f"{row['layer']}, {row['share']:.0%}",
            f"{row['milliseconds'][OURS]['median']:.2f}",
            *(f"{row['ratios'][each]:.2f}" for each in (DENSE, ROUNDED)),
            *(f"{row['least_ratios'][each]:.2f}" for each in (DENSE, ROUNDED)),
        ]
        for row in found
    ]
    heads = ["layer, inputs not zero", "ms", DENSE, ROUNDED, f"{DENSE}, of the least", f"{ROUNDED}, of the least"]
    print(common.table(rows, heads))
    common.save("events", {"layers": found}, chosen)


if __name__ == "__main__":
    main()
