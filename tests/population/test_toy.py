"""The paper's toy: what each variant comes to in the mean of 50 seeds."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from statistics import fmean

import pytest

TOY = Path(__file__).parents[2] / "examples" / "population" / "toy.py"


@pytest.fixture
def toy():
    spec = importlib.util.spec_from_file_location("toy", TOY)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_only_copies_and_noise_together_climb_the_toy(toy):
    found = {variant: list(toy.ends(variant, 50 if "noise" in variant or "explore" in variant else 3))
             for variant in toy.VARIANTS}  # fmt: skip
    means = {variant: fmean(scores) for variant, scores in found.items()}
    assert means["grid"] == pytest.approx(0.39, abs=0.005)
    assert means["PBT, factors"] == pytest.approx(0.39, abs=0.005)  # 0 times anything is 0
    assert means["weights only"] == pytest.approx(1.17, abs=0.01)
    assert means["explore only"] == pytest.approx(1.12, abs=0.03)
    assert means["PBT, noise"] >= 1.18
    assert min(found["PBT, noise"]) >= 1.1
