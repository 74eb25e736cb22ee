"""How long gated cells remember at the start, by hand, and that a bound on the gradient holds for them."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from bitspike import notices
from bitspike.cells.without_graph import products_here
from bitspike.errors import BitspikeError
from bitspike.models.sequence import Gated
from bitspike.products.processor import Capabilities
from bitspike.run.assemble import Form
from bitspike.run.recipe_files import load_recipe
from bitspike.run.start import train

KINDS = ("lstm", "gru")
UNITS = 400


def kept(cell: Gated, steps: int) -> Tensor:
    """What is left of a state of 1 after so many steps without input, where nothing but the gates' biases acts."""
    with torch.no_grad():
        for weight in (cell.layer.weight_ih_l0, cell.layer.weight_hh_l0):
            weight.zero_()
        content = slice(2 * cell.hidden, 3 * cell.hidden)  # g of the LSTM, n of the GRU
        cell.layer.bias_ih_l0[content] = cell.layer.bias_hh_l0[content] = 0
        one = torch.ones(1, 1, cell.hidden)
        _, state = cell.run(torch.zeros(steps, 1, 1), (one, one) if cell.kind == "lstm" else one)
    return (state[1] if cell.kind == "lstm" else state)[0, 0]


def bias(cell: Gated, gate: int) -> Tensor:
    part = slice(gate * cell.hidden, (gate + 1) * cell.hidden)
    return (cell.layer.bias_ih_l0 + cell.layer.bias_hh_l0)[part].detach()


@pytest.mark.parametrize("kind", KINDS)
def test_a_forget_bias_of_1_keeps_0_73_of_a_state_each_step(kind: str) -> None:
    cell = Gated(kind, 1, UNITS, forget_bias=1.0)
    assert torch.allclose(kept(cell, 1), torch.tensor(0.7310586), atol=1e-6)
    assert torch.allclose(kept(cell, 3), torch.tensor(0.7310586**3), atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_left_out_two_steps_are_remembered(kind: str) -> None:
    share = kept(Gated(kind, 1, UNITS), 1)
    assert float((1 / (1 - share)).mean()) == pytest.approx(2, abs=0.01)


@pytest.mark.parametrize("kind", KINDS)
def test_chrono_units_remember_2_to_so_many_steps_evenly(kind: str) -> None:
    cell = Gated(kind, 1, UNITS, chrono=784.0)
    memory = 1 / (1 - torch.sigmoid(bias(cell, 1).double()))
    assert 2 <= float(memory.min()) < 20
    assert 766 < float(memory.max()) <= 784 + 1e-2
    # Uniform over 782 steps: mean 393, deviation 782 / sqrt(12) = 225.7.
    assert abs(float(memory.mean()) - 393) < 4 * 225.7 / UNITS**0.5
    assert float(memory.std()) == pytest.approx(225.7, rel=0.1)
    # After n steps (1 - 1 / memory)^n is left.
    assert torch.allclose(kept(cell, 50).double(), (1 - 1 / memory) ** 50, atol=1e-5)


def test_an_lstm_with_chrono_gates_averages_what_comes_in() -> None:
    cell = Gated("lstm", 1, 50, chrono=100.0)
    assert torch.allclose(bias(cell, 0), -bias(cell, 1))
    forget, given = torch.sigmoid(bias(cell, 1)), torch.sigmoid(bias(cell, 0))
    assert torch.allclose(forget + given, torch.ones(50))


@pytest.mark.parametrize("kind", KINDS)
def test_gates_are_drawn_by_name_and_all_else_stays(kind: str) -> None:
    plain, one, same, other = (
        Gated(kind, 2, 8, (seed, "init"), chrono=chrono)
        for seed, chrono in ((0, None), (0, 50.0), (0, 50.0), (1, 50.0))
    )
    assert torch.equal(bias(one, 1), bias(same, 1))
    assert not torch.equal(bias(one, 1), bias(other, 1))
    touched = (0, 1) if kind == "lstm" else (1,)
    for name, weight in plain.layer.named_parameters():
        for gate, (a, b) in enumerate(zip(weight.split(8), one.layer.get_parameter(name).split(8), strict=True)):
            assert torch.equal(a, b) == (not (name.startswith("bias") and gate in touched))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"chrono": 1.5}, "gated chrono: got 1.5, wanted 2 steps or more"),
        ({"chrono": math.inf}, "gated chrono: got inf"),
        ({"forget_bias": math.nan}, "gated forget_bias: got nan"),
        ({"chrono": 9.0, "forget_bias": 1.0}, "gated chrono: got 9.0 beside forget_bias 1.0, wanted one of the two"),
    ],
)
def test_what_no_gate_can_start_with_is_one_line(given: dict[str, float], message: str) -> None:
    with pytest.raises(BitspikeError, match=message):
        Gated("gru", 1, 4, **given)  # type: ignore[arg-type]


def test_a_recipe_names_them() -> None:
    form = Form("classification", tuple("0123456789"), (1, 28, 28), None, "image")
    from bitspike.run.assemble import build_model

    recipe = load_recipe("psmnist-gru", ["model.hidden=12", "model.chrono=30"])
    assert float(bias(build_model(recipe, form).cell, 1).min()) >= 0
    with pytest.raises(BitspikeError, match="chrono"):
        load_recipe("psmnist-gru", ["model.chrono=1"])


def test_fast_products_are_bfloat16_only_where_the_processor_has_it_and_it_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(notices, "always", True)
    monkeypatch.setattr(notices, "_said", set())
    without = Capabilities("some", vnni=False, amx=False, bfloat16=False, compiled=True)
    assert products_here("fast", without._replace(bfloat16=True)) == "fast"
    assert products_here("float32", without) == "float32"
    assert capsys.readouterr().err == ""
    assert products_here("fast", without) == "exact"
    assert "compute.products 'fast': this processor has no bfloat16" in capsys.readouterr().err


@pytest.mark.parametrize("kind", KINDS)
def test_a_bound_on_the_gradient_acts_on_gated_cells(kind: str, tmp_path: Path) -> None:
    """One update of gradient descent at rate 1 moves the weights by the gradient's length, `clip` at most."""
    recipe = tmp_path / "r.toml"
    recipe.write_text(
        f'name = "r"\n[data]\nset = "digits"\n[encoder]\nname = "pixels"\ngroup = 8\n[model]\nkind = "{kind}"\n'
        'hidden = 6\n[optimizer]\nname = "SGD"\nlr = 1.0\n[training]\nepochs = 1\nbatch = 4000\n'
    )
    ways = []
    for clip in (0.0, 1e-3):
        asked = [f"learner.clip={clip}", "evaluation.energy_examples=20"]
        trained = train(recipe, tmp_path / str(clip), overrides=asked).model.cell.layer
        start = Gated(kind, 8, 6).layer
        moved = [a - b for a, b in zip(trained.parameters(), start.parameters(), strict=True)]
        ways.append(torch.cat([part.detach().flatten() for part in moved]))
    free, bound = ways
    assert float(bound.norm()) < 1e-3 < float(free.norm())
    assert torch.allclose(bound / bound.norm(), free / free.norm(), atol=1e-3)
