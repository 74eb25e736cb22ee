"""`kill -9` at random moments of a run, then --resume: the same result.json, bit for bit but for seconds."""

from __future__ import annotations

import json
import random
import time
from pathlib import Path

import pytest

from ..commands import commands, start

SMALL = ["--set", "training.epochs=20", "--set", "training.checkpoint_seconds=0.2", "--threads", "1"]
SMALL += ["--set", "model.layers=['32']", "--set", "encoder.steps=4", "--set", "evaluation.draws=3"]


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
    def line(out: Path, *more: str) -> list[object]:
        return ["train", recipe, "--out", out, *SMALL, *more]

    commands(line(tmp_path / "whole"))
    seconds = json.loads((tmp_path / "whole" / "result.json").read_text())["seconds"]
    moments = random.Random(kills)
    for number in range(kills):
        out = tmp_path / f"killed-{number}"
        run = start(line(out))
        while not (out / "checkpoints" / "last.json").exists():
            assert run.process.is_alive()
            time.sleep(0.01)
        time.sleep(moments.uniform(0, 1.2) * seconds)
        run.kill()
        commands(line(out, "--resume"))
        assert outcome(out) == outcome(tmp_path / "whole"), f"kill {number}"
        assert not list(out.glob("**/.*.part"))
