"""Give every option and argument of every verb absurd values, one at a time and in pairs, and count what became of it.

    python -m tests.campaigns.options --pairs 300 --seed 0

Everything runs in one process through the command's own `app`, in a folder of its own with three small runs. Outcomes:
`fine`, `refused` (one line), `running` (a training or measurement that has work to do after the time limit),
`traceback` and `hang` (nothing done after the time limit). The limit is 10 s of work, or 60 s of waiting for something
else than a processor. The exit code is 1 if there was one of the last two.
"""

from __future__ import annotations

import argparse
import contextlib
import inspect
import io
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import typing
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import typer
from tests.campaigns.clock import idle

from bitspike.cli.app import app
from bitspike.errors import BitspikeError

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "results" / "campaigns.json"
LIMIT = 10.0  # seconds of work
PATIENCE = 6  # times as long, where it waits for something
WHOLE = ["-1", "0", "1", "2147483648", "9223372036854775808", "1" + "0" * 30, "9" * 5000, "1e3", "nan", "", "abc", "१"]
NUMBERS = ["nan", "inf", "-inf", "-1", "0", "1e-300", "1e300", "5e-324", "1e-9", "", "abc", "1,5"]
TEXTS = [
    "",
    " ",
    ".",
    "..",
    "/",
    "~nosuch",
    "~",
    "a" * 300,
    "b/" * 3000,
    "/dev/null",
    "/dev/zero",
    "/dev/full",
    "\udcff",
]
TEXTS += [
    "x\ny",
    "-",
    "pipe",
    "pipe.npz",
    "/proc/self/mem",
    "nosuch/deep",
    "💥",
    "%s{0}",
    "runs",
    "runs/tiny",
    "file.txt",
]
TEXTS += [
    "none",
    "1,2,nan",
    "0.5",
    "1e300",
    "a=b=c",
    "seed=" + "[" * 3000 + "]" * 3000,
    "data.options.seed=3",
    "=",
    "a.=1",
]
TEXTS += ["data.options.name='x'", "data.options.folder=1", "name='/x'", "name=''", "training.batch=" + "9" * 5000]
TEXTS += [".".join("a" * 4000) + "=1", "model.layers=['" + "9" * 400 + "']", "encoder.steps=99999999999999999999"]
TINY = ["--set", "model.layers=['4']", "--epochs", "1", "--set", "evaluation.draws=2", "--device", "cpu"]
BASES = {
    "recipes": ["recipes"],
    "train": ["train", "digits-st", *TINY, "--out", "runs/new"],
    "federate": [
        *("federate", "federated-digits", *TINY[:2], *TINY[4:], "--set", "federation.rounds=1"),
        *("--set", "encoder.steps=2", "--out", "runs/federated"),
    ],
    "evaluate": ["evaluate", "runs/tiny"],
    "show": ["show", "runs/tiny"],
    "compare": ["compare", "runs/tiny", "--out", "page.html"],
    "report": ["report", "runs/tiny"],
    "predict": ["predict", "runs/tiny", "digits.npz"],
    "hybridise": ["hybridise", "runs/relu", "--steps", "1", "--counts", "1", "--most", "20"],
    "results": ["results", "runs/tiny", "--out", "stored"],
    "doctor": ["doctor"],
    "init": ["init", "table.csv", "--out", "table.toml", "--overwrite"],
}
SPIKING = ["evaluate", "runs/soft", "--spiking", "--time", "20", "--window", "10", "--most", "5"]
# Long ways to say what is allowed.
ALLOWED = {("--processes", "2147483648")}


def material() -> None:
    """Runs, data and a pipe in the folder this process is in."""
    import numpy as np

    call(["train", "digits-st", *TINY, "--set", "encoder.steps=2", "--out", "runs/tiny"], 300)
    call(["train", "soft-lif-digits", *TINY[2:], "--out", "runs/soft"], 300)
    call(["train", "digits-full", *TINY, "--set", "model.neuron.kind='relu'", "--out", "runs/relu"], 300)
    np.savez("digits.npz", x=np.random.default_rng(0).random((3, 1, 8, 8), dtype=np.float32))
    rows = [f"{i % 7},{i % 5},{'ab'[i % 2]}" for i in range(40)]
    Path("table.csv").write_text("\n".join(["u,v,label", *rows]) + "\n")
    Path("file.txt").write_text("text")
    for name in ("pipe", "pipe.npz"):
        os.mkfifo(name)


class _OverTime(BaseException):
    pass


def _over(number: int, frame: Any) -> None:
    raise _OverTime


def _alarm(seconds: float) -> Callable[[int, Any], None]:
    """Raises once so many seconds were waited for something; until then it rings again."""
    began = idle()

    def rings(number: int, frame: Any) -> None:
        left = seconds - (idle() - began)
        if left <= 0:
            raise _OverTime
        signal.setitimer(signal.ITIMER_REAL, max(left, 0.1))

    signal.setitimer(signal.ITIMER_REAL, seconds)
    return rings


