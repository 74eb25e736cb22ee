from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
import torch

from bitspike.data import Events

FILE = Path(__file__).parents[1] / "docs" / "camera_statistics.py"


@pytest.fixture(scope="module")
def study() -> ModuleType:
    spec = importlib.util.spec_from_file_location("camera_statistics", FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_statistics_by_hand(study: ModuleType) -> None:
    # Two recordings of 8 x 8 pixels and 0.1 s: a pixel with + at 0, 10 and - at 30 ms, one with + at the edge at 1 ms.
    t, x = torch.tensor([0, 10_000, 30_000, 1000]), torch.tensor([4, 4, 4, 0], dtype=torch.int16)
    p = torch.tensor([1, 1, 0, 1], dtype=torch.uint8)
    found = study.statistics(Events(t, x, x, p, torch.tensor([0, 3, 4]), (2, 8, 8)), 0.1)
    assert found["events"]["mean"] == 2
    assert found["rate"] == pytest.approx(4 / (2 * 64 * 0.1))
    assert found["on"] == 0.75
    assert found["intervals_ms"]["0.5"] == pytest.approx(15)
    assert found["active"] == pytest.approx(3 / (2 * 64 * 4))
    assert found["both_signs"] == 0
    assert found["border"] == {"rate": pytest.approx(1 / (2 * (64 - 4) * 0.1)), "on": 1}
    assert study.counts(Events(t, x, x, p, torch.tensor([0, 3, 4]), (2, 8, 8))).sum() == pytest.approx(2 + 2**0.5)
