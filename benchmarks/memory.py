"""Memory of one LIF layer: what autograd saves for the backward pass, what stays after forward, and the peak.

Run: python -m benchmarks.memory [--quick]. One process per case. All in bytes per (t, b, n), float32:

    saved    distinct storages that `saved_tensors_hooks` sees, each counted once with all its bytes, bit-packed
             ones too; the layer's input is listed apart
    held     growth of the process from before to after the forward pass; it also sees what the hooks cannot
    peak     highest growth of the process over forward and backward; includes spikes and the gradient of the input,
             4 bytes each, without the input and the spikes' gradient, which were there before
    left     growth when all of it is freed again: what a pool of the library's own keeps for next time

Each case has run once before, and what it freed, our pool too, went back to the system. "pair" cases put a 512 x 512
product before the neurons, real weights, given spikes as its input: torch's float32 product, and ours of spikes
("few"), which is faster. `Recomputed` keeps neither current nor membrane.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import gc
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks import common, layers, neurons
from bitspike.layers import FewBitLinear, Recomputed, Stepwise

B, N = 16, 512
STEPS, QUICK = (100, 500, 2000), (100, 500)
PAIR_STEPS = 1000
RECOMPUTED = "bitspike cpu, recomputed"
FIELDS = ("saved", "saved_input", "saved_output", "held", "peak", "left")
Case = Callable[[str, int], tuple[Callable[[], Tensor], Tensor]]


def resident(field: str) -> int:
    """VmRSS (resident now) or VmHWM (most since the last `forget_peak`) in bytes."""
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith(field):
            return int(line.split()[1]) * 1024
    raise OSError(f"{field} is not in /proc/self/status")


def trim() -> None:
    """Return what the C library keeps of freed memory to the system."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)


def give_back() -> None:
    """Return freed memory to the system, so that what follows is not served from it, and set VmHWM back to VmRSS."""
    with contextlib.suppress(ImportError):
        from bitspike.kernels.cpu import buffers

        buffers.release()
    trim()
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")


def storages(call: Callable[[], Tensor]) -> tuple[Tensor, dict[int, int]]:
    """The output of `call`, and address and bytes of each storage that autograd saved on the way."""
    found: dict[int, int] = {}
    kept: list[Tensor] = []  # alive, so that no address is used twice

    def pack(saved: Tensor) -> Tensor:
        kept.append(saved.detach())
        storage = saved.untyped_storage()
        found[storage.data_ptr()] = storage.nbytes()
        return saved

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda saved: saved):
        y = call()
    return y, found


def pair(name: str, steps: int, few: bool = False) -> tuple[Callable[[], Tensor], Tensor]:
    """A product and neurons over given spikes, (T, B, N): the call and its input."""
    linear = FewBitLinear(N, N, bias=False, x_kind="spikes") if few else nn.Linear(N, N, bias=False)
    product, x = Stepwise(linear), (torch.rand(steps, B, N) < 0.1).float()
    if name == RECOMPUTED:
        whole = Recomputed(product, layers.neuron("cpu"))
        return lambda: whole(x), x
    layer = layers.make(name)
    return lambda: layer.run(product(x)), x


def alone(name: str, steps: int) -> tuple[Callable[[], Tensor], Tensor]:
    """Neurons on real-valued currents."""
    layer = layers.make(name)
    x = layer.arranged(neurons.drive((steps, B, N))[0] / layer.equation.gain).requires_grad_()
    return lambda: layer.run(x), x


def case(name: str, steps: int, make: Case) -> dict[str, float]:
    """Measure in this process."""
    torch.manual_seed(0)
    cells = steps * B * N
    call, x = make(name, steps)
    gs = torch.randn(call().shape)
    # Compilation and first-use buffers are not the layer's memory over time.
    call().backward(gs)
    x.grad = None
    give_back()
    before = resident("VmRSS")
    y = call()
    held = resident("VmRSS") - before
    y.backward(gs)
    peak = resident("VmHWM") - before
    del y
    x.grad = None
    trim()
    left = resident("VmRSS") - before
    y, found = storages(call)
    own = found.pop(x.untyped_storage().data_ptr(), 0)
    output = found.get(y.untyped_storage().data_ptr(), 0)
    parts = {"saved": sum(found.values()), "saved_input": own, "saved_output": output}
    parts |= {"held": held, "peak": peak, "left": left}
    return {key: value / cells for key, value in parts.items()}


