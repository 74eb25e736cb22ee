"""`kill -9` at random moments of a run, then --resume: the same result.json, bit for bit but for seconds."""

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
SMALL = ["--set", "training.epochs=20", "--set", "training.checkpoint_seconds=0.2", "--threads", "1"]
SMALL += ["--set", "model.layers=['32']", "--set", "encoder.steps=4", "--set", "evaluation.draws=3"]


def start(recipe: str, out: Path, *more: str) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [COMMAND, "train", recipe, "--out", str(out), *SMALL, *more]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environment)


def outcome(out: Path) -> dict[str, object]:
    result = json.loads((out / "result.json").read_text())
    del result["seconds"]
    return result


@pytest.mark.parametrize(
    ("recipe", "kills"),
    [
        pytest.param("digits-bayes", 1),
        pytest.param("digits-bayes", 20, marks=pytest.mark.long),
        pytest.param("digits-st", 20, marks=pytest.mark.long),
    ],
)
def test_a_killed_run_ends_the_same(recipe, kills, tmp_path):
    whole = start(recipe, tmp_path / "whole")
    started = time.monotonic()
    whole.communicate()
    assert whole.returncode == 0
    seconds = time.monotonic() - started
    moments = random.Random(kills)
    for number in range(kills):
        out = tmp_path / f"killed-{number}"
        run = start(recipe, out)
        time.sleep(moments.uniform(0.3, 1.0) * seconds)
        run.send_signal(signal.SIGKILL)
        run.communicate()
        again = start(recipe, out, "--resume")
        _, errors = again.communicate()
        assert again.returncode == 0, errors.decode()
        assert outcome(out) == outcome(tmp_path / "whole"), f"kill {number}"
        assert not list(out.glob("**/.*.part"))
