"""The same trained ReLU network made spiking by us and by SpikingJelly's ann2snn: accuracy and time by steps.

Run: python -m benchmarks.relu_conversion [--quick]. Two networks with batch norm, one with means for pools and one
with max pools and a residual sum, trained here in plain PyTorch on MNIST (BITSPIKE_DATA; --quick: digits of 8 x 8).
Both libraries get the same weights, calibration images and steps, and answer by their mean read-out.

Before any time is taken, the folded network's read-outs are compared with the trained one's; and where the pools are
means, ours with SpikingJelly's thresholds and first membrane is compared with SpikingJelly step by step: the read-outs
must agree but for spikes that rounding moves. Each candidate is timed with its own best batch size of BATCHES.
SpikingJelly: one call per step, as its own example does, or its multi-step mode, all steps in one call.
"""

from __future__ import annotations

import argparse
import copy
import time
import warnings
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks import common
from bitspike import RateNetwork, relu_to_spiking
from bitspike.data import load

BATCHES = (10, 25, 50, 100)
IMAGES = 100  # of one timing
OURS = "bitspike"
READOUTS, AGREEMENT = 1e-3, 0.99
Run = Callable[[Tensor, int], Tensor]  # images, steps -> read-outs (T, B, C) of each step


class Block(nn.Module):
    """relu(x + W2 relu(W1 x)), each W with its batch norm."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels)
        self.conv2, self.norm2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels)
        self.relu1, self.relu2 = nn.ReLU(), nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """Same shape as x."""
        y: Tensor = self.relu2(x + self.norm2(self.conv2(self.relu1(self.norm1(self.conv1(x))))))
        return y


def network(kind: str, size: int) -> nn.Sequential:
    """ "average pools" or "max pools, residual", for images (1, size, size)."""

    def layer(inputs: int, outputs: int) -> list[nn.Module]:
        return [nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]

    average = kind == "average pools"
    pool = nn.AvgPool2d if average else nn.MaxPool2d
    middle = layer(32, 32) if average else [Block(32)]
    features = [*layer(1, 32), pool(2), *middle, pool(2), nn.Flatten()]
    return nn.Sequential(*features, nn.Linear(32 * (size // 4) ** 2, 128), nn.ReLU(), nn.Linear(128, 10))


def train(model: nn.Module, x: Tensor, y: Tensor, epochs: int) -> nn.Module:
    """Plain PyTorch."""
    optimiser = torch.optim.AdamW(model.parameters(), 3e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 5e-3, total_steps=epochs * -(-len(x) // 64))
    draw = torch.Generator().manual_seed(0)
    for _ in range(epochs):
        for rows in torch.randperm(len(x), generator=draw).split(64):
            optimiser.zero_grad()
            F.cross_entropy(model(x[rows]), y[rows]).backward()
            optimiser.step()
            schedule.step()
    return model.eval()


def theirs(model: nn.Module, data: Tensor, channels: bool = False, multi: bool = False) -> tuple[Run, nn.Module]:
    """SpikingJelly's conversion, and a function that runs it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from spikingjelly.activation_based import ann2snn, functional
        from spikingjelly.logger import logger

        logger.remove()
        better = {"channel_wise": True, "half_threshold": True, "pre_spike_maxpool": True} if channels else {}
        recipe = ann2snn.RateCodingRecipe(dataloader=data.split(250), mode="99.9%", **better)
        converted = ann2snn.FXConverter(recipe=recipe, device="cpu").convert(copy.deepcopy(model)).eval()
    functional.set_step_mode(converted, "m" if multi else "s")

    @torch.no_grad()
    def run(x: Tensor, steps: int) -> Tensor:
        functional.reset_net(converted)
        if multi:
            out: Tensor = converted(x.expand(steps, *x.shape))
            return out
        return torch.stack([converted(x) for _ in range(steps)])

    return run, converted


def own(net: RateNetwork) -> Run:
    """A function that runs ours."""
    return lambda x, steps: torch.cat(list(net.readouts(x, steps)))


def with_their_thresholds(net: RateNetwork, converted: nn.Module) -> RateNetwork:
    """Ours with the thresholds that SpikingJelly found, in the order of layers."""
    scales = [m.scale for name, m in converted.named_modules() if name.endswith("scaler1")]
    twin = copy.deepcopy(net)
    units = list(twin.units().values())
    if len(scales) != len(units):
        raise AssertionError(f"{len(scales)} of their layers, {len(units)} of ours")
    for unit, scale in zip(units, scales, strict=True):
        unit.neuron.theta = scale.clone()
    return twin


def curve(run: Run, x: Tensor, y: Tensor, steps: int) -> list[float]:
    """Accuracy of the mean read-out after each step."""
    hits = torch.zeros(steps)
    for part, target in zip(x.split(50), y.split(50), strict=True):
        hits += (run(part, steps).cumsum(0).argmax(-1) == target).sum(1)
    return [float(h) / len(x) for h in hits]


