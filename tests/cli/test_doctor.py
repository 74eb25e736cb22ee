"""What `bitspike doctor` says of kernels."""

import json

import pytest
from typer.testing import CliRunner

from bitspike.cli.app import app
from bitspike.errors import BitspikeError
from bitspike.neurons import NEURONS


def output(*arguments: str) -> str:
    result = CliRunner().invoke(app, ["doctor", *arguments], catch_exceptions=False)
    assert result.exit_code == 0
    return result.output


@pytest.mark.parametrize("kind", NEURONS)
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
