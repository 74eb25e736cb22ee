"""Recurrent networks built from recipes: sizes, answers, resuming, and what a recipe may not ask."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from bitspike.errors import BitspikeError
from bitspike.models.sequence import Gated, SequenceNetwork
from bitspike.reports import report
from bitspike.run.assemble import Form, build_model
from bitspike.run.finished import load
from bitspike.run.recipe_files import load_recipe
from bitspike.run.start import train

MNIST = Form("classification", tuple("0123456789"), (1, 28, 28), None, "image")


def size(name: str, **options: object) -> int:
    recipe = load_recipe(name, [f"{key}={value}" for key, value in options.items()])
    return sum(p.numel() for p in build_model(recipe, MNIST).parameters() if p.requires_grad)


def test_opponents_have_comparable_sizes() -> None:
    # With the fixed Abar, Bbar and e_x: 167,819, and 165,547 for the hybrid, of less memory and more hidden units.
    assert size("psmnist-lmu") == 102_026 == 167_819 - 256**2 - 256 - 1
    assert size("psmnist-hybrid") == 122_074 == 165_547 - 208**2 - 208 - 1
    assert size("psmnist-lstm") == 164_410
    assert size("psmnist-gru") == 165_890
    assert size("psmnist-parallel") == 346 * 468 + 346 + 346 + 3470


def test_the_read_out_is_the_mean_of_the_final_hidden_states() -> None:
    cell = Gated("lstm", 2, 4)
    model = SequenceNetwork(cell, 3, read=2)
    x = torch.randn(6, 5, 2, generator=torch.Generator().manual_seed(0))
    expected = model.readout(cell(x)[-2:].mean(0))
    assert model(x).shape == (1, 5, 3)
    assert torch.allclose(model(x)[0], expected, atol=1e-6)
    with pytest.raises(BitspikeError, match="model read: got 7"):
        SequenceNetwork(cell, 3, read=7)(x)


def test_initial_weights_have_names() -> None:
    one, same, other = (Gated("gru", 2, 4, (seed, "init")) for seed in (0, 0, 1))
    assert torch.equal(one.layer.weight_hh_l0, same.layer.weight_hh_l0)
    assert not torch.equal(one.layer.weight_hh_l0, other.layer.weight_hh_l0)


SMALL = ["training.epochs=4", "optimizer.lr=0.02", "evaluation.energy_examples=20", "model.hidden=16"]


@pytest.mark.parametrize("kind", ["lmu", "lmu-parallel", "gru", "lstm"])
def test_every_kind_trains_from_a_recipe_and_is_loaded_again(kind: str, tmp_path: Path) -> None:
    overrides = [*SMALL, f"model.kind={kind}"]
    recipe = Path(tmp_path / "r.toml")
    text = 'name = "r"\n[data]\nset = "digits"\n[encoder]\nname = "pixels"\ngroup = 8\n[model]\nkind = "lmu"\n'
    if kind.startswith("lmu"):
        overrides += ["model.order=4", "model.window=8.0", "model.hybrid.memory_limit=5"]
    recipe.write_text(text)
    run = train(recipe, tmp_path / "run", overrides=overrides)
    assert run.result["test"]["accuracy"] > 0.3
    if kind.startswith("lmu"):
        levels = run.result["bits"]["levels"]
        assert levels["layers"]["cell.memory"]["most_levels"] <= 11
        assert run.result["bits"]["average"] == levels["total"]["average"] <= 3.5
        real = run.result["bits"]["average_with_real_states"]
        # The memory of the parallel form is real inside; the sequential one keeps nothing to itself here.
        assert real > 5 if kind == "lmu-parallel" else real == levels["total"]["average"]
        # Carries are real numbers, one for each number that is sent.
        assert run.result["bits"]["average_with_carries"] > 16
        layers = levels["layers"]
        lowest, highest = sorted(layers[name]["significant"] for name in ("cell.memory", "cell.spikes"))
        assert lowest < run.result["bits"]["significant_by_weight"] < highest
        page = report(tmp_path / "run").read_text()
        assert "log₂ of levels used" in page
        assert "cell.memory" in page
    again = load(tmp_path / "run")
    x = torch.rand(3, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    assert torch.equal(again.predict(x), load(tmp_path / "run").predict(x))
    over = again.predict(x, over_time=True)
    assert over.shape == (8, 3, 10)
    assert torch.equal(over[-1], again.predict(x))


def test_a_hybrid_stopped_half_way_ends_in_the_same_result(tmp_path: Path) -> None:
    from bitspike.run import trainer

    overrides = ["training.epochs=3", "evaluation.energy_examples=20", "training.checkpoint_seconds=0.0"]
    whole = train("digits-rows-hybrid", tmp_path / "a", overrides=overrides)
    calls = []

    def stop(self: trainer.Trainer, asked: int) -> int:
        calls.append(1)
        return int(len(calls) == 23)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainer.Trainer, "_any_process", stop)
        with pytest.raises(trainer.Interrupted):
            train("digits-rows-hybrid", tmp_path / "b", overrides=overrides)
    resumed = train("digits-rows-hybrid", tmp_path / "b", overrides=overrides, resume=True)
    drop = {"seconds"}
    assert {k: v for k, v in resumed.result.items() if k not in drop} == {
        k: v for k, v in whole.result.items() if k not in drop
    }


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("weights.precision=bayesian", "weights.precision: got 'bayesian'"),
        ("encoder.group=7", "encoder group: got 7"),
        ("model.kind=lmo", "model.kind: got 'lmo'"),
        ("model.hybrid.memory_limits=3", "did you mean 'memory_limit'"),
        ("model.read=9", "model read: got 9"),
    ],
)
def test_a_wrong_recipe_is_one_line(override: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(BitspikeError, match=message):
        train("digits-rows-hybrid", tmp_path / "run", overrides=[override, "training.epochs=1"])