def pair_of_few_bits(name: str, steps: int) -> tuple[Callable[[], Tensor], Tensor]:
    """As `pair`, the product one of spikes."""
    return pair(name, steps, few=True)


def pair_times(names: Sequence[str], seconds: float, make: Case = pair, hidden: bool = False) -> dict[str, Any]:
    """Forward and backward of the pairs, interleaved in this process; hidden: with the gradient of their input."""
    calls: dict[str, Callable[[], object]] = {}
    for name in names:
        call, x = make(name, PAIR_STEPS)
        x.requires_grad_(hidden)
        gs = torch.randn_like(x)

        def both(call: Callable[[], Tensor] = call, x: Tensor = x, gs: Tensor = gs) -> None:
            x.grad = None
            call().backward(gs)

        calls[name] = both
        calls[name]()
    return common.compared(common.interleave(calls, seconds), names[0])


def in_child(name: str, steps: int, kind: str) -> dict[str, Any]:
    """`case` in a process of its own."""
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.memory", "--case", name, "--steps", str(steps)]
    command += ["--kind", kind, "--threads", str(torch.get_num_threads())]
    pages = {**os.environ, "THP_MEM_ALLOC_ENABLE": "0"}  # a huge page would round each array up to 2 MB
    done = subprocess.run(command, cwd=common.ROOT, env=pages, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{name}, T = {steps}: {done.stderr.strip().splitlines()[-1]}")
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return {"name": name, "T": steps, **found}


def show(title: str, cases: list[dict[str, Any]]) -> None:
    """Print a table, bytes per (t, b, n)."""
    rows = [[c["name"], str(c["T"]), *(f"{c[field]:.2f}" for field in FIELDS)] for c in cases]
    print(f"\n{title}\n{common.table(rows, ['candidate', 'T', *FIELDS])}", flush=True)


def main() -> None:
    """All candidates against T, then pairs; or one case, for the parent process."""
    parser = argparse.ArgumentParser(description="memory of one LIF layer")
    parser.add_argument("--case", default="", help=argparse.SUPPRESS)
    parser.add_argument("--steps", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--kind", default="alone", help=argparse.SUPPRESS)
    chosen = common.arguments(__doc__, parser)
    if chosen.case:
        kinds = {"alone": alone, "pair": pair, "few": pair_of_few_bits}
        print(json.dumps(case(chosen.case, chosen.steps, kinds[chosen.kind])))
        return
    mine = list(layers.own_names())
    paired = [mine[0], RECOMPUTED] if "bitspike cpu" in mine else mine
    steps = QUICK if chosen.quick else STEPS
    found = [in_child(name, t, "alone") for name in (*mine, *layers.installed()) for t in steps]
    show(f"LIF, B = {B}, N = {N}, bytes per (t, b, n)", found)
    result: dict[str, Any] = {"B": B, "N": N, "layer": found}
    for kind, key, title, make in (
        ("pair", "pair", "float32 product and LIF", pair),
        ("few", "few_bit_pair", "product of spikes and LIF", pair_of_few_bits),
    ):
        pairs = [in_child(name, PAIR_STEPS, kind) for name in paired]
        show(f"{title}, bytes per (t, b, n)", pairs)
        times = pair_times(paired, 3.0 if chosen.quick else 12.0, make)
        print(f"\n{title}, T = {PAIR_STEPS}\n{common.ratio_table(times)}", flush=True)
        inner = pair_times(paired, 3.0 if chosen.quick else 12.0, make, hidden=True)
        print(f"\nthe same with the gradient of its input\n{common.ratio_table(inner)}", flush=True)
        result |= {key: pairs, f"{key}_times": times, f"{key}_hidden_times": inner}
    common.save("memory", result, chosen)


if __name__ == "__main__":
    main()