def call(arguments: list[str], limit: float = LIMIT) -> tuple[str, str]:
    """The outcome of one command, and what it said."""
    said, out = io.StringIO(), io.StringIO()
    handlers = {signal.SIGPROF: _over, signal.SIGALRM: _alarm(PATIENCE * limit)}
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    signal.setitimer(signal.ITIMER_PROF, limit)
    try:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(out), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            code = app(arguments, standalone_mode=False)
        return ("fine", "") if code in (None, 0) else ("refused", said.getvalue())
    except BitspikeError as error:
        return ("refused" if "\n" not in str(error) else "traceback"), str(error)
    except _OverTime:
        return ("running" if "epoch" in said.getvalue() or "spiking" in str(arguments) else "hang"), said.getvalue()
    except (typer.Exit, SystemExit):
        return "refused", said.getvalue()
    except Exception as error:
        # What `main` says in one line: a wrong command line, a file that failed, too deep, too large.
        known = hasattr(error, "format_message") or isinstance(error, OSError | MemoryError | RecursionError)
        return ("refused" if known else "traceback"), f"{type(error).__name__}: {error}"[:300]
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in before.items():
            signal.signal(number, handler)


def parameters(verb: str) -> Iterator[tuple[str, list[str]]]:
    """Every option of a verb, and "" for each of its arguments, with the values to try."""
    (command,) = (c for c in app.registered_commands if c.callback is not None and c.callback.__name__ == verb)
    assert command.callback is not None
    kinds = typing.get_type_hints(command.callback)
    for parameter in inspect.signature(command.callback).parameters.values():
        declared = getattr(parameter.default, "param_decls", None) or ()
        name = next(iter(declared), "" if "Argument" in type(parameter.default).__name__ else f"--{parameter.name}")
        kind = str(kinds[parameter.name])
        if "bool" in kind:
            yield name.split("/")[0], ["True"]
        else:
            yield name, WHOLE if "int" in kind else NUMBERS if "float" in kind else TEXTS


def with_value(base: list[str], name: str, value: str) -> list[str]:
    """The command with an option set, or its last argument replaced."""
    if not name:
        return [base[0], value, *base[2:]] if len(base) > 1 else [*base, value]
    if value == "True":
        return [*base, name]
    if name in base and name != "--set":
        place = base.index(name)
        return [*base[:place], f"{name}={value}", *base[place + 2 :]]
    return [*base, f"{name}={value}"]


def trials(pairs: int, seed: int) -> Iterator[list[str]]:
    """Every single value, then seeded pairs."""
    singles = []
    for verb, base in [*BASES.items(), ("evaluate", SPIKING)]:
        for name, values in parameters(verb):
            for value in values:
                if (name, value) not in ALLOWED:
                    singles.append((base, name, value))
    for base, name, value in singles:
        yield with_value(base, name, value)
    draw = random.Random(seed)
    for _ in range(pairs):
        base, name, value = draw.choice(singles)
        others = [(n, v) for b, n, v in singles if b is base and n and n != name]
        if others:
            yield with_value(with_value(base, name, value), *draw.choice(others))


def run(pairs: int, seed: int, most: int | None = None, stride: int = 1) -> dict[str, Any]:
    """Try them in a new folder; `stride`: only every so many of the trials."""
    import torch

    counts: dict[str, int] = {}
    faults: list[str] = []
    home, threads = Path.cwd(), torch.get_num_threads()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            material()
            for number, arguments in enumerate(trials(pairs, seed)):
                if number % stride:
                    continue
                if most is not None and sum(counts.values()) >= most:
                    break
                shutil.rmtree("runs/new", ignore_errors=True)
                waited, worked = idle(), time.process_time()
                outcome, said = call(arguments)
                torch.set_num_threads(threads)
                if idle() - waited > 2 * PATIENCE * LIMIT or time.process_time() - worked > 3 * LIMIT:
                    outcome = "hang"
                counts[outcome] = counts.get(outcome, 0) + 1
                if outcome in ("traceback", "hang"):
                    faults.append(f"{outcome}: {' '.join(arguments)[:300]!a}: {said[-300:]!a}")
                    print(faults[-1], flush=True)
        finally:
            os.chdir(home)
    return {"seed": seed, "tried": sum(counts.values()), "outcomes": counts, "faults": faults}


def main() -> None:
    """All of it; the counts go to results/campaigns.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", action="store_true", help="print the counts only; store nothing")
    given = parser.parse_args()
    found = run(given.pairs, given.seed)
    print(json.dumps(found))
    if not given.keep:
        content = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
        content["options"] = found
        RESULTS.write_text(json.dumps(content, indent=1) + "\n")
    sys.exit(bool(found["faults"]))


if __name__ == "__main__":
    main()
