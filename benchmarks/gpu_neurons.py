"""One LIF layer on a CUDA device, forward and backward, float32: our Triton kernels, the PyTorch loop, SpikingJelly.

Run: python -m benchmarks.gpu_neurons [--quick]. Needs a CUDA device; SpikingJelly takes part where it is installed, on
its Triton path or the one that SJ_LIF_CUDA_IMPLEMENTATION names. Correctness comes first, at every shape: our spikes
equal those of the PyTorch loop on the processor and on the device bit for bit, and gradients agree.

Candidates are timed in turn with the device's own clock; a ratio is the median over rounds of (candidate's time /
ours of the same round). The floor moves the same bytes: six arrays of the input's size, read or written once each.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bitspike.errors import BitspikeError, refuse
from bitspike.kernels import Recurrence, run
from bitspike.neurons import LIF, Surrogate

SHAPES = [(t, 16, 512) for t in (32, 64, 128, 250, 500)] + [(100, 128, 1024), (100, 512, 4096)]
QUICK = [(32, 16, 512), (500, 16, 512)]
OURS, LOOP, FLOOR = "bitspike cuda", "PyTorch loop", "floor"
BOUND = {torch.float32: 1e-5, torch.float64: 1e-12}
Call = Callable[[], object]


def layer(back_end: str) -> LIF:
    """A LIF layer with hard reset on a back end."""
    made = LIF(5.0, reset="hard", surrogate=Surrogate("fast-sigmoid"))
    made.back_end = back_end
    return made


def drive(shape: tuple[int, int, int], dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    """Currents at which about a fifth of the neurons fire, and a gradient of the spikes; on the processor."""
    source = torch.Generator().manual_seed(sum(shape))
    x = 0.3 * torch.randn(shape, generator=source) + 0.25
    return x.to(dtype), torch.randn(shape, generator=source).to(dtype)


def check(shape: tuple[int, int, int], dtype: torch.dtype) -> dict[str, float]:
    """Our spikes and gradient against the PyTorch loop's. Raises BitspikeError where they differ."""
    x, gs = drive(shape, dtype)
    model = layer("reference")
    # Numbers, computed once: exp on the device may end in another digit.
    p = type(model.constants())(*map(float, model.constants()))
    recurrence = Recurrence(model.step, type(model.initial(x[0])), type(p), model.spike)
    results = []
    for back_end, device in (("cuda", "cuda"), ("reference", "cuda"), ("reference", "cpu")):
        leaf = x.to(device).requires_grad_()
        spikes, _ = run(recurrence, leaf, model.initial(leaf[0].detach()), p, back_end)
        spikes.backward(gs.to(device))
        assert leaf.grad is not None
        results.append((spikes.detach().cpu(), leaf.grad.cpu()))
    (spikes, gradient), *references = results
    worst = 0.0
    for place, (expected, exact) in zip(("device", "processor"), references, strict=True):
        if not torch.equal(spikes, expected):
            refuse(
                f"spikes at {shape}, {dtype}", f"{int((spikes != expected).sum())} others than the {place}'s", "none"
            )
        worst = max(worst, float((gradient - exact).norm() / exact.norm()))
    if not worst <= BOUND[dtype]:
        refuse(f"gradient at {shape}, {dtype}", f"a relative difference of {worst:.1e}", f"{BOUND[dtype]:.0e} at most")
    return {"rate": float(spikes.mean()), "gradient": worst}


def candidates(x: Tensor, gs: Tensor) -> dict[str, Call]:
    """Forward and backward of each, by name."""
    path = os.environ.setdefault("SJ_LIF_CUDA_IMPLEMENTATION", "triton")  # read when it is imported
    runs: dict[str, Callable[[Tensor], Tensor]] = {OURS: layer("cuda").to("cuda"), LOOP: layer("reference").to("cuda")}
    try:
        from spikingjelly.activation_based import functional, neuron, surrogate
    except ImportError as error:
        print(f"SpikingJelly is left out: {error}", file=sys.stderr)
    else:
        beta = float(layer("cuda").constants().beta)
        peer = neuron.LIFNode(
            1 / (1 - beta), decay_input=False, v_reset=0.0, detach_reset=True, step_mode="m",
            surrogate_function=surrogate.SuperSpike(alpha=1.0),
        ).to("cuda")  # fmt: skip

        def run_peer(x: Tensor) -> Tensor:
            functional.reset_net(peer)
            out: Tensor = peer(x)
            return out

        runs[f"SpikingJelly ({path})"] = run_peer

    def both(layer_run: Callable[[Tensor], Tensor]) -> Call:
        leaf = x.clone().requires_grad_()

        def call() -> None:
            leaf.grad = None
            layer_run(leaf).backward(gs)

        return call

    arrays = [torch.empty_like(x) for _ in range(3)]
    return {**{name: both(layer_run) for name, layer_run in runs.items()}, FLOOR: lambda: [a.copy_(x) for a in arrays]}


def timed(calls: dict[str, Call], rounds: int) -> dict[str, list[float]]:
    """Milliseconds of each call, in turn, round after round, after three rounds to warm up."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    names = list(calls)
    for turn in range(-3, rounds):
        for place in range(len(names)):
            name = names[(place + turn) % len(names)]
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            torch.cuda.synchronize()
            start.record()
            calls[name]()
            end.record()
            torch.cuda.synchronize()
            if turn >= 0:
                times[name].append(start.elapsed_time(end))
    return times


def measure(shape: tuple[int, int, int], rounds: int) -> dict[str, Any]:
    """One shape: checks, median milliseconds, and ratios to ours."""
    checks = {str(dtype): check(shape, dtype) for dtype in BOUND}
    x, gs = (part.to("cuda") for part in drive(shape))
    times = timed(candidates(x, gs), rounds)
    ratio = {n: statistics.median(t / o for t, o in zip(v, times[OURS], strict=True)) for n, v in times.items()}
    medians = {name: statistics.median(values) for name, values in times.items()}
    print(
        f"T x B x N = {shape}", *(f"{n} {m:.3f} ms ({ratio[n]:.2f})" for n, m in medians.items()), sep="   ", flush=True
    )
    return {"shape": shape, "checks": checks, "milliseconds": medians, "ratio to ours": ratio}


def main() -> None:
    """Measure all shapes and write results/benchmarks/gpu_neurons-DEVICE.json (--quick: runs/benchmarks)."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer shapes and rounds; written to runs/benchmarks")
    chosen = parser.parse_args()
    if not torch.cuda.is_available():
        refuse("device", "none that torch can use through CUDA", "a GPU, and a torch built for it")
    device = torch.cuda.get_device_name()
    print(device)
    found = [measure(shape, 5 if chosen.quick else 25) for shape in (QUICK if chosen.quick else SHAPES)]
    folder = Path(__file__).parents[1] / ("runs" if chosen.quick else "results") / "benchmarks"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"gpu_neurons-{re.sub(r'[^a-z0-9]+', '-', device.lower()).strip('-')}.json"
    import triton

    versions = {"torch": torch.__version__, "triton": triton.__version__, "cuda": torch.version.cuda}
    path.write_text(json.dumps({"device": device, "versions": versions, "layers": found}, indent=1) + "\n")
    print(f"written: {path}", file=sys.stderr)


if __name__ == "__main__":
    try:
        main()
    except BitspikeError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
