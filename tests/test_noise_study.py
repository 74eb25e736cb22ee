"""The noise study end to end at a tiny size: stopped, started again, its table by hand."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

FILE = Path(__file__).parents[1] / "docs" / "noise_study.py"


@pytest.fixture(scope="module")
def noise_study() -> ModuleType:
    spec = importlib.util.spec_from_file_location("noise_study", FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_table_by_hand(noise_study: ModuleType) -> None:
    none = [torch.tensor([True, True, False, False]), torch.tensor([True, False, False, False])]
    other = [torch.tensor([True, True, True, False]), torch.tensor([True, False, False, True])]
    found = noise_study.summary({"none": none, "gaussian-10": other})
    assert found["none"]["accuracy"] == pytest.approx(0.375)
    assert found["none"]["seeds"] == [0.5, 0.25]
    assert "minus_none" not in found["none"]
    assert found["gaussian-10"]["minus_none"]["difference"] == pytest.approx(0.25)
    assert found["gaussian-10"]["minus_none"]["seeds"] == (0.25, 0.25)


def test_what_spikes_lose_by_hand(noise_study: ModuleType) -> None:
    twins = {
        "none": [torch.tensor([True, True, True, False])],
        "gaussian-10": [torch.tensor([True, True, False, False])],
    }
    spikes = {
        "none": [torch.tensor([True, False, False, False])],
        "gaussian-10": [torch.tensor([True, True, True, False])],
    }
    found = noise_study.lost(spikes, twins)
    assert found["none"] == {"loss": 0.5}
    assert found["gaussian-10"]["loss"] == -0.25
    assert found["gaussian-10"]["minus_none"]["difference"] == -0.75


def test_a_small_study_and_its_second_call(noise_study: ModuleType, tmp_path: Path) -> None:
    tiny = "--recipe soft-lif-digits --layers ['8c3','a2','16'] --epochs 2 --images 40 --precision 32-true"
    asked = noise_study.options([*tiny.split(), "--noises", "none", "alpha-rc-3", "--seeds", "1"])
    asked.runs = tmp_path
    found = noise_study.study(asked)
    assert list(found["windows"]) == ["5, 100, 200", "3, 60, 150", "0, 10, 80", "0, 10, 60", "twin"]
    assert {path.name for path in tmp_path.iterdir()} == {
        "noise-none-seed-1",
        "noise-alpha-rc-3-seed-1",
    }
    cell = found["windows"]["5, 100, 200"]["alpha-rc-3"]
    none = found["windows"]["5, 100, 200"]["none"]
    assert cell["minus_none"]["difference"] == pytest.approx(cell["accuracy"] - none["accuracy"])
    # Stored and read back, not measured again: what the file says is what counts.
    stored = tmp_path / "noise-none-seed-1" / "noise-study-5ms.npz"
    with np.load(stored) as arrays:
        changed = {key: arrays[key] for key in arrays.files}
    changed["spikes"] = ~changed["spikes"]
    np.savez(stored, **changed)
    again = noise_study.study(asked)
    first = found["windows"]["5, 100, 200"]["none"]["seeds"]
    assert again["windows"]["5, 100, 200"]["none"]["seeds"] == pytest.approx([1 - first[0]])
    assert again["windows"]["twin"] == found["windows"]["twin"]
    # Other settings are another measurement.
    asked.images = 30
    assert noise_study.study(asked)["images"] == 30
