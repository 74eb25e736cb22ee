"""The recipes of VGG9 and its two ordinary networks on CIFAR-10 files: trained, stored, measured, loaded, shown."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import bitspike

from ..data.test_cifar import cifar10

FAST = (
    "data.validation=20", "training.epochs=2", "model.width=0.0625", "evaluation.energy_examples=4",
    "evaluation.batch=20",
)  # fmt: skip


@pytest.mark.parametrize("name", ["cifar10-vgg9-snn", "cifar10-vgg9-ann", "cifar10-vgg9-ann-reference"])
def test_a_recipe_trains_and_is_measured(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BITSPIKE_DATA", str(cifar10(tmp_path)))
    steps = ("encoder.steps=2",) if name.endswith("snn") else ()
    run = bitspike.train(name, tmp_path / "run", overrides=[*FAST, *steps])
    assert run.result["test"]["accuracy"] >= 0
    rated = run.result["energy"]["mac_ac"]
    assert (rated["ratio"] is not None) == bool(steps)
    page = bitspike.report(run.path).read_text()
    assert ("MACs and ACs by rates of neurons" in page) == bool(steps)
    x = run.dataset().test.x[:3]
    assert float(x.min()) == -1.0
    loaded = bitspike.load(run.path)
    assert torch.equal(loaded.predict(x), run.predict(x))
    again = bitspike.train(name, tmp_path / "again", overrides=[*FAST, *steps])
    assert {**again.result, "seconds": 0} == {**run.result, "seconds": 0}
