"""Run a function that frees the interpreter lock on several ranges at once; as many threads as torch uses."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import torch

SMALL = 40_000  # values; below, starting a thread costs more than it saves
LANES = 16  # ranges begin at whole vectors

_pools: dict[tuple[int, int], ThreadPoolExecutor] = {}


def ranges(count: int, parts: int, block: int | None = None) -> list[list[tuple[int, int]]]:
    """Split 0..count into `parts` shares of whole vectors, each as ranges of at most `block`."""
    size = -(-count // (parts * LANES)) * LANES
    shares = [(lo, min(lo + size, count)) for lo in range(0, count, max(size, 1))]
    step = block or max(size, 1)
    return [[(a, min(a + step, hi)) for a in range(lo, hi, step)] for lo, hi in shares]


def run(function: Callable[[int, int], None], count: int, work: int, block: int | None = None) -> None:
    """Call function(lo, hi) until 0..count is covered; `work` values in all decide whether threads pay."""
    threads = torch.get_num_threads() if work >= SMALL else 1
    shares = ranges(count, threads, block)
    if len(shares) <= 1:
        _share(function, shares[0] if shares else [])
        return
    pool = _pool(len(shares) - 1)
    waiting = [pool.submit(_share, function, share) for share in shares[1:]]
    _share(function, shares[0])
    for done in waiting:
        done.result()


def _share(function: Callable[[int, int], None], share: list[tuple[int, int]]) -> None:
    for lo, hi in share:
        function(lo, hi)


def _pool(workers: int) -> ThreadPoolExecutor:
    # A forked process inherits the pool without its threads: one pool per process.
    key = (os.getpid(), workers)
    if key not in _pools:
        _pools[key] = ThreadPoolExecutor(workers, thread_name_prefix="bitspike")
    return _pools[key]
