"""Small run folders, as the trainer writes them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

STEPS, TESTED, CLASSES = 4, 60, ["zero", "one", "two"]


def _bins(said: np.ndarray, right: np.ndarray, bins: int = 15) -> dict[str, list[float]]:
    edges = np.linspace(0, 1, bins + 1)
    where = np.clip(np.digitize(said, edges) - 1, 0, bins - 1)
    count = np.bincount(where, minlength=bins)
    total = np.maximum(count, 1)
    return {
        "edges": edges.tolist(),
        "count": count.tolist(),
        "accuracy": (np.bincount(where, right, bins) / total).tolist(),
        "confidence": (np.bincount(where, said, bins) / total).tolist(),
    }


def _classification(run: Path, source: np.random.Generator) -> dict[str, Any]:
    targets = source.integers(0, 3, TESTED)
    logits = source.normal(size=(STEPS, TESTED, 3)) + 2 * np.eye(3)[targets]
    shares = np.exp(logits.cumsum(axis=0) / 2)
    p = (shares / shares.sum(axis=2, keepdims=True)).astype(np.float32)
    answered = p[-1].argmax(axis=1)
    confusion = np.zeros((3, 3), dtype=int)
    np.add.at(confusion, (targets, answered), 1)
    side = np.linspace(0, 1, 5)
    np.savez(
        run / "predictions.npz",
        probabilities=p,
        targets=targets,
        index=np.arange(100, 100 + TESTED),
        temperature=np.float64(1.3),
        raster_events=source.integers(0, 2, (STEPS, 9, 2)).astype(np.uint8),
        raster_1=source.integers(0, 2, (STEPS, 5, 2)).astype(np.uint8),
        raster_images=source.random((2, 3, 3)),
        raster_targets=targets[:2],
        raster_index=np.array([100, 101]),
        grid_x=np.stack(np.meshgrid(side, side), axis=-1).reshape(-1, 2),
        grid_probability=np.full((25, 3), 1 / 3),
    )
    bins = _bins(p[-1].max(axis=1), answered == targets)
    layer = {"name": "hidden <1>", "dense": 100, "weight_bits": 1.0, "mac": 0, "ac": 321, "add_real": 40}
    cost = {
        "mac": 0,
        "ac": 654321.0,
        "add_real": 0,
        "neuron_updates": 5000,
        "joules_compute": 5.89e-7,
        "joules_neurons": 2.3e-8,
    }
    cost |= {
        "bytes": {"weights": 1024.0, "states": {"read": 80.0}},
        "joules_with_memory": {"cache_8kB": 7.77e-7, "dram": None},
    }
    twin = {
        "mac": 400000.0,
        "ac": 0,
        "add_real": 0,
        "neuron_updates": 0,
        "joules_compute": 1.84e-6,
        "joules_with_memory": {"cache_8kB": 2.22e-6},
    }
    opponent = {
        "mac": 0,
        "ac": 345678.0,
        "neuron_updates": 400,
        "joules_compute": 3.11e-7,
        "joules_compute_zeros_skipped": 1.23e-7,
        "joules_neurons": 1.8e-9,
        "activation_bits": 2.53,
        "weight_bits": 1.0,
    }

    def cross(network: float, against: float, at: float | None) -> dict[str, Any]:
        winner = "network" if network < against else "opponent"
        return {"network": network, "opponent": against, "here": 1.64, "at": at, "winner": winner, "unit": "J"}

    def device(spiking: bool, synop: float, joules: float) -> dict[str, Any]:
        return {"spiking": spiking, "synop": synop, "neuron": 81e-12, "joules_synops": joules, "joules": joules}

    new = {
        "opponent": opponent,
        "cross_over": {
            "arithmetic": cross(5.89e-7, 3.11e-7, 0.866),
            "arithmetic and neurons": cross(6.12e-7, 3.13e-7, None),
            "loihi / cpu": cross(1.77e-5, 3.44e-3, 319.0),
            "loihi / gpu": cross(1.77e-5, 1.22e-4, 11.3),
        },
        "devices": {
            "cpu": device(False, 8.6e-9, 3.44e-3),
            "gpu": device(False, 0.3e-9, 1.22e-4),
            "loihi": device(True, 27.1e-12, 1.77e-5),
        },
    }
    return {
        "test": {
            "accuracy": 0.91234,
            "nll": 0.25678,
            "brier": 0.1357,
            "ece": 0.0468,
            "adaptive_ece": 0.0421,
            "classwise_ece": 0.0333,
            "scaled": {"temperature": 1.3, "nll": 0.24, "ece": 0.0234, "brier": 0.131},
        },
        "test_map": {"accuracy": 0.8901, "nll": 0.3, "brier": 0.15, "ece": 0.05},
        "test_single_draw": {"accuracy": 0.8765, "nll": 0.4, "brier": 0.2, "ece": 0.06},
        "over_time": [{"step": s, "accuracy": 0.5 + s / 10, "nll": 1 / s, "ece": 0.1 / s} for s in (1, 2, 3, 4)],
        "confusion": confusion.tolist(),
        "reliability": bins,
        "reliability_scaled": bins,
        "bits": {"weights_stored": 81920, "average": 1.0, "significant": 0.125, "spikes_per_neuron": 1.75},
        "energy": {
            "label": "analytic, not measured",
            "network": cost,
            "non_spiking_twin": twin,
            **new,
            "by_layer": [layer],
            "assumptions": ["4.6 pJ per MAC", "0.9 pJ per AC"],
        },
    }


def _regression(run: Path, source: np.random.Generator) -> dict[str, Any]:
    x = source.random((TESTED, 1))
    y = np.sin(6 * x)
    value = np.concatenate([y + 0.05, np.full_like(y, 0.1)], axis=1)
    np.savez(run / "predictions.npz", prediction=np.stack([value] * STEPS), targets=y, inputs=x)
    return {
        "test": {"rmse": 0.05123, "nll": -0.7654},
        "over_time": [{"step": s, "rmse": 0.3 / s, "nll": 1.0 - s} for s in (1, 2, 3, 4)],
    }


def write_run(path: Path, kind: str = "classes", seed: int = 0, classes: list[str] | None = None) -> Path:
    """A complete small run folder of `kind` "classes" or "regression"."""
    path.mkdir(parents=True)
    source = np.random.default_rng(seed)
    result = (_regression if kind == "regression" else _classification)(path, source)
    result |= {"epochs": 3, "best_epoch": 2, "seconds": 93.0}
    (path / "result.json").write_text(json.dumps(result))
    (path / "recipe.toml").write_text(
        f'name = "tiny-bayes"\nseed = {seed}\n[data]\nset = "digits"\n[weights]\nprecision = "bayesian"\n'
        '[training]\nkeep = "best"\n[evaluation]\ndraws = 10\nbins = 15\n'
    )
    data = {
        "name": "digits",
        "digests": {"digits.csv": "ab" * 32},
        "subset": "60/20",
        "classes": classes or CLASSES,
        "examples": {"train": 200, "validation": 40, "test": TESTED},
        "notes": [],
    }
    environment = {"version": "0.1.0", "device": "cpu", "seed": seed, "data": data, "started": "2026-01-02T03:04:05"}
    (path / "environment.json").write_text(json.dumps(environment))
    score = "rmse" if kind == "regression" else "accuracy"
    rows = [
        {"epoch": e, "train": {"loss": 1 / e, score: 0.5 + e / 10}, "validation": {score: 0.4 + e / 10, "nll": 1.2 / e}}
        for e in (1, 2, 3)
    ]
    (path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    counts = {"counts/layers.0.weight": source.integers(1, 9, (3, 10)), "counts/layers.1.weight": np.ones((3, 10))}
    np.savez(path / "history.npz", epochs=np.array([1, 2, 3]), edges=np.linspace(0, 1, 11), **counts)
    return path


@pytest.fixture(scope="session")
def write() -> Callable[..., Path]:
    """write_run itself, for fixtures that live longer than a test."""
    return write_run


@pytest.fixture
def make_run(tmp_path: Path) -> Callable[..., Path]:
    """write_run under a fresh folder: make_run("a", kind="regression", seed=1)."""
    return lambda name="run", **options: write_run(tmp_path / name, **options)
