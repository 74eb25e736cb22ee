"""`kill -9` between rounds and within them, then --resume: the same result and the same rounds, bit for bit."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

COMMAND = str(Path(sys.executable).with_name("bitspike"))
SMALL = ["federation.rounds=6", "federation.participants=6", "federation.stragglers=0.2", "encoder.steps=4"]


def start(out: Path, *more: str) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    sets = [word for entry in SMALL for word in ("--set", entry)]
    command = [COMMAND, "federate", "federated-digits", "--out", str(out), "--threads", "1", *sets, *more]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environment)


def outcome(out: Path) -> tuple[dict[str, object], dict[str, object]]:
    result = json.loads((out / "result.json").read_text())
    del result["seconds"]
    return result, json.loads((out / "federation.json").read_text())


@pytest.mark.long
@pytest.mark.parametrize("state", ["kept", "disk"])
def test_a_killed_federation_ends_the_same(state, tmp_path):
    more = ["--set", f"federation.state={state}", "--set", "federation.codec.kind=top-k"]
    whole = start(tmp_path / "whole", *more)
    started = time.monotonic()
    whole.communicate()
    assert whole.returncode == 0
    seconds = time.monotonic() - started
    moments = random.Random(state)
    for number in range(8):
        out = tmp_path / f"killed-{number}"
        run = start(out, *more)
        time.sleep(moments.uniform(0.2, 1.0) * seconds)
        run.send_signal(signal.SIGKILL)
        run.communicate()
        again = start(out, "--resume", *more)
        _, errors = again.communicate()
        assert again.returncode == 0, errors.decode()
        assert outcome(out) == outcome(tmp_path / "whole"), f"kill {number}"
        assert not list(out.glob("**/.*.part"))
