"""The study of where spikes cost less: what its verdict says of several bars."""

import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[1] / "docs"


@pytest.fixture
def crossover(monkeypatch):
    monkeypatch.setattr(sys, "path", [str(DOCS), *sys.path])
    import energy_crossover

    return energy_crossover


def bar(name, low, high, accuracy_low):
    side = {"setting": name, "accuracy": 0.98, "mean_steps": 1.1, "joules": 1e-8}
    return {
        "spiking": side,
        "ordinary": side,
        "joules_ratio": {"mean": (low + high) / 2, "low": low, "high": high},
        "accuracy_difference": {"mean": accuracy_low + 0.001, "low": accuracy_low, "high": accuracy_low + 0.002},
    }


def test_the_verdict_is_of_the_highest_bar_that_wins_not_of_the_luckiest_on_test(crossover):
    lost, first, lucky = bar("lost", 0.9, 1.1, 0.0), bar("first", 0.5, 0.9, -0.0015), bar("lucky", 0.5, 0.9, 0.004)
    said = crossover.said([lost, first, lucky])
    assert said.startswith("first: 1.10 steps")
    assert said.endswith("so at 2 of 3 bars on accuracy")
    assert crossover.said([bar("few", 0.5, 0.9, -0.01), lost]).startswith("cheaper, but equal accuracy is not shown")
    assert crossover.said([lost]).startswith("no setting is shown to cost less")
