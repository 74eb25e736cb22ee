"""One LIF layer, forward and backward, beside processes that are busy: all threads against one, and the peers.

Run: python -m benchmarks.neurons --beside N. Each shape is measured on an otherwise idle machine and beside N processes
that never sleep, ten calls in a row on one thread and on all of torch's in turn, so that each number of threads has its
own steady state; then ours and SpikingJelly, where it is installed, both on all threads.
"""

from __future__ import annotations

import contextlib
import gc
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch

from benchmarks import common

ROW = 10  # calls on one number of threads before the other's
Measure = Callable[[tuple[int, int, int]], dict[str, Any]]


@contextlib.contextmanager
def busy(processes: int) -> Iterator[None]:
    """That many processes of ordinary priority, each of which could keep a core busy."""
    command = [sys.executable, "-c", "print(flush=True)\nwhile True: pass"]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(processes)]
    try:
        for process in running:
            assert process.stdout is not None
            process.stdout.readline()
        yield
    finally:
        for process in running:
            process.kill()
            process.communicate()


def threads(call: Callable[[], object], numbers: tuple[int, ...], seconds: float) -> common.Times:
    """Times of `call` on each number of threads, rows of calls in turn, for about `seconds` in all."""
    times: common.Times = {f"threads: {n}": [] for n in numbers}
    before = torch.get_num_threads()
    gc.collect()
    gc.disable()
    try:
        started = time.perf_counter()
        while time.perf_counter() - started < seconds or min(map(len, times.values())) < ROW:
            for n in numbers:
                torch.set_num_threads(n)
                for _ in range(ROW):
                    began = time.perf_counter()
                    call()
                    times[f"threads: {n}"].append(time.perf_counter() - began)
    finally:
        gc.enable()
        torch.set_num_threads(before)
    return times


def measured(
    shapes: tuple[tuple[int, int, int], ...], processes: int, call: Callable[[tuple[int, int, int]], Callable[[], Any]],
    peers: Measure | None, seconds: float,
) -> list[dict[str, Any]]:  # fmt: skip
    """For each shape: what `common.compared` says of both, to one thread, and of the peers, idle and beside."""
    found = []
    for shape in shapes:
        prepared = call(shape)
        for count in (0, processes):
            with busy(count):
                times = threads(prepared, (1, torch.get_num_threads()), seconds)
                part: dict[str, Any] = {"shape": list(shape), "beside": count, **common.compared(times, "threads: 1")}
                means = {name: sum(values) / len(values) for name, values in times.items()}
                part["mean_ratios"] = {name: mean / means["threads: 1"] for name, mean in means.items()}
                if peers is not None:
                    part["peers"] = peers(shape)
            print(f"\n{' x '.join(map(str, shape))} beside {count} busy processes")
            print(common.ratio_table(part), flush=True)
            if peers is not None:
                print(common.ratio_table(part["peers"]), flush=True)
            found.append(part)
    return found
