"""The networks of soft-LIF's paper on CIFAR-100 and SVHN, on files of their formats with images drawn here."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

import bitspike
from bitspike.studies.spiking import evaluate_spiking


def cifar100(folder: Path) -> None:
    home = folder / "cifar-100-python"
    home.mkdir()
    for number, name in enumerate(("train", "test")):
        draw = np.random.default_rng(number)
        labels = {b"fine_labels": [i % 100 for i in range(200)], b"coarse_labels": [i % 20 for i in range(200)]}
        content = {b"data": draw.integers(0, 256, (200, 3072), np.uint8), **labels}
        (home / name).write_bytes(pickle.dumps(content, 2))
    names = {b"fine_label_names": [b"f%d" % i for i in range(100)], b"coarse_label_names": [b"c"] * 20}
    (home / "meta").write_bytes(pickle.dumps(names, 2))


def svhn(folder: Path) -> None:
    for number, name in enumerate(("train", "test")):
        draw = np.random.default_rng(number)
        X, y = draw.integers(0, 256, (32, 32, 3, 100), np.uint8), 1 + np.arange(100).reshape(-1, 1) % 10
        savemat(folder / f"{name}_32x32.mat", {"X": X, "y": y.astype(np.uint8)})


@pytest.mark.parametrize(
    ("recipe", "write", "changes", "neurons", "classes"),
    [
        (
            "soft-lif-cifar10",
            cifar100,
            ["data.set=cifar100", "data.validation=100"],
            [36_864, 9_216, 2_304, 1_152],
            100,
        ),
        ("soft-lif-mnist", svhn, ["data.set=svhn", "data.crop=28"], [12_544, 12_544, 2_000], 10),
    ],
)
def test_a_change_of_the_data_set_trains_the_papers_network_on_it(recipe, write, changes, neurons, classes, tmp_path):
    write(tmp_path)
    run = bitspike.train(recipe, tmp_path / "run", overrides=[*changes, "training.epochs=1"], data=tmp_path)
    assert len(run.classes) == classes
    assert run.predict(run.dataset(tmp_path).test.x[:2]).shape == (2, classes)
    found = evaluate_spiking(run, time=0.01, window=0.005, most=2, counted=1, data=tmp_path)
    assert [layer["neurons"] for layer in found["layers"]] == neurons
