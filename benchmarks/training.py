"""A whole training step (forward, loss, backward, Adam): ours, the other libraries, and the bare products.

Run: python -m benchmarks.training [--quick]. Same layers, batch, surrogate and optimiser for all (`networks`). Before
any time is taken, each network's loss and gradients are compared with the same network in float64: within LOSS and
GRADIENT, since a spike that rounds the other way changes what follows it. Then 200 steps of ours in float32, of plain
PyTorch in float32 and of the float64 network are taken from the same start on the same batches.
"""

from __future__ import annotations

import argparse
import os
import statistics
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks import common, layers
from benchmarks.networks import CONV, MLP, Neurons, Spec, Trainer, copy_weights, ours, plain, wake
from bitspike.coding import EventBins
from bitspike.data import Events, load
from bitspike.models.explain import explain_backend

LOSS, GRADIENT = 1e-3, 1e-2
OURS = ("bitspike cpu, exact", "bitspike cpu, fast", "bitspike reference, float32")
FLOOR = "floor: products alone"
CASES: tuple[tuple[Spec, bool], ...] = ((MLP, True), (MLP, False), (CONV, False))


def batch(spec: Spec, seed: int, source: str = "made") -> tuple[Tensor, Tensor]:
    """Spikes (T, B, *shape) and classes (B,): every class drives its own third of the inputs, 3 % of them a step."""
    draw = torch.Generator().manual_seed(seed)
    y = torch.randint(0, spec.outputs, (spec.B,), generator=draw)
    if source == "N-MNIST":
        # Recordings of 0.3 s in T bins.
        split = load("nmnist").train
        assert isinstance(split.x, Events)
        chosen = torch.randperm(len(split), generator=draw)[: spec.B]
        return EventBins(spec.T, 300 / spec.T)(split.x[chosen], split.index[chosen]), split.y[chosen]
    profile = torch.rand(spec.outputs, *spec.shape, generator=torch.Generator().manual_seed(0)) < 1 / 3
    rates = torch.where(profile[y], 0.07, 0.01)
    return (torch.rand(spec.T, *rates.shape, generator=draw) < rates).float(), y


def peer(name: str, spec: Spec, binary: bool, like: nn.Module, data: tuple[Tensor, Tensor]) -> Trainer:
    """The network with another library's neurons, starting from the weights of `like`."""
    layer = layers.make(name)
    model = plain(spec, binary, lambda: Neurons(name))
    copy_weights(like, model, layer.equation.gain)
    return Trainer(model, layer.arranged(data[0]), data[1], time=int(layer.batch_first))


def double(spec: Spec, binary: bool, like: nn.Module, data: tuple[Tensor, Tensor]) -> Trainer:
    """The same network in float64, on the reference."""
    model = plain(spec, binary, lambda: layers.neuron("reference")).double()
    copy_weights(like, model)
    return Trainer(model, data[0].double(), data[1])


def gradients(trainer: Trainer) -> tuple[float, list[Tensor]]:
    """Loss and the gradients of the matrices and kernels."""
    trainer.optimiser.zero_grad()
    loss = trainer.loss()
    loss.backward()
    return float(loss.detach()), [
        p.grad.double() for p in trainer.model.parameters() if p.ndim > 1 and p.grad is not None
    ]


def check(name: str, trainer: Trainer, expected: tuple[float, list[Tensor]]) -> dict[str, float]:
    """Loss and gradients beside float64's; see the module."""
    loss, found = gradients(trainer)
    off = abs(loss - expected[0]) / expected[0]
    pairs = zip(found, expected[1], strict=True)
    worst = max(float((g - e).norm() / e.norm()) for g, e in pairs)
    if not (off < LOSS and worst < GRADIENT):
        raise AssertionError(f"{name}: loss {off:.1e} and gradient {worst:.1e} away from float64")
    return {"loss_error": off, "gradient_error": worst}


