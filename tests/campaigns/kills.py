"""Kill trainings at seeded random moments, resume them to their end, and compare with runs nobody touched.

    python -m tests.campaigns.kills --one 40 --two 20 --seed 0

A training is started, killed (SIGKILL, SIGTERM or SIGINT; of two processes either one), resumed, killed again, until it
ends; then the next one starts, until there were enough kills. A fault is: `lost`, a resume that is refused or fails;
`differing`, an end whose result, weights or predictions are not those of the run nobody touched, bit for bit;
`hanging`, a process alive 120 s after a kill (SIGTERM and SIGINT first finish an update; the machine may be busy);
`untidy`, a traceback or more than one line about the stop. The counts go to results/campaigns.json; the exit code is 1
if there was a fault.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "results" / "campaigns.json"
RECIPE = ["digits-bayes", "--set", "model.layers=['16']", "--set", "encoder.steps=4", "--set", "evaluation.draws=3"]
RECIPE += ["--set", "training.epochs=40", "--set", "training.checkpoint_seconds=0.1", "--device", "cpu"]
RECIPE += ["--threads", "1"]
SIGNALS = ("SIGKILL", "SIGTERM", "SIGINT")
EARLY = 0.1
PATIENCE = 120.0
FAULTS = ("lost", "differing", "hanging", "untidy")


def start(out: Path, processes: int, *more: str) -> subprocess.Popen[bytes]:
    """A training in `out`, in a process of its own."""
    command = [sys.executable, "-m", "bitspike", "train", *RECIPE, "--out", str(out), "--processes", str(processes)]
    errors = (out.parent / f"{out.name}.stderr").open("wb")
    return subprocess.Popen(
        [*command, *more], stdout=subprocess.DEVNULL, stderr=errors, preexec_fn=_heard,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip


class Forked:
    """A training in a child of this process, which has imported what takes long already."""

    def __init__(self, out: Path, *more: str) -> None:
        self.returncode: int | None = None
        self.pid = os.fork()
        if self.pid == 0:
            _heard()
            signal.signal(signal.SIGINT, signal.default_int_handler)
            errors = os.open(out.parent / f"{out.name}.stderr", os.O_CREAT | os.O_TRUNC | os.O_WRONLY)
            os.dup2(errors, 2)
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            sys.argv = ["bitspike", "train", *RECIPE, "--out", str(out), *more]
            code = 1
            try:
                from bitspike.cli import main as command

                command()
            except SystemExit as end:
                code = int(end.code or 0)
            finally:
                os._exit(code)

    def poll(self) -> int | None:
        """The exit code, if it has ended."""
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self.returncode = os.waitstatus_to_exitcode(status) if pid else None
        return self.returncode

    def wait(self, timeout: float = 1e9) -> int:
        """The exit code, when it has ended."""
        deadline = time.monotonic() + timeout
        while self.poll() is None:
            if time.monotonic() > deadline:
                raise subprocess.TimeoutExpired("fork", timeout)
            time.sleep(0.02)
        return self.returncode or 0


def _heard() -> None:
    """Signals count, also where this campaign was started with `nohup` or `&`."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def said(out: Path) -> str:
    """What the last process of `out` wrote to standard error."""
    return (out.parent / f"{out.name}.stderr").read_text(errors="replace")


def outcome(out: Path) -> dict[str, Any]:
    """What must be equal: the result but for its seconds, the shipped tensors and the predictions."""
    result = json.loads((out / "result.json").read_text())
    del result["seconds"]
    shipped = json.loads((out / "checkpoints" / "shipped.json").read_text())
    with np.load(out / "predictions.npz") as arrays:
        digest = hashlib.sha256(b"".join(arrays[name].tobytes() for name in sorted(arrays.files))).hexdigest()
    return {"result": result, "shipped": shipped["sha256"], "predictions": digest}


Process = Forked | subprocess.Popen[bytes]


def members(process: Process) -> list[int]:
    """The process and those it started."""
    try:
        text = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()
    except OSError:
        text = ""
    return [process.pid, *map(int, text.split())]


