"""Products of few-bit operands, as ratios to torch's float32 in this process: interleaved, median and spread.

Run: python benchmarks/products.py. Times include every conversion from and to float32 tensors. "all" is forward and
both gradients. A ratio is float32's time over ours in the same round, so what else the machine does meets both;
`--own-time` counts one thread's own time instead, which other processes hardly touch.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from bitspike.products import Kind, Policy, capabilities, conv2d, explain_product, linear

Call = Callable[[], object]
DENSITIES = (0.02, 0.1, 0.3)
LINEAR = ((6400, 512, 512), (6400, 700, 512), (512, 784, 800))
PAIRS: tuple[tuple[Kind, Policy], ...] = (("signs", "exact"), ("signs", "fast"), ("real", "exact"))
CONVOLUTION = ((200, 16, 17, 32, 3), (512, 24, 14, 64, 5))


def ratios(plain: Call, ours: Call, clock: Callable[[], float], rounds: int) -> tuple[float, list[float]]:
    """Median time of `plain`, and plain/ours per round, sorted."""
    both: tuple[list[float], list[float]] = ([], [])
    for number in range(rounds + 2):
        for call, times in zip((plain, ours), both, strict=True):
            started = clock()
            call()
            if number >= 2:
                times.append(clock() - started)
    return statistics.median(both[0]), sorted(p / o for p, o in zip(*both, strict=True))


def both_ways(product: Callable[[Tensor, Tensor], Tensor], x: Tensor, w: Tensor) -> tuple[Call, Call]:
    """Forward alone, and forward with both gradients."""
    y = product(x, w)
    g = torch.randn(y.shape, generator=torch.Generator().manual_seed(1))

    def forward() -> object:
        with torch.no_grad():
            return product(x, w)

    def everything() -> object:
        x.grad = w.grad = None
        product(x, w).backward(g)
        return x.grad

    return forward, everything


def cases() -> Iterator[tuple[str, Tensor, Tensor, Kind, Policy]]:
    """Name, x, weight, kind of the weight, policy."""
    source = torch.Generator().manual_seed(0)
    shapes: list[tuple[str, tuple[int, ...], tuple[int, ...]]] = []
    for m, k, n in LINEAR:
        shapes.append((f"linear {m}x{k}x{n}", (m, k), (n, k)))
    for b, c, size, o, r in CONVOLUTION:
        shapes.append((f"conv {b}x{c}x{size}x{size} -> {o}, k{r}", (b, c, size, size), (o, c, r, r)))
    for name, x_shape, w_shape in shapes:
        for kind, policy in PAIRS:
            for density in DENSITIES:
                x = (torch.rand(x_shape, generator=source) < density).float().requires_grad_()
                w = torch.randn(w_shape, generator=source)
                w = (torch.where(w > 0, 1.0, -1.0) if kind == "signs" else w).requires_grad_()
                yield f"{name}  spikes {density:.2f} x {kind}, {policy}", x, w, kind, policy


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--own-time", action="store_true")
    parser.add_argument("--only", default="", help="cases whose name has this in it")
    options = parser.parse_args()
    clock = time.perf_counter
    if options.own_time:
        torch.set_num_threads(1)
        clock = time.thread_time
        # Backward then runs on this thread too.
        torch.autograd.set_multithreading_enabled(False)
    print(f"{capabilities().processor}: {capabilities()}; {torch.get_num_threads()} threads, torch {torch.__version__}")
    print(f"{'':<64} {'float32':>9}  ratio (least .. most)")
    last = ""
    for name, x, w, kind, policy in cases():
        if options.only not in name:
            continue
        if (shape := f"{tuple(x.shape)} {kind} {policy}") != last:
            last = shape
            for part in ("forward", "grad_weight", "grad_input"):
                print(f"  {part}: {explain_product(x.shape, w.shape, 'spikes', kind, policy, part)[0]}")
        pad: dict[str, Any] = {} if w.ndim == 2 else {"padding": w.shape[2] // 2}
        mine, plain = (linear, F.linear) if w.ndim == 2 else (conv2d, F.conv2d)
        ours = both_ways(lambda a, b: mine(a, b, "spikes", kind, policy, **pad), x, w)  # noqa: B023
        theirs = both_ways(lambda a, b: plain(a, b, **pad), x, w)  # noqa: B023
        for label, one, other in zip(("forward", "all"), theirs, ours, strict=True):
            if label == "forward" and policy == "fast":
                continue
            base, found = ratios(one, other, clock, options.rounds)
            middle = statistics.median(found)
            print(f"{name + ', ' + label:<64} {base * 1e3:6.2f} ms  {middle:5.2f} ({found[0]:.2f} .. {found[-1]:.2f})")


if __name__ == "__main__":
    main()
