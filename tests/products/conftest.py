"""A cache of the test's own, with fixed times in it, so that no test depends on what this machine measures."""

from __future__ import annotations

import pytest
import torch

from bitspike.products import problem, processor, table

WAYS = {
    "float32": {},
    "dense": {"int8": 0.1, "digits": 0.1, "bfloat16": 0.1},
    "sparse": {f"sparse {density}": 0.1 for density in problem.DENSITIES},
}


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    """Every file in a folder of the test's."""
    monkeypatch.setenv("BITSPIKE_CACHE", str(tmp_path / "cache"))
    table.forget()
    yield tmp_path / "cache"
    table.forget()


@pytest.fixture
def way(monkeypatch):
    """way("sparse") makes that kind of method the fastest one of every class, from one multiplication on."""

    def choose_it(name: str) -> None:
        monkeypatch.setattr(problem, "SMALL", 0)
        monkeypatch.setattr(table, "seconds", lambda *_: {"float32": 1.0} | WAYS[name])
        can = processor.capabilities()
        if name == "dense" and not can.integers:
            pytest.skip(str(can))
        if name == "sparse" and not can.compiled:
            pytest.skip("Numba is not installed")

    return choose_it


@pytest.fixture
def source():
    return torch.Generator().manual_seed(3)
