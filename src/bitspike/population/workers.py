"""The processes of a population: started, watched, and started again when one is killed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from bitspike.errors import BitspikeError
from bitspike.population.store import Folder
from bitspike.population.turn import Evolution, Turn

PAUSE_SECONDS = 0.05
# Deaths of workers, without a turn that was published between them, after which one is no accident.
MOST_DEATHS = 8


def cores() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Workers:
    """Processes that run `worker` on a folder."""

    most_deaths = MOST_DEATHS

    def __init__(self, count: int, folder: Path, data: Path | None, device: str, threads: int) -> None:
        self.told: dict[str, Any] = {"folder": str(folder.absolute()), "data": data and str(data.absolute())}
        self.told |= {"device": device, "threads": threads, "parent": os.getpid()}
        self.command = [sys.executable, "-m", "bitspike.population.worker", json.dumps(self.told)]
        self.environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
        self.folder, self.count = folder, count
        self.running: list[tuple[subprocess.Popen[bytes], IO[bytes]]] = []
        self.note: Callable[[str], None] = lambda line: None
        """Told what a person should know."""

    def run(self, rules: Evolution, store: Folder, watch: Callable[[Turn], None], asked: Callable[[], None]) -> None:
        """Until all members are finished. watch: told of turns, of which it may miss some; asked: may raise."""
        seen = {number: turn.generation if (turn := store.latest(number)) else 0 for number in range(rules.members)}
        deaths = 0
        try:
            for _ in range(self.count):
                self._start()
            while self.running:
                time.sleep(PAUSE_SECONDS)
                asked()
                for number in seen:
                    turn = store.latest(number)
                    if turn is not None and turn.generation > seen[number]:
                        seen[number], deaths = turn.generation, 0
                        watch(turn)
                for pair in list(self.running):
                    if pair[0].poll() is not None:
                        self.running.remove(pair)
                        deaths += self._ended(*pair, deaths)
        finally:
            self.stop()

    def _start(self) -> None:
        said = tempfile.TemporaryFile()  # noqa: SIM115 - closed when the process has ended
        process = subprocess.Popen(
            self.command, env=self.environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=said,
            start_new_session=True,
        )  # fmt: skip
        self.running.append((process, said))

    def _ended(self, process: Any, said: IO[bytes], deaths: int) -> int:
        """1 if it did not end by itself: then another takes its place."""
        said.seek(0)
        lines = said.read().decode(errors="replace").strip().splitlines()
        said.close()
        if process.returncode == 0:
            return 0
        if process.returncode == 2 and lines:
            raise BitspikeError(lines[-1])
        if deaths + 1 >= self.most_deaths:
            why = f"signal {-process.returncode}" if process.returncode < 0 else lines[-1] if lines else "no word"
            raise BitspikeError(f"population: {deaths + 1} workers ended without a turn between them ({why}); --resume")
        self._start()
        return 1

    def stop(self) -> None:
        """At once: what is published is whole, whenever a process ends."""
        for process, said in self.running:
            process.kill()
            process.wait()
            said.close()
        self.running = []
        for leftover in self.folder.glob(".*.part"):
            leftover.unlink(missing_ok=True)


def how_many(asked: int | None, members: int, in_memory: bool) -> int:
    """Workers: those asked for, or one for each core; 1 is this process alone. in_memory: others have no data."""
    if asked is not None or in_memory:
        return asked or 1
    return min(cores(), members)
