"""One LIF layer, forward and backward, float32: ours, the other libraries and the floor, against T, B and N.

Run: python -m benchmarks.neurons [--quick] [--beside N]. Every layer is checked against float64 on the very input that
is timed (see `reference.check`) before any time is taken. Two floors: `relu`, forward and backward, and its forward
alone: the least that any function of arrays of that size costs in PyTorch, fresh memory for its results included.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from benchmarks import beside, common, layers, reference
from bitspike.neurons import LIF, Neuron, with_steps

HEADLINE = ((500, 16, 512), (100, 16, 512), (100, 128, 1024))
SWEEPS = {
    "T": [(t, 16, 512) for t in (32, 125, 250, 500, 1000, 2000, 4000)],
    "B": [(100, b, 512) for b in (1, 4, 16, 64, 256)],
    "N": [(100, 16, n) for n in (64, 256, 1024, 4096)],
}
QUICK = {"T": [(t, 16, 512) for t in (32, 250, 1000)], "B": [(100, b, 512) for b in (1, 64)], "N": [(100, 16, 4096)]}
SLOW = 1.0  # seconds: a candidate that took this long is left out of longer sweeps
STRONGER = {"exact-lif": 30.0}  # its currents are in other units
FLOOR, FORWARD = "floor: relu, forward and backward", "floor: relu, forward"


def candidates(reset: str = "hard", indexed: bool = False) -> list[layers.Layer]:
    """Ours and the peers; with `indexed`, also the time loops as their documents write them."""
    names = [*layers.own_names(), *layers.installed()]
    if indexed:
        names += [f"{name}, x[t]" for name in names if name in ("snnTorch", "Norse")]
    return [layers.make(name, reset) for name in names]


def drive(shape: tuple[int, int, int]) -> tuple[Tensor, Tensor]:
    """Currents at which about a fifth of the neurons fire, and a gradient of the spikes."""
    source = torch.Generator().manual_seed(sum(shape))
    x = 0.3 * torch.randn(shape, generator=source) + 0.25
    return x, torch.randn(shape, generator=source)


def prepared(layer: layers.Layer, x: Tensor, gs: Tensor) -> tuple[Callable[[], object], dict[str, float]]:
    """The call to be timed, and what its check found. Layout and scale of the input are not timed."""
    mine = layer.arranged(x / layer.equation.gain).requires_grad_()
    upstream = layer.arranged(gs)

    def forward_and_backward() -> Tensor:
        mine.grad = None
        y = layer.run(mine)
        y.backward(upstream)
        return y

    y = forward_and_backward().detach()
    assert mine.grad is not None
    mine_x, y, upstream_y, grad = (layer.arranged(part) for part in (mine.detach(), y, upstream, mine.grad))
    found = reference.check(layer.name, mine_x, y, upstream_y, grad, layer.equation)
    mine.grad = None
    return forward_and_backward, found


def floors(x: Tensor, gs: Tensor) -> dict[str, Callable[[], object]]:
    """relu forward and backward, and forward only."""
    leaf = x.clone().requires_grad_()

    def both() -> None:
        leaf.grad = None
        torch.relu(leaf).backward(gs)

    both()
    return {FLOOR: both, FORWARD: lambda: torch.relu(x)}


def measure(shape: tuple[int, int, int], chosen: Sequence[layers.Layer], seconds: float, most: int) -> dict[str, Any]:
    """All candidates at one shape (T, B, N), interleaved; ratios are to our first back end."""
    x, gs = drive(shape)
    calls, checks = floors(x, gs), {}
    for layer in chosen:
        calls[layer.name], checks[layer.name] = prepared(layer, x, gs)
    times = common.interleave(calls, seconds, most)
    return {
        "shape": list(shape),
        **common.compared(times, chosen[0].name),
        "ratios_to_floor": common.ratios(times, FLOOR),
        "checks": checks,
    }


def models(seconds: float) -> dict[str, Any]:
    """Each of our neurons beside LIF, per state variable, at the first headline shape."""
    x, gs = drive(HEADLINE[0])
    calls: dict[str, Callable[[], object]] = {}
    states, rates = {}, {}
    for kind, model in with_steps().items():
        layer = model()
        layer.back_end = layers.own_names()[0].split(" ")[1]
        leaf = (x * STRONGER.get(kind, 1.0)).requires_grad_()

        def call(layer: Neuron = layer, leaf: Tensor = leaf) -> Tensor:
            leaf.grad = None
            y: Tensor = layer(leaf)
            y.backward(gs)
            return y.detach()

        calls[kind] = call
        states[kind], rates[kind] = len(layer.initial(x[0])), float((call() != 0).float().mean())
    found = common.compared(common.interleave(calls, seconds), LIF.kind)
    each = {kind: found["ratios"][kind] / states[kind] for kind in calls}
    return {"shape": list(HEADLINE[0]), **found, "states": states, "nonzero": rates, "ratios_per_state": each}


def crowded(processes: int, seconds: float) -> list[dict[str, Any]]:
    """Ours on one thread and on all, and beside SpikingJelly where it is installed; see `beside`."""

    def call(shape: tuple[int, int, int]) -> Callable[[], object]:
        return prepared(layers.make(layers.own_names()[0]), *drive(shape))[0]

    def peers(shape: tuple[int, int, int]) -> dict[str, Any]:
        chosen = [layers.make(name) for name in (layers.own_names()[0], "SpikingJelly")]
        return measure(shape, chosen, seconds, 5)

    return beside.measured(HEADLINE, processes, call, peers if "SpikingJelly" in layers.installed() else None, seconds)


def show(title: str, result: dict[str, Any]) -> None:
    """Print one shape's table; ratios to our first back end."""
    print(f"\n{title} {'x'.join(map(str, result['shape']))}, ratio to {result['base']}")
    print(common.ratio_table(result), flush=True)


