"""Try mutants of files on everything that reads them, and count what became of each.

    python -m tests.campaigns.mutants --reader png --count 3000 --seed 0
    python -m tests.campaigns.mutants --all                                (goes on where a file of results ends)

Each mutant is one of: fine; refused in one line; a traceback; a hang (over 10 s of work, or 60 s of waiting); memory
(a peak over 2 GB). All are tried in one process that is warm; after a hang, a crash or such a peak another takes its
place. The counts go to results/campaigns.json, faults to the screen. The exit code is 1 if there was a fault. Of files
of a run whose page is made, one in ten has it made with its figures: `drawn` of the `count`.
"""

from __future__ import annotations

import argparse
import json
import os
import selectors
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.campaigns.clock import idle
from tests.campaigns.readers import READERS
from tests.campaigns.runfiles import RUN_FILES, material
from tests.campaigns.worker import MEMORY, TARGETS

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "results" / "campaigns.json"
HANG = 10.0  # seconds of work
PATIENCE = 6  # times as long, where a process waits for something
WARM = 180.0
FAULTS = ("traceback", "hang", "memory")


@dataclass
class Count:
    """What became of the mutants of one target."""

    seed: int
    outcomes: dict[str, int] = field(default_factory=dict)
    peak: int = 0
    drawn: int = 0
    faults: list[dict[str, Any]] = field(default_factory=list)

    def add(self, number: int, outcome: str, said: str, peak: int) -> None:
        """Count one mutant."""
        outcome = "memory" if peak > MEMORY else outcome
        self.outcomes[outcome] = self.outcomes.get(outcome, 0) + 1
        self.peak = max(self.peak, peak)
        if outcome in FAULTS:
            self.faults.append({"mutant": number, "outcome": outcome, "said": said})

    @property
    def tried(self) -> int:
        """How many mutants."""
        return sum(self.outcomes.values())

    def record(self) -> dict[str, Any]:
        """As it is stored."""
        from bitspike import __version__

        named = {
            "fine": "fine",
            "refused": "refused",
            "traceback": "tracebacks",
            "hang": "hangs",
            "memory": "over_2_gb",
        }
        counts = {shown: self.outcomes.get(outcome, 0) for outcome, shown in named.items()}
        drawn = {"drawn": self.drawn} if self.drawn else {}
        peak = self.peak >> 20
        return {"seed": self.seed, "count": self.tried, **counts, **drawn, "peak_mb": peak, "version": __version__}


def _busy(process: int) -> float:
    """Seconds of processor time that a process has used."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _lines(process: subprocess.Popen[bytes], first_wait: float) -> Iterator[dict[str, Any] | None]:
    """What a worker says; None, and the end, once it says nothing for too long."""
    assert process.stdout is not None
    chosen = selectors.DefaultSelector()
    chosen.register(process.stdout, selectors.EVENT_READ)
    rest, wait = b"", first_wait
    began, used = idle(process.pid), 0.0
    while True:
        if not chosen.select(wait):
            # On a machine that others use, 10 s of the clock may be one of work.
            if _busy(process.pid) - used > wait or idle(process.pid) - began > PATIENCE * wait:
                yield None
                return
            continue
        piece = os.read(process.stdout.fileno(), 1 << 16)
        if not piece:
            return
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            record = json.loads(line)
            wait = HANG if "mutant" in record else first_wait
            yield record
        began, used = idle(process.pid), _busy(process.pid)


def campaign(name: str, count: int, seed: int, folder: Path) -> Count:
    """`count` mutants of the target `name`, with the material of `folder`."""
    found = Count(seed)
    number = 0
    while number < count:
        asked = [sys.executable, "-m", "tests.campaigns.worker", name, str(seed), str(number), str(count), str(folder)]
        with subprocess.Popen(
            asked, cwd=ROOT, stdout=subprocess.PIPE, env=os.environ | {"OMP_NUM_THREADS": "1"}
        ) as worker:
            began = number
            try:
                for record in _lines(worker, WARM):
                    if record is None:
                        found.add(number, "hang", f"over {HANG:g} s", 0)
                        number += 1
                        break
                    if "good" in record:
                        if record["outcome"] == "traceback":
                            raise RuntimeError(f"{name}: the good file {record['good']} fails: {record['said']}")
                        continue
                    found.add(number, record["outcome"], record["said"], record["peak"])
                    found.drawn += record["drawn"]
                    number += 1
                    if record["peak"] > MEMORY:
                        break
                else:
                    if number < count:
                        if number == began and worker.wait() != 0 and found.outcomes.get("traceback", 0) > 20:
                            raise RuntimeError(f"{name}: the worker does not start")
                        found.add(number, "traceback", f"the process ends with code {worker.wait()}", 0)
                        number += 1
            finally:
                worker.kill()
    return found


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reader", action="append", choices=sorted(TARGETS), help="one of these (may come often)")
    parser.add_argument("--all", action="store_true", help="each that the results do not have yet with this seed")
    parser.add_argument("--count", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--material", type=Path, help="where the runs to attack lie, or are made (default: anew)")
    asked = parser.parse_args()
    if not asked.reader and not asked.all:
        parser.error("--reader NAME or --all")
    stored: dict[str, Any] = json.loads(asked.out.read_text()) if asked.out.exists() else {}
    faulty = False
    with tempfile.TemporaryDirectory() as made:
        folder = asked.material or Path(made)
        for name in asked.reader or (READERS | RUN_FILES):
            before = stored.get(name, {})
            if asked.all and before.get("seed") == asked.seed and before.get("count", 0) >= asked.count:
                continue
            if name.startswith("run-"):
                material(folder)
            began = time.monotonic()
            found = campaign(name, asked.count, asked.seed, folder)
            stored[name] = found.record()
            asked.out.parent.mkdir(parents=True, exist_ok=True)
            asked.out.write_text(json.dumps(dict(sorted(stored.items())), indent=1) + "\n")
            print(f"{name:<24} {time.monotonic() - began:6.0f} s  {stored[name]}", flush=True)
            for fault in found.faults[:50]:
                print(f"  {fault['mutant']:>5} {fault['outcome']}: {fault['said']}", flush=True)
            faulty = faulty or bool(found.faults)
    sys.exit(1 if faulty else 0)


if __name__ == "__main__":
    main()
