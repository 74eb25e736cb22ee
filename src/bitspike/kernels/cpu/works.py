"""Work that stops wherever a compiled loop needs no interpreter, so that the loops of several run side by side.

A work is a generator: it yields a loop, goes on once that has run, and returns what it came to. What lies between loops
is done by the caller alone, so that nobody waits for the interpreter; loops are run by helpers meanwhile, and by the
caller when nothing else is left to do. A loop touches nothing that another work does, so results are those of one work
after the other, bit for bit.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from queue import Empty, SimpleQueue
from typing import TypeVar

import torch

from bitspike.kernels.cpu import threads

R = TypeVar("R")
T = TypeVar("T")
Loop = Callable[[], None]
"""Frees the interpreter lock."""
Work = Generator[Loop, None, R]
Task = tuple[int, Loop]
Over = tuple[int, BaseException | None]


def alone(work: Work[R]) -> R:
    """What it comes to."""
    while True:
        try:
            loop = next(work)
        except StopIteration as over:
            result: R = over.value
            return result
        loop()


def side_by_side(works: Sequence[Work[R]]) -> list[R]:
    """What they come to, on as many threads as torch uses. An error of one ends all."""
    results: dict[int, R] = {}
    ready, at_loops = deque(range(len(works))), 0
    begun: SimpleQueue[Task | None] = SimpleQueue()
    done: SimpleQueue[Over] = SimpleQueue()

    def help_out() -> None:
        while (task := begun.get()) is not None:
            done.put(_run(*task))

    try:
        with threads.helped(help_out, len(works) - 1):
            try:
                while ready or at_loops:
                    if ready:
                        number = ready.popleft()
                        try:
                            begun.put((number, next(works[number])))
                            at_loops += 1
                        except StopIteration as over:
                            results[number] = over.value
                    for number, error in _over(begun, done, bool(ready)) if at_loops else ():
                        if error is not None:
                            raise error
                        at_loops -= 1
                        ready.append(number)
            finally:
                _emptied(begun)
                for _ in works:
                    begun.put(None)
    finally:
        for work in works:
            work.close()
    return [results[number] for number in range(len(works))]


def _over(begun: SimpleQueue[Task | None], done: SimpleQueue[Over], more: bool) -> list[Over]:
    """Loops that are over; where nothing `more` is to be done, one is run, or waited for."""
    found = _emptied(done)
    if found or more:
        return found
    for task in _emptied(begun, 1):
        return [_run(*task)] if task is not None else []
    return [done.get()]


def _run(number: int, loop: Loop) -> Over:
    try:
        loop()
    except BaseException as error:  # the caller's: it must not end a helper
        return number, error
    return number, None


def _emptied(queue: SimpleQueue[T], most: int = sys.maxsize) -> list[T]:
    found: list[T] = []
    try:
        while len(found) < most:
            found.append(queue.get_nowait())
    except Empty:
        pass
    return found


@contextmanager
def on_threads(count: int | None) -> Iterator[None]:
    """Inside, torch takes so many threads; None: as it does outside."""
    before = torch.get_num_threads()
    if count is not None:
        torch.set_num_threads(count)
    try:
        yield
    finally:
        if count is not None:
            torch.set_num_threads(before)


def one_thread(when: bool = True) -> AbstractContextManager[None]:
    """Inside, torch takes the thread it is called on alone.

    Of small tensors OpenMP's threads cost more than they save: they spin, on cores that loops or other processes need.
    """
    return on_threads(1 if when else None)


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
