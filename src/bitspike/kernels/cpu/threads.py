"""Run a function that frees the interpreter lock on many ranges; at most as many threads as torch uses.

Ranges are handed out as threads come: the caller takes one after the other itself, so that a helper that gets no core
costs nothing, and one that loses its core holds up the range it is at, no more. Nobody spins: who waits sleeps, and its
core is free for the thread it waits for. Whether helpers are called at all follows from the size of the work, and from
`allowance`, which counts what they cost where other processes use the cores. No result depends on any of this: a range
has the same values whoever works on it.

Helpers are threads of our own, asleep between calls. Where torch's threads are OpenMP's (its Linux wheels), an idle one
spins for a while behind a product and would keep its core from any other thread: as long as it does, it is the helper.
A forked process starts with no helpers and takes only its own; BITSPIKE_THREADS=own leaves OpenMP's alone.
"""

from __future__ import annotations

import ctypes
import itertools
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import torch

from bitspike.kernels.cpu.allowance import Allowance
from bitspike.kernels.cpu.subnormal import flushed, is_flushed

SMALL = 40_000  # values; below, waking a thread costs more than it saves
LANES = 16  # ranges begin at whole vectors
EACH = 2  # ranges for each thread, where they are long enough

Share = list[tuple[int, int]]
Function = Callable[[int, int], None]

_allowance = Allowance()
_taken = threading.Lock()  # by the caller whose work the helpers do; another caller works alone
_helpers: list[_Helper] = []
_forked = False
_here = threading.local()


