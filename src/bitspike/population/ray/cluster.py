"""The engine as the command has it: one process that drives a cluster, watched, and started again when it is killed."""

from __future__ import annotations

import contextlib
import json
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

from bitspike.population.ray import isolation, settings
from bitspike.population.store import Folder
from bitspike.population.turn import Evolution, Turn
from bitspike.population.workers import Workers
from bitspike.run.sockets import born, ended, family

STOP_SECONDS = 10.0
LOOK_SECONDS = 1.0
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
        self.started: dict[int, int | None] = {}
        self.looked = 0.0
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
            self._remember()
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

    def _remember(self) -> None:
        """Once a second: who descends from the driver. When it is killed, nobody can tell any more."""
        if time.monotonic() > self.looked + LOOK_SECONDS:
            self.looked = time.monotonic()
            self.started |= {pid: born(pid) for process, _ in self.running for pid in family(process.pid)}

    def _ended(self, process: Any, said: IO[bytes], deaths: int) -> int:
        ended(self.started, 0.0)
        self.started = {}
        return super()._ended(process, said, deaths)

    def stop(self) -> None:
        """The driver first, which ends what it has started; then, by their numbers, those that are still there."""
        for process, _ in self.running:
            known = {pid: born(pid) for pid in family(process.pid)}
            process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(STOP_SECONDS)
            ended(known, 0.0)
        super().stop()