def best_batch(run: Run, x: Tensor, steps: int) -> int:
    """The batch size that is fastest for these images."""

    def seconds(batch: int) -> float:
        started = time.perf_counter()
        for part in x.split(batch):
            run(part, steps)
        return time.perf_counter() - started

    return min(BATCHES, key=lambda batch: min(seconds(batch), seconds(batch)))


def measure(
    kind: str, data: Any, epochs: int, few: int, tested: int, steps: list[int], budget: float
) -> dict[str, Any]:
    """Train one network, convert it by each candidate, compare accuracy and time."""
    torch.manual_seed(0)
    train_x, test_x, test_y = data.train.x[:few], data.test.x[:tested], data.test.y[:tested]
    model = train(network(kind, data.shape[-1]), train_x, data.train.y[:few], epochs)
    seen, most, average = train_x[:500], steps[-1], kind == "average pools"
    layered = relu_to_spiking(model, seen)
    runs: dict[str, Run] = {
        OURS: own(layered),
        "bitspike, channels": own(relu_to_spiking(model, seen, scale="channel")),
    }
    runs["bitspike, from 0"] = own(relu_to_spiking(model, seen, start=0.0))
    runs["SpikingJelly"], converted = theirs(model, seen)
    runs["SpikingJelly, multi-step"], _ = theirs(model, seen, multi=True)
    runs["SpikingJelly, channels, half threshold"], _ = theirs(model, seen, channels=True)

    with torch.no_grad():
        want = model(test_x[:IMAGES])
    distance = float((layered.ann(test_x[:IMAGES]) - want).abs().max() / want.abs().max())
    if not distance < READOUTS:
        raise AssertionError(f"the folded network is {distance:.1e} away from the trained one")
    checks: dict[str, Any] = {"folded_distance": distance}
    if average:
        same = own(with_their_thresholds(relu_to_spiking(model, seen, start=0.0), converted))(test_x[:IMAGES], most)
        other = runs["SpikingJelly"](test_x[:IMAGES], most)
        checks["same_readouts"] = float(((same - other).abs() < 1e-3 * other.abs().max()).float().mean())
        if not checks["same_readouts"] > AGREEMENT:
            raise AssertionError(f"only {checks['same_readouts']:.1%} of the read-outs are SpikingJelly's")

    with torch.no_grad():
        ann = float((torch.cat([model(x) for x in test_x.split(250)]).argmax(1) == test_y).float().mean())
    accuracy = {name: curve(run, test_x, test_y, most) for name, run in runs.items()}
    x = test_x[:IMAGES]
    batches = {name: best_batch(run, x, min(16, most)) for name, run in runs.items()}
    times = {}
    for number in steps:
        calls = {
            name: (lambda run=run, name=name, number=number: [run(part, number) for part in x.split(batches[name])])
            for name, run in runs.items()
        }
        times[str(number)] = common.compared(common.interleave(calls, budget / len(steps)), OURS)
    return {
        "network": kind, "images": len(test_x), "ann": ann, "steps": steps, "accuracy": accuracy, "batches": batches,
        "within_a_point": {name: reached(found, ann) for name, found in accuracy.items()}, "checks": checks,
        "timed_images": len(x), "times": times,
    }  # fmt: skip


def reached(accuracy: list[float], ann: float) -> int | None:
    """The first step from which on the accuracy is within a point of the ReLU network's."""
    below = [step for step, found in enumerate(accuracy, 1) if found < ann - 0.01]
    first = below[-1] + 1 if below else 1
    return first if first <= len(accuracy) else None


def show(found: dict[str, Any]) -> None:
    """Accuracy and time of each candidate by steps."""
    names, steps = list(found["accuracy"]), found["steps"]
    print(f"\n{found['network']}: {found['images']} images, ReLU network {found['ann']:.2%}; checks {found['checks']}")
    rows = [
        [name, *(f"{found['accuracy'][name][n - 1]:.2%}" for n in steps), str(found["within_a_point"][name])]
        for name in names
    ]
    print(common.table(rows, ["accuracy after steps", *map(str, steps), "within 1 point from"]))
    rows = [
        [name, *(f"{found['times'][str(n)]['milliseconds'][name]['least']:.1f}" for n in steps),
         *(f"{found['times'][str(n)]['ratios'][name]:.2f}" for n in steps[-1:]), str(found["batches"][name])]
        for name in names
    ]  # fmt: skip
    heads = [f"least ms for {found['timed_images']} images", *map(str, steps), f"ratio at {steps[-1]}", "batch"]
    print(common.table(rows, heads), flush=True)


def main() -> None:
    """Both networks."""
    chosen = common.arguments(__doc__, argparse.ArgumentParser(description="ReLU networks made spiking"))
    if chosen.quick:
        data, plan = load("digits"), (3, 1000, 200, [1, 4, 16], 4.0)
    else:
        data, plan = load("mnist"), (2, 20_000, 1000, [1, 2, 4, 8, 16, 32, 64, 128, 256], 120.0)
    result = []
    for kind in ("average pools", "max pools, residual"):
        result.append(measure(kind, data, *plan))
        show(result[-1])
    common.save("relu_conversion", {"data": data.name, "networks": result}, chosen)


if __name__ == "__main__":
    main()
