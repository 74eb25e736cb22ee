"""What `bitspike doctor` says of kernels and data."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from bitspike import data
from bitspike.cli.app import app
from bitspike.errors import BitspikeError
from bitspike.neurons import with_steps


def output(*arguments: str) -> str:
    result = CliRunner().invoke(app, ["doctor", *arguments], catch_exceptions=False)
    assert result.exit_code == 0
    return result.output


@pytest.mark.parametrize("kind", with_steps())
def test_every_neurons_equations_and_source_can_be_printed(kind: str) -> None:
    text = output("--kernel", kind)
    assert "def forward(" in text
    assert "def backward(" in text
    assert "  y = " in text


def test_the_printed_equation_is_the_neurons() -> None:
    assert "v' = beta*v - theta*stop(spike(beta*v - theta + x)) + x" in output("--kernel", "lif")


def test_back_ends_and_processor_are_named() -> None:
    found = json.loads(output("--json"))
    assert set(found["time loops"]) == {"reference", "cpu", "cuda"}
    assert found["products"]


def test_layers_of_a_recipe() -> None:
    rows = json.loads(output("--recipe", "digits-st", "--json"))
    loops = [row for row in rows if row["kind"] == "LIF"]
    assert [row["takes"] for row in loops] == ["cpu", "cpu"]


def test_an_unknown_neuron_is_refused() -> None:
    with pytest.raises(BitspikeError, match="kernel: got 'liff'"):
        CliRunner().invoke(app, ["doctor", "--kernel", "liff"], catch_exceptions=False)


def test_svhn_is_found_by_its_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = tmp_path / "a", tmp_path / "b"
    monkeypatch.setenv("BITSPIKE_DATA", f"{first}:{second}")
    missing = "not found: put 'svhn/train_32x32.mat' and 'svhn/test_32x32.mat' into BITSPIKE_DATA"
    assert data.where("svhn") == missing
    (second / "SVHN").mkdir(parents=True)
    (second / "SVHN" / "train_32x32.mat").touch()
    assert data.where("svhn") == "not found: put 'svhn/test_32x32.mat' into BITSPIKE_DATA"
    (second / "SVHN" / "test_32x32.mat").touch()
    assert data.where("svhn") == str(second / "SVHN")
    assert json.loads(output("--json"))["data"]["svhn"] == str(second / "SVHN")
    first.mkdir()
    (first / "test_32x32.mat").touch()
    assert data.where("svhn") == f"{second / 'SVHN'}, {first}"


def test_only_sets_without_files_are_embedded_or_generated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BITSPIKE_DATA", raising=False)
    found = {name for name in data.names() if data.where(name) == "embedded or generated"}
    assert found == {"digits", "digits-dvs-sim", "cue-order", "two-moons", "regression-1d", "mackey-glass"}
