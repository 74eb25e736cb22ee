"""The study of psMNIST's opponents: sizes, what is chosen by hand, and a tiny part of it twice."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from bitspike.errors import BitspikeError
from bitspike.run.assemble import Form, build_model
from bitspike.run.recipe_files import load_recipe

DOCS = Path(__file__).parents[1] / "docs"
MNIST = Form("classification", tuple("0123456789"), (1, 28, 28), None, "image")


@pytest.fixture
def opponents(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.setattr(sys, "path", [str(DOCS), *sys.path])
    import psmnist_opponents

    return psmnist_opponents


def measured(opponents: ModuleType, accuracy: float = 0.5, nll: float = 1.0, seed: int = 0, **bits: float) -> Any:
    metrics = {"accuracy": accuracy, "nll": nll, "ece": 0.1}
    shipped = {"answer": "single", "validation": {"single": metrics}}
    return opponents.Measured(
        result={"test": metrics, "shipped": shipped, "seconds": 60.0},
        recipe={"seed": seed, "data": {"shift": 1}, "training": {"epochs": 1}},
        environment={},
        right=torch.tensor([1.0, 0.0]),
        more={"short": {"bits": bits, "epochs": 1}, "trained_weights": 1, "curve": []},
    )


def sizes(recipe: str, told: list[str]) -> int:
    return sum(p.numel() for p in build_model(load_recipe(recipe, told), MNIST).parameters() if p.requires_grad)


def test_opponents_have_the_lmu_s_number_of_trained_weights(opponents: ModuleType) -> None:
    lmu = sizes("psmnist-lmu", [])
    for kind in opponents.KINDS:
        one = opponents.trial(kind, ("0.001", "chrono=784", "1.0"), 1)
        assert sizes(one.recipe, one.told) == pytest.approx(lmu, rel=0.02)
    assert sizes("psmnist-hybrid", opponents.SMALL) == lmu


def test_the_best_of_two_rounds_is_chosen_and_an_infinite_loss_is_the_worst(
    opponents: ModuleType, tmp_path: Path
) -> None:
    asked = []

    def get(one: Any) -> Any:
        asked.append(one.name)
        told = dict(pair.rsplit("=", 1) for pair in one.told)
        if told["optimizer.lr"] == "0.01":
            raise BitspikeError("update 3: the loss became nan")
        # 0.003 is better than 0.001, gates of chrono than a forget bias, a tight bound than a loose one.
        better = (
            (told["optimizer.lr"] == "0.003") + 2 * ("model.chrono" in told) + 0.5 * (told["learner.clip"] == "0.1")
        )
        return measured(opponents, nll=3 - better / 2)

    study = opponents.Study(tmp_path / "s", tmp_path / "records")
    setting, rows = opponents.tuned("gru", study, get)
    assert setting == ("0.003", "chrono=784", "0.1")
    assert len(rows) == 10
    assert sum("stopped" in row for row in rows) == 2
    assert {row["rate"] for row in rows if row["epochs"] == 2} == {"0.001", "0.003"}
    # What stopped is not tried again.
    before = len(asked)
    opponents.tuned("gru", study, get)
    assert [name for name in asked[before:] if "-0.01-" in name] == []


def test_another_mistake_in_a_trial_is_said(opponents: ModuleType, tmp_path: Path) -> None:
    def get(one: Any) -> Any:
        raise BitspikeError("BITSPIKE_DATA: got none")

    with pytest.raises(BitspikeError, match="BITSPIKE_DATA"):
        opponents.tuned("gru", opponents.Study(tmp_path / "s", tmp_path / "records"), get)


@pytest.mark.parametrize(
    ("accuracies", "trained"), [((0.80, 0.90, 0.95), 3), ((0.80, 0.804, 0.95), 2), ((0.80, 0.79, 0.95), 2)]
)
def test_training_is_doubled_until_it_gains_less_than_half_a_point(
    opponents: ModuleType, tmp_path: Path, accuracies: tuple[float, ...], trained: int
) -> None:
    def get(one: Any) -> Any:
        _, kind, epochs, *_ = one.name.split("-")
        return measured(opponents, accuracies[(10, 20, 40).index(int(epochs))] if kind == "final" else 0.5)

    study = opponents.Study(tmp_path / "s", tmp_path / "records")
    assert len(opponents.final("lstm", (10, 20, 40), study, get)) == trained


def test_of_the_levels_that_fit_the_best_is_chosen(opponents: ModuleType) -> None:
    found = {
        "hybrid-14": measured(opponents, 0.970, average_by_weight=3.53, significant_by_weight=1.26),
        "hybrid-14-wide": measured(opponents, 0.972, average_by_weight=3.63, significant_by_weight=1.2),
        "hybrid-15-rare": measured(opponents, 0.98, average_by_weight=3.63, significant_by_weight=1.27),
    }
    assert opponents.chosen("hybrid", lambda one: found[one.name]) == "14-wide"
    for run in found.values():
        run.more["short"]["bits"]["average_by_weight"] = 3.8
    assert opponents.chosen("hybrid", lambda one: found[one.name]) == "14-wide", "the fewest significant bits"


TINY = ["data.set=digits", "encoder.group=8", "model.hidden=8", "model.order=4", "model.window=8.0", "model.read=1",
        "training.epochs=1", "evaluation.energy_examples=20", "data.validation=200"]  # fmt: skip


def test_a_part_goes_on_from_its_records_and_makes_its_tables(
    opponents: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = ["--parts", "small-hybrid", "--runs", str(tmp_path / "runs"), "--records", str(tmp_path / "records")]
    asked += ["--out", str(tmp_path / "psmnist-opponents.json"), "--set", *TINY]
    opponents.main(asked)
    first = json.loads((tmp_path / "psmnist-opponents.json").read_text())
    shutil.rmtree(tmp_path / "runs")
    opponents.main(asked)
    assert json.loads((tmp_path / "psmnist-opponents.json").read_text()) == first
    assert not (tmp_path / "runs").exists()
    assert list(first["rows"]) == ["small-hybrid", "small-hybrid-10"]
    row = first["rows"]["small-hybrid-10"]
    # W_m, W_h and W_x; e_m, e_h and e_x; the read-out.
    assert row["trained_weights"] == 8 * 4 + 8 * 8 + 8 * 8 + 4 + 8 + 8 + 90 == 270
    assert [at["epoch"] for at in row["curves"][0]] == [1]
    import spike_tables

    monkeypatch.setattr(spike_tables, "RESULTS", tmp_path)
    bits = spike_tables.weight_bits(["small-hybrid-10", "hybrid-14"]).splitlines()
    assert len(bits) == 3
    assert f"| {row['bits'][0]['significant_by_weight']:.2f} |" in bits[2]
    assert "| 270 | 1 |" in spike_tables.opponents(["small-hybrid-10"]).splitlines()[2]
    assert spike_tables.trials(["lstm"]) == spike_tables.opponents(["lmu"]) == ""
