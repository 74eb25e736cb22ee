"""Work that stops wherever a compiled loop needs no interpreter, so that the loops of several run side by side.

A work is a generator: it yields a loop, goes on once that has run, and returns what it came to. What lies between loops
is done on one thread, so that nobody waits for the interpreter; loops are handed out to threads. A loop touches nothing
that another one does, so results are those of one work after the other, bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple, TypeVar

import torch

from bitspike.kernels.cpu import threads

R = TypeVar("R")


class Loop(NamedTuple):
    """run: frees the interpreter lock. values: that it works on, about; see `threads.run`."""

    run: Callable[[], None]
    values: int


Work = Generator[Loop, None, R]


def alone(work: Work[R]) -> R:
    """What it comes to."""
    while True:
        try:
            loop = next(work)
        except StopIteration as over:
            result: R = over.value
            return result
        loop.run()


def side_by_side(works: Sequence[Work[R]]) -> list[R]:
    """What they come to, side by side: each goes on to its next loop, and these run at a time.

    An error of one ends all.
    """
    results: dict[int, R] = {}
    going = dict(enumerate(works))
    try:
        while going:
            loops: list[Loop] = []
            for number, work in list(going.items()):
                try:
                    loops.append(next(work))
                except StopIteration as over:
                    results[number] = over.value
                    del going[number]
            _run(loops)
    finally:
        for work in works:
            work.close()
    return [results[number] for number in range(len(works))]


def _run(loops: Sequence[Loop]) -> None:
    def run(lo: int, hi: int) -> None:
        for loop in loops[lo:hi]:
            loop.run()

    threads.run(run, len(loops), sum(loop.values for loop in loops), block=1, lanes=1, alike=False)


@contextmanager
def one_thread(when: bool = True) -> Iterator[None]:
    """Inside, torch takes the thread it is called on alone.

    Of small tensors OpenMP's threads cost more than they save: they spin, on cores that loops or other processes need.
    """
    before = torch.get_num_threads()
    if when:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        if when:
            torch.set_num_threads(before)


def on_one_thread(work: Work[R]) -> Work[R]:
    """The same work, on `one_thread` between its loops."""
    while True:
        with one_thread():
            try:
                loop = next(work)
            except StopIteration as over:
                result: R = over.value
                return result
        yield loop
