"""Run folders that were written before the registry: they load, answer as they did, and go on where they stopped.

`old_runs/expected.json`: answers of each when it was written, and those of the one that was stopped half-way had it not
been.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

import bitspike
from bitspike.reports import report

OLD = Path(__file__).parent / "old_runs"
EXPECTED = json.loads((OLD / "expected.json").read_text())
FINISHED = [name for name in EXPECTED if name != "half-way"]


def _answers_as_then(run: bitspike.Run, name: str) -> None:
    then = EXPECTED[name]
    x = torch.tensor(then["x"])
    for key, samples in (("map", 0), ("shipped", None)):
        now = run.predict(x, samples=samples).double()
        assert torch.allclose(now, torch.tensor(then[key], dtype=torch.float64), rtol=1e-5, atol=1e-7), key


@pytest.mark.parametrize("name", FINISHED)
def test_it_answers_as_it_did(name: str) -> None:
    run = bitspike.load(OLD / name)
    _answers_as_then(run, name)
    # What it stored of other neurons, precisions and rules is no word of anybody.
    assert run.recipe.recipe_hash() == run.environment["recipe_hash"]


@pytest.mark.parametrize("name", ["bayesian", "soft-lif", "relu"])
def test_its_page_is_made_of_what_lies_there(name: str, tmp_path: Path) -> None:
    shutil.copytree(OLD / name, tmp_path / name)
    assert report(tmp_path / name).stat().st_size > 10_000


def test_one_that_was_stopped_half_way_ends_as_it_would_have(tmp_path: Path) -> None:
    then = EXPECTED["half-way"]
    shutil.copytree(OLD / "half-way", tmp_path / "run")
    run = bitspike.train(then["recipe"], tmp_path / "run", overrides=then["sets"], resume=True)
    _answers_as_then(run, "half-way")
    assert {key: run.result["test"][key] for key in then["test"]} == pytest.approx(then["test"], rel=1e-5)
