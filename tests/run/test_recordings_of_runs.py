"""A finished run records what it sends for new inputs, batch after batch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import bitspike


@pytest.mark.parametrize(
    ("name", "changes", "layers"),
    [
        ("digits-bayes", ["model.layers=['8c3','p2','20']"], {"spikes1": (8, 8, 8), "spikes3": (20,)}),
        (
            "two-moons-bayes",
            ["model.layers=['30','20']", "data.options={train_size=60,test_size=150}", "encoder.steps=30"],
            {"layers.0": (30,), "layers.1": (20,)},
        ),
    ],
)
def test_a_run_is_recorded_as_it_answers(
    tmp_path: Path, name: str, changes: list[str], layers: dict[str, tuple[int, ...]]
) -> None:
    small = [*changes, "training.epochs=1", "evaluation.batch=50", "evaluation.draws=2", "evaluation.ship='ensemble'"]
    run = bitspike.train(name, tmp_path / "run", overrides=small)
    dataset = run.dataset()
    found = run.record(dataset.test.x[:120])
    steps = run.encoder.steps
    assert {layer: tuple(r.spikes.shape) for layer, r in found.items()} == {
        layer: (steps, 120, *shape) for layer, shape in layers.items()
    }
    assert all(torch.isfinite(part).all() for r in found.values() for part in r.states.values())
    assert all(r.states for r in found.values())
    if run.encoder.emits == "spikes":  # drawn by example, whose numbers the run does not know here
        return
    # What the run's page draws of its test examples is the same.
    stored = np.load(run.path / "predictions.npz")
    rows = [int((dataset.test.index == int(k)).nonzero()) for k in stored["raster_index"]]
    drawn = run.record(dataset.test.x[rows], states=False)
    for number, layer in enumerate(layers, 1):
        flat = drawn[layer].spikes.flatten(2)
        some = torch.linspace(0, flat.shape[2] - 1, min(200, flat.shape[2])).long()
        np.testing.assert_array_equal(stored[f"raster_{number}"], flat[:, :, some].transpose(1, 2).numpy())
