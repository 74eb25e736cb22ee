"""The command in a process of its own: several command lines one after the other, for one start of the interpreter."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

# What `main` does but for its end, which closes the streams and leaves.
SCRIPT = """
import contextlib, io, json, sys
from bitspike.cli.app import _run
done = []
for arguments in json.loads(sys.argv[1]):
    sys.argv[1:] = arguments
    out, said = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(said):
        code = _run()
    done.append((code, out.getvalue(), said.getvalue()))
sys.stdout.write(json.dumps(done))
"""


class Done(NamedTuple):
    """What one command line came to."""

    code: int
    stdout: str
    stderr: str


def commands(*lines: Sequence[object], cwd: Path | None = None, codes: Sequence[int] = ()) -> list[Done]:
    """Run command lines (without "bitspike") in one new process; codes: wanted of them, 0 of all if not said."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    environment.pop("BITSPIKE_PLUGINS", None)
    asked = json.dumps([[str(word) for word in line] for line in lines])
    process = subprocess.run(
        [sys.executable, "-c", SCRIPT, asked], cwd=cwd, capture_output=True, text=True, timeout=300, check=False,
        env=environment,
    )  # fmt: skip
    assert process.returncode == 0, process.stderr
    found = [Done(*done) for done in json.loads(process.stdout)]
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