def ranges(count: int, parts: int, block: int | None = None, lanes: int = LANES) -> list[Share]:
    """Split 0..count into `parts` shares of whole vectors, each as ranges of at most `block`."""
    size = -(-count // (parts * lanes)) * lanes
    shares = [(lo, min(lo + size, count)) for lo in range(0, count, max(size, 1))]
    step = block or max(size, 1)
    return [[(a, min(a + step, hi)) for a in range(lo, hi, step)] for lo, hi in shares]


def run(
    function: Function, count: int, work: int, block: int | None = None, lanes: int = LANES, *,
    small: int = SMALL, each: int = EACH, least: int = 1,
) -> None:  # fmt: skip
    """Call function(lo, hi) until 0..count is covered; below `small`, `work` values are not worth a second thread.

    Each thread has up to `each` ranges, but one if they would be shorter than `least`; none is longer than `block`.
    """
    wanted = torch.get_num_threads() if work >= small else 1
    threads = _allowance.threads(wanted, time.perf_counter()) if wanted > 1 else 1
    if threads > 1:
        parts = threads * min(max(count // (threads * max(least, 1)), 1), each)
        chunks = [part for share in ranges(count, parts, block, lanes) for part in share]
        if len(chunks) > 1 and _taken.acquire(blocking=False):
            try:
                _together(_Job(function, chunks), threads)
            finally:
                _taken.release()
            return
    for lo, hi in itertools.chain(*ranges(count, 1, block, lanes)):
        function(lo, hi)


def run_in_team(function: Callable[[int], None], parts: int) -> None:
    """Call function(0), ..., function(parts - 1), in which a torch product takes the thread it is called on alone.

    As many parts at once as `together` says; the parts decide the result, so no other number is ever taken.
    """
    team = _team() if not _forked else None
    if team is None or parts < 2:
        for part in range(parts):
            function(part)
        return
    # What runs inside has no helpers: each part has its thread.
    held = _taken.acquire(blocking=False)
    try:
        job = _Job(lambda lo, _: function(lo), [(part, part + 1) for part in range(parts)])
        _in_team(team, job, torch.get_num_threads())
        job.raise_error()
    finally:
        if held:
            _taken.release()


def together() -> int:
    """How many parts `run_in_team` works on at once."""
    return torch.get_num_threads() if _team() is not None and not _forked else 1


@contextmanager
def helped(call: Callable[[], None], most: int) -> Iterator[None]:
    """Inside, up to `most` helpers are in call(), which returns once the block says so; none where others have them.

    As many threads as torch uses work then, the caller among them.
    """
    helpers = min(most, torch.get_num_threads() - 1)
    if helpers < 1 or not _taken.acquire(blocking=False):
        yield
        return
    try:
        job = _Job(lambda lo, hi: call(), [(part, part + 1) for part in range(helpers)])
        called = _called(job, helpers)
        try:
            yield
        finally:
            job.work()  # in the place of those that have not come
            job.wait()
            for helper in called:
                helper.forget()
        job.raise_error()
    finally:
        _taken.release()


class _Job:
    """Ranges that are handed out by number. Counters are advanced under the interpreter lock, so by one thread each."""

    def __init__(self, function: Function, chunks: Share) -> None:
        self.function, self.chunks = function, chunks
        self.flushed = is_flushed()
        self.errors: list[BaseException] = []
        self._numbers, self._done = itertools.count(), itertools.count(1)
        self._over = threading.Lock()
        self._over.acquire()

    def work(self) -> int:
        """Take ranges until there are none left; how many indices they had."""
        indices = 0
        while (number := next(self._numbers)) < len(self.chunks):
            lo, hi = self.chunks[number]
            try:
                if not self.errors:
                    with flushed(self.flushed):
                        self.function(lo, hi)
            except BaseException as error:  # the caller's: it must not end a helper, nor leave through C
                self.errors.append(error)
            indices += hi - lo
            if next(self._done) == len(self.chunks):
                self._over.release()
        return indices

    def wait(self) -> None:
        """Sleep until the last range is done."""
        _sleep_for(self._over, self.errors)

    def raise_error(self) -> None:
        """The first error of any thread."""
        if self.errors:
            raise self.errors[0]


def _sleep_for(lock: threading.Lock, errors: list[BaseException]) -> None:
    while True:
        try:
            lock.acquire()
            return
        except KeyboardInterrupt as error:
            # Arrays are in use until the last range is done: leave no earlier.
            errors.append(error)


class _Helper:
    """A thread that sleeps until it is called, works on the job it is given, and sleeps again."""

    def __init__(self) -> None:
        self._wake = threading.Lock()
        self._wake.acquire()
        self._job: _Job | None = None
        threading.Thread(target=self._loop, name="bitspike", daemon=True).start()

    def call(self, job: _Job) -> None:
        """To be called by whoever holds `_taken`."""
        self._job = job
        # One that did not wake for the job before is still to wake, and finds this one.
        if self._wake.locked():
            self._wake.release()

    def forget(self) -> None:
        """A job that is over must not keep its arrays until this thread wakes next."""
        self._job = None

    def _loop(self) -> None:
        while True:
            self._wake.acquire()
            job = self._job
            if job is not None:
                job.work()
            del job


def _called(job: _Job, count: int) -> list[_Helper]:
    """So many helpers, at work on a job; to be called by whoever holds `_taken`."""
    while len(_helpers) < count:
        _helpers.append(_Helper())
    called = _helpers[:count]
    for helper in called:
        helper.call(job)
    return called


def _together(job: _Job, threads: int) -> None:
    team = _team() if not _forked else None
    began, before = time.perf_counter(), time.thread_time()
    if team is not None and _team_spins():
        # Always torch's own number: a smaller team would end the other threads.
        mine = _in_team(team, job, torch.get_num_threads())
    else:
        called = _called(job, min(threads, len(job.chunks)) - 1)
        mine = job.work()
        job.wait()
        for helper in called:
            helper.forget()
    own, now = time.thread_time() - before, time.perf_counter()
    job.raise_error()
    count = sum(hi - lo for lo, hi in job.chunks)
    _allowance.learn(now, now - began, own, mine / count, threads)


BODY = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


def _in_team(team: Any, job: _Job, threads: int) -> int:
    """Work on the job with torch's own threads; how many indices the caller did."""
    caller, shares, left, gone = threading.get_ident(), [0], itertools.count(1), threading.Lock()
    gone.acquire()
    clocks: list[int] = []

    def body(_: Any) -> None:
        indices = job.work()
        if threading.get_ident() == caller:
            shares[0] = indices
            # OpenMP's own wait would spin, on a core that the last of the others may need to get here.
            job.wait()
            if size() > 1:
                _sleep_for(gone, job.errors)
            return
        clocks.append(time.pthread_getcpuclockid(threading.get_ident()))
        if next(left) == size() - 1:
            gone.release()

    # OpenMP may start fewer threads than asked.
    size = _openmp().omp_get_num_threads
    team(BODY(body), None, threads, 0)
    _here.clocks = clocks
    return shares[0]


def _team_spins() -> bool:
    """Whether a thread of torch's is on a core at this moment, though no product is being taken: its clock goes on."""
    clocks = getattr(_here, "clocks", None)
    try:
        if clocks is None:
            # The first time: who they are.
            _in_team(_team(), _Job(lambda lo, hi: None, [(0, 1)]), torch.get_num_threads())
            clocks = _here.clocks
        return any(time.clock_gettime_ns(clock) != time.clock_gettime_ns(clock) for clock in clocks[-1:])
    except OSError:  # torch has other threads by now
        _here.clocks = None
        return False


@cache
def _team() -> Any:
    """The function of torch's OpenMP library that runs a function on all threads of a team; None if there is none."""
    library = _openmp()
    if library is None or os.environ.get("BITSPIKE_THREADS") == "own":
        return None
    function = library.GOMP_parallel
    function.argtypes, function.restype = [BODY, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint], None
    return function


@cache
def _openmp() -> Any:
    found = sorted(Path(torch.__file__).with_name("lib").glob("libgomp*.so*"))
    if not found or "OpenMP" not in torch.__config__.parallel_info() or not hasattr(time, "pthread_getcpuclockid"):
        return None
    try:
        library = ctypes.CDLL(str(found[0]))
        return library if library.GOMP_parallel and library.omp_get_num_threads else None
    except (OSError, AttributeError):
        return None


def _after_fork() -> None:
    """The helpers, and OpenMP's threads, are the parent's."""
    global _taken, _forked
    _taken, _forked = threading.Lock(), True
    _helpers.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