def alive(pid: int) -> bool:
    """Whether a process still does anything."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def running(out: Path, process: Process, before: float) -> bool:
    """Wait until the training has saved something; False if it ended first."""
    last = out / "checkpoints" / "last.json"
    while process.poll() is None:
        if last.exists() and last.stat().st_mtime > before:
            return True
        time.sleep(0.01)
    return False


def tidy(name: str, code: int, errors: str) -> bool:
    """One line on the stop, and the conventional exit code."""
    lines = [line for line in errors.splitlines() if line.startswith("bitspike:")]
    # Ctrl-C while Python itself starts is Python's to say: no frame of the command is in it.
    if ("Traceback" in errors and any(f"/bitspike/{part}/" in errors for part in ("cli", "run"))) or len(lines) > 1:
        return False
    number = getattr(signal, name)
    return code in (-number, 2, 0) if name == "SIGKILL" else code in (128 + number, -number, 2, 0)


def campaign(folder: Path, processes: int, kills: int, seed: int) -> dict[str, Any]:
    """`kills` kills of trainings on so many processes."""
    draw = random.Random(seed * 1000 + processes)
    import bitspike.reports
    import bitspike.run.start  # noqa: F401 - forked trainings have them already

    whole = folder / f"whole-{processes}"
    process = start(whole, processes)
    began = time.time() if running(whole, process, 0.0) else None
    assert process.wait() == 0, said(whole)
    assert began is not None
    long, wanted = time.time() - began, outcome(whole)
    counts: dict[str, Any] = {"kills": 0, "runs": 0, "by_signal": dict.fromkeys(SIGNALS, 0), "of_others": 0}
    counts |= dict.fromkeys(FAULTS, 0)
    faults: list[str] = []

    def fault(kind: str, text: str) -> None:
        counts[kind] += 1
        faults.append(f"{kind}: {text}")
        print(faults[-1], flush=True)

    while counts["kills"] < kills:
        counts["runs"] += 1
        out, more = folder / f"run-{processes}-{counts['runs']}", []
        while True:
            before = time.time()
            # A few are killed while Python starts; to start it anew for all of them takes most of the time.
            early = draw.random() < EARLY
            process = start(out, processes, *more) if early or processes > 1 else Forked(out, *more)
            more = ["--resume"]
            if counts["kills"] < kills and _killed(out, process, before, long, early, draw, counts, fault):
                continue
            if process.wait() != 0:
                fault("lost", f"{out.name}: exit code {process.returncode}: {said(out)[-300:]}")
                break
            if outcome(out) != wanted:
                fault("differing", f"{out.name} after {counts['kills']} kills in all")
            break
        print(f"{processes} process(es): {counts}", flush=True)
    return {**counts, "faults": faults}


def _killed(
    out: Path,
    process: Process,
    before: float,
    long: float,
    early: bool,
    draw: random.Random,
    counts: dict[str, Any],
    fault: Any,
) -> bool:
    """Kill it at a random moment; False if it ended before."""
    moment, name, which = draw.random(), draw.choice(SIGNALS), draw.random()
    if early:
        time.sleep(5 * moment)  # while it starts
    elif running(out, process, before):
        time.sleep(moment * long / 8)
    pids = members(process)
    if process.poll() is not None:
        return False
    target = pids[int(which * len(pids))]
    try:
        os.kill(target, getattr(signal, name))
    except ProcessLookupError:
        return False
    counts["kills"] += 1
    counts["by_signal"][name] += 1
    counts["of_others"] += target != process.pid
    try:
        process.wait(PATIENCE)
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline and any(alive(pid) for pid in pids):
            time.sleep(0.05)
    except subprocess.TimeoutExpired:
        pass
    left = [pid for pid in pids if alive(pid)]
    if left:
        fault("hanging", f"{out.name}, {name} to {'another' if target != process.pid else 'the first'} process")
        for pid in left:
            os.kill(pid, signal.SIGKILL)
        process.wait()
    if not tidy(name, process.returncode, said(out)):
        fault("untidy", f"{out.name}, {name}, code {process.returncode}: {said(out)[-600:]}")
    return process.returncode != 0


def store(found: dict[str, Any]) -> None:
    """Beside what other campaigns stored."""
    content = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    content["kills"] = found
    beside = RESULTS.with_suffix(".part")
    beside.write_text(json.dumps(content, indent=1) + "\n")
    beside.replace(RESULTS)


def main() -> None:
    """Both parts, and their counts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--one", type=int, default=40, help="kills of trainings on one process")
    parser.add_argument("--two", type=int, default=20, help="kills of trainings on two processes")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", action="store_true", help="print the counts only; store nothing")
    given = parser.parse_args()
    found: dict[str, Any] = {"seed": given.seed}
    with tempfile.TemporaryDirectory() as folder:
        for name, processes, kills in (("one process", 1, given.one), ("two processes", 2, given.two)):
            if kills:
                found[name] = campaign(Path(folder), processes, kills, given.seed)
    print(json.dumps(found))
    if not given.keep:
        store(found)
    sys.exit(any(found[name][kind] for name in found if name != "seed" for kind in FAULTS))


if __name__ == "__main__":
    main()
