"""A recording larger than memory is read, brought into bins and learned from, part by part."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bitspike.coding import bin_events
from bitspike.data.eventfiles import as_events
from bitspike.data.eventtools import downsample, windows
from bitspike.data.formats import EVENT, open_events, write_events
from bitspike.learners import OnlineLearner, Optimisation, Schedule
from bitspike.learners.optimisation import OptimiserChoice
from bitspike.models import local_network

ROOT = Path(__file__).parents[2]
SPAN = 100_000


def learned(path: Path, count: int, every: int) -> dict[str, float]:
    """What a network makes of a stream of `count` windows of `every` events, which is made on the spot.

    One half of the sensor is busy for 0.1 s, drawn anew each time; the network learns online to say which one it was.
    """
    sides = np.random.default_rng(1).integers(0, 2, count)

    def parts() -> Iterator[Any]:
        draw = np.random.default_rng(0)
        part = np.empty(every, EVENT)
        for number, side in enumerate(sides):
            part["t"] = number * SPAN + np.sort(draw.integers(0, SPAN, every))
            part["x"] = draw.integers(0, 32, every) + 32 * side
            part["y"], part["p"] = draw.integers(0, 64, every), draw.integers(0, 2, every)
            yield part

    write_events(path, parts(), size=(64, 64))
    model = local_network((2 * 8 * 8,), 2, ["32"])
    optimisation = Optimisation(model, OptimiserChoice("Adam", 0.01), None, Schedule(), 10_000)
    learner = OnlineLearner(model, optimisation, seed=0, burn_in=2)
    right: list[float] = []
    seen, some = 0, []
    for window in windows(downsample(open_events(path), 8), SPAN, 0):
        seen += len(window)
        some.append(window[:: every // 256])
        if len(some) == 8:
            x = bin_events(as_events(some, (2, 8, 8)), 8, SPAN / 8)
            y = torch.from_numpy(sides[8 * len(right) : 8 * len(right) + 8])
            right.append(learner.fit_batch(x.flatten(2), y)["accuracy"])
            some = []
    size = path.stat().st_size
    path.unlink()
    return {"bytes": size, "events": seen, "right": float(np.mean(right[-len(right) // 4 :]))}


def test_a_stream_is_learned_from_part_by_part(tmp_path: Path) -> None:
    found = learned(tmp_path / "stream.dat", 80, 1 << 12)
    assert found["events"] == 80 << 12
    assert found["right"] >= 0.9


@pytest.mark.long
def test_a_stream_of_2_gb_is_learned_from_in_less_than_1_gb(tmp_path: Path) -> None:
    script = (
        "import json, sys; from pathlib import Path; from tests.data.test_event_streams import learned\n"
        "from tests.resident import resident\n"
        "print(json.dumps({**learned(Path(sys.argv[1]), 1024, 1 << 18), 'peak': resident()}))"
    )
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    asked = [sys.executable, "-c", script, str(tmp_path / "stream.dat")]
    done = subprocess.run(asked, capture_output=True, text=True, check=False, cwd=ROOT, env=environment)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["bytes"] > 2 << 30
    assert found["events"] == 1024 << 18
    assert found["right"] >= 0.95
    assert found["peak"] < 1 << 30
