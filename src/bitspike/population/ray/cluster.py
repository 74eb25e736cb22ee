"""The engine as the command has it: one process that drives a cluster, watched, and started again when it is killed."""

from __future__ import annotations

import contextlib
import json
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

from bitspike.population.ray import isolation, settings
from bitspike.population.store import Folder
from bitspike.population.turn import Evolution, Turn
from bitspike.population.workers import Workers
from bitspike.run.sockets import born, ended, in_session

STOP_SECONDS = 10.0
MOST_STARTS = 3


class Cluster(Workers):
    """As `Workers`, whose one process hands turns on to a cluster.

    count: actors that take turns (None: as many as the cluster has cores for, not more than members). address: of a
    cluster; None: one of this machine's own, for this run. digests: of the data that every machine has to have.
    """

    most_deaths = MOST_STARTS

    def __init__(
        self,
        count: int | None,
        folder: Path,
        data: Path | None,
        device: str,
        threads: int,
        address: str | None,
        digests: Mapping[str, str],
    ) -> None:
        super().__init__(1, folder, data, device, threads)
        self.address, self.home = address, Path()
        self.told |= {"workers": count, "address": address, "digests": dict(digests)}

    def run(self, rules: Evolution, store: Folder, watch: Callable[[Turn], None], asked: Callable[[], None]) -> None:
        """As `Workers.run`; what the driver has to say is handed to `note`."""
        # A short path: sockets lie in it, whose names the system limits.
        self.home = Path(tempfile.mkdtemp(prefix="bsr-"))
        notes = self.home / "notes"
        before = [] if self.address is not None else isolation.prefix()
        told = {**self.told, "home": str(self.home), "alone": bool(before)}
        self.command = [*before, sys.executable, "-m", "bitspike.population.ray.driver", json.dumps(told)]
        self.environment = self.environment | settings.environment(self.home, self.address)
        known: set[str] = set()

        def also() -> None:
            for line in notes.read_text().splitlines() if notes.exists() else ():
                if line not in known:
                    known.add(line)
                    self.note(line)
            asked()

        try:
            super().run(rules, store, watch, also)
        finally:
            with contextlib.suppress(OSError):
                shutil.rmtree(self.home)

    def _ended(self, process: Any, said: IO[bytes], deaths: int) -> int:
        _end_session(process.pid)
        return super()._ended(process, said, deaths)

    def stop(self) -> None:
        """The driver first, which ends what it has started; then those that are still there."""
        leaders = [process.pid for process, _ in self.running]
        for process, _ in self.running:
            process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(STOP_SECONDS)
        super().stop()
        for leader in leaders:
            _end_session(leader)


def _end_session(leader: int) -> None:
    """End all that a driver has started, directly or not; what one of them may have started meanwhile, too.

    Ray's agents outlive their parents by minutes.
    """
    for _ in range(3):
        known = {pid: born(pid) for pid in in_session(leader)}
        if not any(known.values()):
            return
        ended(known, 0.0)