def sweep(shapes: Sequence[tuple[int, int, int]], chosen: list[layers.Layer], seconds: float) -> list[dict[str, Any]]:
    """Each shape in turn; a candidate that has become too slow is left out of the rest."""
    found = []
    for shape in shapes:
        result = measure(shape, chosen, seconds, most=9)
        found.append(result)
        took = {name: s["median"] / 1e3 for name, s in result["milliseconds"].items()}
        chosen = [layer for layer in chosen if took[layer.name] < SLOW]
        show("sweep", result)
    return found


def main() -> None:
    """Headline shapes, one with soft reset, and the sweeps."""
    parser = argparse.ArgumentParser(description="one LIF layer, forward and backward")
    parser.add_argument("--headline", action="store_true", help="the first three shapes only")
    parser.add_argument(
        "--beside", type=int, default=0, metavar="N", help="threads beside N busy processes, nothing else"
    )
    chosen = common.arguments(__doc__, parser)
    if chosen.beside:
        common.save("neurons_beside", {"headline": crowded(chosen.beside, 1.0 if chosen.quick else 2.0)}, chosen)
        return
    seconds, most = (4.0, 5) if chosen.quick else (14.0, 25)
    result: dict[str, Any] = {"headline": [], "soft": [], "sweeps": {}}
    for shape in HEADLINE:
        # One shape is enough to show what indexing costs.
        result["headline"].append(measure(shape, candidates(indexed=shape == HEADLINE[0]), seconds, most))
        show("hard reset", result["headline"][-1])
    if not chosen.quick and not chosen.headline:
        result["soft"].append(measure(HEADLINE[0], candidates("soft"), seconds, most))
        show("soft reset", result["soft"][-1])
    if not chosen.headline:
        result["models"] = models(seconds)
        print(f"\nper state variable, ratio to LIF: {result['models']['ratios_per_state']}", flush=True)
        for axis, shapes in (QUICK if chosen.quick else SWEEPS).items():
            result["sweeps"][axis] = sweep(shapes, candidates(indexed=axis == "T"), seconds / 6)
    common.save("neurons", result, chosen)


if __name__ == "__main__":
    main()