def measure(spec: Spec, binary: bool, source: str, seconds: float, most: int) -> dict[str, Any]:
    """All candidates' steps, interleaved, and the bare products of the same network."""
    data = batch(spec, 1, source)
    mine = OURS if "bitspike cpu" in layers.own_names() else OURS[-1:]
    trainers = {name: Trainer(ours(spec, binary, name), *data) for name in mine}
    start = trainers[mine[0]].model
    rates = wake(start, data[0])
    for name in mine[1:]:
        copy_weights(start, trainers[name].model)
    trainers |= {name: peer(name, spec, binary, start, data) for name in layers.installed()}
    expected = gradients(double(spec, binary, start, data))
    checks = {name: check(name, trainer, expected) for name, trainer in trainers.items()}
    # The optimiser takes its first step outside the time: it makes its state then.
    calls: dict[str, Callable[[], object]] = {name: trainer.step for name, trainer in trainers.items()}
    products = Trainer(plain(spec, binary, nn.Identity, scaled=False), *data)
    calls[FLOOR] = lambda: gradients(products)
    for call in calls.values():
        call()
    weights = "binary" if binary else "float32"
    return {
        "network": spec.title,
        "weights": weights,
        "input": f"{source}, {float(data[0].mean()):.2%} of inputs at 1",
        **common.compared(common.interleave(calls, seconds, most), mine[0]),
        "spikes": rates,
        "checks": checks,
        "takes": [[row.layer, row.kind, row.takes] for row in explain_backend(trainers[mine[0]].model, data[0])],
    }


def curve(binary: bool, steps: int) -> dict[str, Any]:
    """Losses of `steps` steps of the MLP: ours, plain float32 and float64; B = 16 to keep it short."""
    spec = Spec("mlp", MLP.shape, MLP.outputs, MLP.layers, MLP.T, 16)
    data = batch(spec, 1)
    start = ours(spec, binary)
    wake(start, data[0])
    runs = {"float64": double(spec, binary, start, data), "bitspike": Trainer(start, *data)}
    torch32 = plain(spec, binary, lambda: layers.neuron("reference"))
    copy_weights(start, torch32)
    runs["torch float32"] = Trainer(torch32, *data)
    losses: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(steps):
        x, y = batch(spec, 1000 + number)
        for name, run in runs.items():
            run.x, run.y = (x.double() if name == "float64" else x), y
            losses[name].append(float(run.step()))
    distance = {
        name: statistics.fmean(abs(a - b) for a, b in zip(values, losses["float64"], strict=True))
        for name, values in losses.items()
        if name != "float64"
    }
    return {"weights": "binary" if binary else "float32", "losses": losses, "mean_distance_to_float64": distance}


def sources(quick: bool) -> Iterator[tuple[Spec, bool, str]]:
    """Each case with its input: recorded N-MNIST where BITSPIKE_DATA has it. A quick run is short in T and B."""
    for spec, binary in CASES:
        source = "N-MNIST" if spec is CONV and os.environ.get("BITSPIKE_DATA") else "made"
        yield replace(spec, T=25, B=8) if quick else spec, binary, source


def main() -> None:
    """Steps of both networks, then the loss curves."""
    parser = argparse.ArgumentParser(description="a whole training step")
    parser.add_argument("--no-curve", action="store_true", help="times only")
    chosen = common.arguments(__doc__, parser)
    seconds, most = (4.0, 3) if chosen.quick else (20.0, 15)
    result: dict[str, Any] = {"steps": [], "curves": []}
    for spec, binary, source in sources(chosen.quick):
        found = measure(spec, binary, source, seconds, most)
        result["steps"].append(found)
        print(f"\n{found['network']}, {found['weights']} weights, ratio to {found['base']}")
        print(common.ratio_table(found), flush=True)
    if not chosen.no_curve:
        for binary in (True, False):
            result["curves"].append(curve(binary, 20 if chosen.quick else 200))
            found = result["curves"][-1]
            print(f"\n{found['weights']} weights, distance to float64: {found['mean_distance_to_float64']}", flush=True)
    common.save("training", result, chosen)


if __name__ == "__main__":
    main()
