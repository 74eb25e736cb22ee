"""The command in processes of its own, forked from one that has imported what a start of it takes seconds for."""

from __future__ import annotations

import contextlib
import io
import multiprocessing
import os
import sys
from collections.abc import Sequence
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import NamedTuple

import pytest

# Modules that most command lines come to import.
PRELOADED = [
    "bitspike.cli.app", "bitspike.cli.train", "bitspike.cli.inspect", "bitspike.run.start", "bitspike.reports.page",
    "bitspike.learners", "lightning_fabric", "torch._dynamo", "matplotlib.backends.backend_svg", "matplotlib.figure",
    "sklearn.datasets", "sklearn.model_selection", "scipy.optimize", "PIL.Image",
]  # fmt: skip
_warm = multiprocessing.get_context("forkserver")
_warm.set_forkserver_preload(PRELOADED)


class Done(NamedTuple):
    """What one command line came to."""

    code: int
    stdout: str
    stderr: str


class Started:
    """Command lines under way in a process of their own."""

    def __init__(self, lines: Sequence[Sequence[object]], cwd: Path | None) -> None:
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        environment.pop("BITSPIKE_PLUGINS", None)
        asked = [[str(word) for word in line] for line in lines]
        self._told, tell = _warm.Pipe(duplex=False)
        self.process: BaseProcess = _warm.Process(target=_run_lines, args=(asked, cwd, environment, tell))
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("OMP_NUM_THREADS", "1")  # of the process that is forked, which starts with the first of these
            self.process.start()
        tell.close()

    def done(self, seconds: float = 300) -> list[Done]:
        """What every line came to, when all are through."""
        if not self._told.poll(seconds):
            self.kill()
            raise AssertionError("still running")
        found = [Done(*one) for one in self._told.recv()]
        self.process.join()
        return found

    def kill(self) -> None:
        """SIGKILL."""
        self.process.kill()
        self.process.join()


def _run_lines(lines: list[list[str]], cwd: Path | None, environment: dict[str, str], tell: Connection) -> None:
    os.environ.clear()
    os.environ.update(environment)
    if cwd is not None:
        os.chdir(cwd)
    from bitspike.cli.app import _run

    done = []
    for words in lines:
        sys.argv = ["bitspike", *words]
        out, said = io.StringIO(), io.StringIO()
        # What `main` does but for its end, which closes the streams and leaves.
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(said):
            code = _run()
        done.append((code, out.getvalue(), said.getvalue()))
    tell.send(done)


def start(*lines: Sequence[object], cwd: Path | None = None) -> Started:
    """Begin command lines (without "bitspike") in a new process."""
    return Started(lines, cwd)


def commands(*lines: Sequence[object], cwd: Path | None = None, codes: Sequence[int] = ()) -> list[Done]:
    """Run command lines one after the other in one new process; codes: wanted of them, 0 of all if not said."""
    found = start(*lines, cwd=cwd).done()
    assert [done.code for done in found] == list(codes or [0] * len(lines)), [done.stderr for done in found]
    assert not any("Traceback" in done.stderr for done in found)
    return found


def here(patch: pytest.MonkeyPatch, capture: pytest.CaptureFixture[str], *lines: Sequence[object]) -> list[Done]:
    """The same in this process, which has imported what a new one would take seconds for."""
    from bitspike import notices
    from bitspike.cli.app import _run

    patch.setattr(notices, "always", True)
    found = []
    capture.readouterr()
    for line in lines:
        patch.setattr(sys, "argv", ["bitspike", *map(str, line)])
        code = _run()
        found.append(Done(code, *capture.readouterr()))
    return found
