"""Run a function that frees the interpreter lock on several ranges at once; as many threads as torch uses.

Where torch's threads are OpenMP's (its Linux wheels), they are the threads taken: between two products an idle one
spins for a while and would take the core from any other thread. Elsewhere, in a forked process (whose OpenMP threads
are the parent's) and where BITSPIKE_THREADS is "own", they are threads of our own.
"""

from __future__ import annotations

import ctypes
import itertools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

import torch

SMALL = 40_000  # values; below, starting a thread costs more than it saves
LANES = 16  # ranges begin at whole vectors

Share = list[tuple[int, int]]

_pools: dict[tuple[int, int], ThreadPoolExecutor] = {}
_process = os.getpid()


def ranges(count: int, parts: int, block: int | None = None, lanes: int = LANES) -> list[Share]:
    """Split 0..count into `parts` shares of whole vectors, each as ranges of at most `block`."""
    size = -(-count // (parts * lanes)) * lanes
    shares = [(lo, min(lo + size, count)) for lo in range(0, count, max(size, 1))]
    step = block or max(size, 1)
    return [[(a, min(a + step, hi)) for a in range(lo, hi, step)] for lo, hi in shares]


def run(
    function: Callable[[int, int], None], count: int, work: int, block: int | None = None, lanes: int = LANES
) -> None:
    """Call function(lo, hi) until 0..count is covered; `work` values in all decide whether threads pay."""
    threads = torch.get_num_threads() if work >= SMALL else 1
    shares = ranges(count, threads, block, lanes)
    if len(shares) <= 1:
        _share(function, shares[0] if shares else [])
        return
    team = _team()
    if team is not None and os.getpid() == _process:
        _run_in_team(team, function, shares, threads)
        return
    pool = _pool(len(shares) - 1)
    waiting = [pool.submit(_share, function, share) for share in shares[1:]]
    _share(function, shares[0])
    for done in waiting:
        done.result()


def together() -> int:
    """How many ranges `run` works on at once such that a torch product inside one takes that one's thread alone."""
    return torch.get_num_threads() if _team() is not None and os.getpid() == _process else 1


def _share(function: Callable[[int, int], None], share: Share) -> None:
    for lo, hi in share:
        function(lo, hi)


BODY = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


def _run_in_team(team: Any, function: Callable[[int, int], None], shares: list[Share], threads: int) -> None:
    numbers, errors = itertools.count(), []

    def body(_: Any) -> None:
        # By number, not one share a thread: OpenMP may start fewer threads than asked.
        try:
            while (number := next(numbers)) < len(shares):
                _share(function, shares[number])
        except BaseException as error:  # it must not leave through C
            errors.append(error)

    # Always torch's own number: a smaller team would end the other threads.
    team(BODY(body), None, threads, 0)
    if errors:
        raise errors[0]


@cache
def _team() -> Any:
    """The function of torch's OpenMP library that runs a function on all threads of a team; None if there is none."""
    found = sorted(Path(torch.__file__).with_name("lib").glob("libgomp*.so*"))
    if not found or os.environ.get("BITSPIKE_THREADS") == "own" or "OpenMP" not in torch.__config__.parallel_info():
        return None
    try:
        function = ctypes.CDLL(str(found[0])).GOMP_parallel
    except (OSError, AttributeError):
        return None
    function.argtypes, function.restype = [BODY, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint], None
    return function


def _pool(workers: int) -> ThreadPoolExecutor:
    # A forked process inherits the pool without its threads: one pool per process.
    key = (os.getpid(), workers)
    if key not in _pools:
        _pools[key] = ThreadPoolExecutor(workers, thread_name_prefix="bitspike")
    return _pools[key]
