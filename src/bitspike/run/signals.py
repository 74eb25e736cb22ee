"""Ctrl-C, SIGTERM and SIGHUP: the first asks a training to save and stop, a second one stops at once.

A signal that is ignored when bitspike starts (`nohup`, a background job of a script) stays ignored.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any, NoReturn

from bitspike.errors import BitspikeError

SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))


class Interrupted(BitspikeError):
    """A signal came and everything is saved; the message says how to go on. `number`: the signal."""

    def __init__(self, message: str, number: int = signal.SIGINT) -> None:
        super().__init__(message)
        self.number = number


class Stopped(BaseException):
    """A signal that stops the command at once. `number`: the signal."""

    def __init__(self, number: int = signal.SIGINT) -> None:
        super().__init__(number)
        self.number = number


def stop(number: int, frame: FrameType | None = None) -> NoReturn:
    """The handler that stops at once."""
    raise Stopped(number)


class Handled:
    """While it is entered, `ask` is told of the first signal; a second one goes to the handler of before."""

    def __init__(self, ask: Callable[[int], None]) -> None:
        self.ask, self.asked = ask, False
        self.before: dict[int, Any] = {}

    def __enter__(self) -> None:
        if threading.current_thread() is not threading.main_thread():
            return
        for number in SIGNALS:
            # None: a handler that was not installed from Python, which could not be put back.
            if signal.getsignal(number) not in (signal.SIG_IGN, None):
                self.before[number] = signal.signal(number, self._come)

    def __exit__(self, *error: object) -> None:
        for number, earlier in self.before.items():
            signal.signal(number, earlier)
        self.before = {}

    def _come(self, number: int, frame: FrameType | None) -> None:
        if not self.asked:
            self.asked = True
            self.ask(number)
            return
        earlier = self.before[number]
        self.__exit__()
        if callable(earlier):
            earlier(number, frame)
        else:
            os.kill(os.getpid(), number)
