"""The examples run as a new user runs them, and what they print is what they promise."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"


def lines(name: str, cwd: Path) -> list[str]:
    """What an example prints; it must end well."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, EXAMPLES / f"{name}.py"], cwd=cwd, env=environment, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def percents(line: str) -> list[float]:
    """Every percentage of a line."""
    return [float(found) for found in re.findall(r"([\d.]+)%", line)]


def test_a_neuron_of_ones_own_learns(tmp_path: Path) -> None:
    assert percents(lines("own_neuron", tmp_path)[-1])[0] >= 90


@pytest.mark.long
def test_a_trained_run_says_how_sure_it_is(tmp_path: Path) -> None:
    first, *answers = lines("train_and_predict", tmp_path)
    assert percents(first)[0] >= 95
    assert sum(re.fullmatch(r"a (\d): says \1, .*% sure", line) is not None for line in answers) >= 6


@pytest.mark.long
def test_an_ordinary_network_with_few_levels_and_as_spikes(tmp_path: Path) -> None:
    slid = lines("hybridise", tmp_path)
    assert percents(slid[-1])[0] >= 90


@pytest.mark.long
def test_relus_become_spikes_without_a_gap(tmp_path: Path) -> None:
    gap = next(line for line in lines("relu_to_spikes", tmp_path) if line.startswith("gap after"))
    assert abs(float(re.findall(r"(-?[\d.]+) points", gap)[0])) <= 0.5
