"""The energy account in the results of runs: at the end of training, counted again, of a network made spiking."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from typer.testing import CliRunner

import bitspike
from bitspike.cli.app import app
from bitspike.reports import report
from bitspike.studies.hybrid import sweep_run

SMALL = ["training.epochs=2", "evaluation.energy_examples=40"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> bitspike.Run:
    return bitspike.train(
        "digits-st", tmp_path_factory.mktemp("runs") / "st", overrides=[*SMALL, "model.layers=['32']"]
    )


def test_training_leaves_the_whole_account(run: bitspike.Run) -> None:
    found = run.result["energy"]
    assert {"network", "non_spiking_twin", "opponent", "devices", "paper", "cross_over", "by_layer"} <= set(found)
    assert set(found["devices"]) == {"cpu", "gpu", "arm", "loihi", "spinnaker", "spinnaker2"}
    assert found["network"]["neuron_updates"] == run.recipe.encoder.steps * 32
    line = found["cross_over"]["arithmetic"]
    assert line["network"] == found["network"]["joules_compute"]
    assert line["opponent"] == found["opponent"]["joules_compute"]
    # Weights of one bit: each connection is one addition, whatever is sent.
    assert found["opponent"]["ac"] == found["non_spiking_twin"]["mac"]
    stored = bitspike.write_results([run.path], run.path.parent)
    assert stored["mean"]["energy"]["devices"]["loihi"]["joules"] == found["devices"]["loihi"]["joules"]


def test_evaluate_counts_again_and_stores(run: bitspike.Run) -> None:
    stored = json.loads((run.path / "result.json").read_text())
    old = {key: value for key, value in stored["energy"].items() if key in ("label", "network", "non_spiking_twin")}
    (run.path / "result.json").write_text(json.dumps({**stored, "energy": old}))
    done = CliRunner().invoke(app, ["evaluate", str(run.path)], catch_exceptions=False)
    assert done.exit_code == 0
    assert "at the same bits" in done.output
    assert "per synapse" in done.output
    assert json.loads((run.path / "result.json").read_text()) == stored
    # Other splits are read, not stored.
    (run.path / "result.json").write_text(json.dumps({**stored, "energy": old}))
    CliRunner().invoke(app, ["evaluate", str(run.path), "--split", "validation"], catch_exceptions=False)
    assert json.loads((run.path / "result.json").read_text())["energy"] == old
    (run.path / "result.json").write_text(json.dumps(stored))


def test_the_setting_chosen_of_a_hybrid_has_its_account(tmp_path: Path) -> None:
    small = [*SMALL, "model.layers=['8c3','p2','24']", "model.neuron.kind=relu"]
    relu = bitspike.train("digits-full", tmp_path / "relu", overrides=small)
    found = sweep_run(relu, (1, 2), (8.0,), within=1.0, most=60)
    assert found["chosen"] is not None
    account = found["energy"]
    assert account["network"]["ac"] > 0
    assert math.isfinite(account["cross_over"]["arithmetic"]["at"])
    assert account["by_layer"][0]["spikes_per_synapse"] is None
    # At one presentation of counts near 8, at most some 9 levels: 4 bits.
    assert 1 < account["by_layer"][1]["activation_bits"] <= 5
    assert "The setting chosen, as few-bit spikes" in report(relu.path).read_text()
