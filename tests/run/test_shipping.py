"""What a run ships is chosen on validation, its opponents are fitted on the same splits, and a beaten run says so."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

import bitspike
from bitspike import metrics
from bitspike.data.base import DataSet, Split
from bitspike.errors import BitspikeError
from bitspike.run.baselines import baselines
from bitspike.run.recipe_files import load_recipe
from bitspike.run.shipping import candidates, choose_answer, lead_of

FAST = ["training.epochs=1", "model.layers=['16']", "encoder.steps=3", "evaluation.draws=2"]


def forecast(targets, right, sure=0.8, classes=3):
    """Probabilities (N, C) that put `sure` on the target where `right`, on the next class elsewhere."""
    p = torch.full((len(targets), classes), (1 - sure) / (classes - 1), dtype=torch.float64)
    p[torch.arange(len(targets)), torch.where(right, targets, (targets + 1) % classes)] = sure
    return p


def test_weights_that_are_right_more_often_beyond_chance_are_shipped():
    y = torch.arange(60) % 3
    good, poor = torch.arange(60) < 57, torch.arange(60) < 40
    samples = candidates("auto", True, 10)
    for better in ("map", "ensemble"):
        held = {name: forecast(y, good if name == better else poor) for name in samples}
        shipped = choose_answer("classification", held, y, samples, 15)
        assert (shipped.answer, shipped.samples) == (better, samples[better])
        assert "right more often on validation than" in shipped.why
        assert shipped.validation["map"].keys() >= {"accuracy", "nll", "scaled_nll", "temperature"}


def test_of_two_that_are_as_often_right_the_better_calibrated_is_shipped():
    y = torch.arange(100) % 3
    right = torch.arange(100) < 90
    even = forecast(y, right, 0.9)
    # The same answers, but as sure where they are wrong: no temperature mends that.
    uneven = torch.where(torch.arange(100)[:, None] % 2 == 0, forecast(y, right, 0.99), forecast(y, right, 0.4))
    samples = candidates("auto", True, 5)
    for better in ("map", "ensemble"):
        held = {name: even if name == better else uneven for name in samples}
        assert choose_answer("classification", held, y, samples, 15).answer == better


def test_answers_that_do_not_differ_beyond_chance_leave_the_ensemble():
    y = torch.arange(40) % 3
    one, other = torch.arange(40) < 36, torch.arange(40) < 37
    shipped = choose_answer("classification", {"ensemble": forecast(y, one), "map": forecast(y, other)}, y,
                     candidates("auto", True, 5), 15)  # fmt: skip
    assert shipped.answer == "ensemble"
    values = torch.linspace(0, 1, 30, dtype=torch.float64)[:, None]
    near, far = (torch.cat([values + error, torch.full_like(values, 0.1)], 1) for error in (0.01, 0.3))
    for better in ("map", "ensemble"):
        held = {name: near if name == better else far * (1 + 0.01 * values) for name in ("ensemble", "map")}
        assert choose_answer("regression", held, values, {"ensemble": 5, "map": 0}, 15).answer == better


def test_a_recipe_may_say_what_is_shipped_and_real_weights_have_one_answer():
    assert candidates("map", True, 10) == {"map": 0}
    assert candidates("ensemble", True, 10) == {"ensemble": 10}
    assert candidates("auto", False, 10) == {"single": 1}


def test_the_lead_is_mcnemars_statistic():
    assert lead_of(torch.tensor([1.0, 1, 1, -1, 0, 0])) == pytest.approx(2 / 4**0.5)
    assert lead_of(torch.zeros(4)) == 0


@pytest.mark.parametrize(("ship", "draws"), [("map", 0), ("ensemble", 2)])
def test_a_loaded_run_answers_with_what_was_shipped(tmp_path, ship, draws):
    run = bitspike.train("digits-bayes", tmp_path / "r", overrides=[*FAST, f"evaluation.ship='{ship}'"])
    shipped = run.result["shipped"]
    assert (shipped["answer"], shipped["draws"], run.draws) == (ship, max(1, draws), draws)
    assert run.result["test"]["accuracy"] == run.result[f"test_{ship}"]["accuracy"]
    x = bitspike.data.load("digits").test.x[:40]
    assert torch.equal(run.predict(x), run.predict(x, samples=draws))
    assert not torch.equal(run.predict(x), run.predict(x, samples=2 - draws))
    # What is shipped is what is paid for.
    assert run.result["energy"]["draws"] == max(1, draws)
    assert run.evaluate("test")["nll"] == pytest.approx(run.result["test"]["nll"], rel=1e-6)
    assert {"majority", "logistic"} <= run.result["baselines"].keys()
    # One epoch of sixteen units stays behind a line through the pixels, and says so.
    assert any(line.startswith("logistic regression is right on 9") for line in run.result["warnings"])


def dataset(x, y, kind="classification", classes=("a", "b")):
    rows = torch.arange(len(x))
    parts = [Split(x[part], y[part], rows[part]) for part in (rows % 2 == 0, rows % 4 == 1, rows % 4 == 3)]
    return DataSet("toy", kind, *parts, classes=classes, shape=tuple(x.shape[1:]), steps=None, digests={},
                   input="vector", normalisation={"kind": "none"})  # fmt: skip


def test_a_probability_that_single_precision_rounds_to_nothing_leaves_a_temperature_its_work(tmp_path):
    """Read-outs added up over many steps lie further apart than e^-104, the least that float32 holds."""
    sums = ["learner.decoder=sum-logit", "encoder.steps=300", "optimizer.lr=0.02", "training.epochs=2"]
    run = bitspike.train("digits-full", tmp_path / "run", overrides=[*sums, "model.layers=['16']"])
    with np.load(run.path / "predictions.npz") as kept:
        stored, y = torch.from_numpy(kept["probabilities"][-1]), torch.from_numpy(kept["targets"])
    assert int((stored < 1e-37).sum()) > 100
    test = run.result["test"]
    assert test["scaled"]["temperature"] > 2
    assert test["scaled"]["nll"] < test["nll"] / 2
    again = metrics.classification(metrics.apply_temperature(stored, test["scaled"]["temperature"]), y)
    assert again["nll"] == pytest.approx(test["scaled"]["nll"], rel=1e-5)
    assert torch.equal(run.predict(run.dataset().test.x), metrics.apply_temperature(stored, run.temperature))


def test_baselines_of_classes_and_the_line_of_a_network_at_chance():
    x = torch.randn(400, 5, generator=torch.Generator().manual_seed(0))
    y = (x[:, 0] > 0.3).long()
    data = dataset(x, y)
    right = torch.nn.functional.one_hot(data.test.y, 2).double()
    readings, lines = baselines(data, right)
    assert readings["logistic"]["accuracy"] > 0.95
    assert readings["majority"]["accuracy"] == pytest.approx(float((data.test.y == 0).double().mean()))
    assert lines == []
    _, lines = baselines(data, torch.tensor([[0.9, 0.1]]).expand(100, 2))
    assert len(lines) == 2
    assert lines[0].startswith("always answering 'a' is right on")
    assert lines[1].startswith("logistic regression is right on")
    assert "this network on" in lines[1]


def test_baselines_of_values():
    x = torch.randn(200, 3, generator=torch.Generator().manual_seed(0))
    y = (x @ torch.tensor([1.0, -2.0, 0.5]))[:, None]
    data = dataset(x, y, "regression", ())
    exact = torch.cat([data.test.y, torch.ones_like(data.test.y)], 1).double()
    readings, lines = baselines(data, exact)
    assert readings["ridge"]["rmse"] < 0.1 < readings["mean"]["rmse"]
    assert lines == []
    _, lines = baselines(data, torch.zeros(50, 2))
    assert [line.split(" has ")[0] for line in lines] == ["the training mean", "ridge regression"]


def test_updates_stand_for_epochs_and_a_sum_for_the_rate(tmp_path):
    overrides = [*FAST[1:], "training.updates=100", "latent_optimizer.lr_sum=20.0", "training.batch=100"]
    overrides += ["evaluation.ship='map'"]
    # The file's epochs and rate give way to an override that stands for them; two overrides are one too many.
    recipe = load_recipe("digits-bayes", overrides)
    with pytest.raises(BitspikeError, match=r": training: epochs = 3 beside updates = 100: wanted one of the two$"):
        load_recipe("digits-bayes", [*overrides, "training.epochs=3"])
    assert load_recipe("digits-bayes", ["training.epochs=3"]).training.span(13) == (3, 1)
    # 1,293 of 1,797 examples in 13 batches, the last one of 93: 8 epochs are the first with 100 updates.
    assert recipe.training.span(13) == (8, 1)
    assert recipe.training.span(1) == (100, 2)
    seen = []
    fit = bitspike.learners.BackpropLearner.fit_batch

    def watch(self, events, targets, **options):
        seen.append(fit(self, events, targets, **options)["rate_factor"] * self.optimisation.optimisers["latent"][1])
        return {"loss": 0.0, "examples": float(len(targets)), "accuracy": 0.0}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bitspike.learners.BackpropLearner, "fit_batch", watch)
        run = bitspike.train(recipe, tmp_path / "run")
    assert len(seen) == run.result["epochs"] * 13 == 104
    assert sum(seen) == pytest.approx(20.0, rel=1e-6)


def test_patience_stops_and_needs_the_best_epoch(tmp_path, monkeypatch):
    with pytest.raises(BitspikeError, match=r"patience = 2 wants keep = 'best'"):
        load_recipe("digits-st", ["training.patience=2"])
    from bitspike.run import session

    accuracies = iter([0.5, 0.9, 0.8, 0.7, 0.6])
    monkeypatch.setattr(session, "validate", lambda *a: {"accuracy": (value := next(accuracies)), "nll": 1 - value})
    overrides = [*FAST[1:], "training.epochs=9", "training.patience=2", "training.keep='best'"]
    run = bitspike.train("digits-st", tmp_path / "r", overrides=overrides)
    assert (run.result["epochs"], run.result["kept_epoch"]) == (4, 2)


def test_drawn_weights_settle_on_many_draws_and_no_example_weighs_more(tmp_path, monkeypatch):
    from bitspike.learners import backprop
    from bitspike.run.batches import Batches

    sizes = []
    statistics = Batches.statistics

    def watch(self, *given):
        for events in statistics(self, *given):
            sizes.append(events.shape[1])
            yield events

    monkeypatch.setattr(Batches, "statistics", watch)
    draws = []
    monkeypatch.setattr(backprop, "redraw", lambda model, *keys: draws.append(keys) or real(model, *keys))
    from bitspike.weights import redraw as real

    bitspike.train("digits-bayes", tmp_path / "r", overrides=FAST)
    settling = {keys for keys in draws if "statistics" in keys}
    assert len(settling) >= 40
    # 1,294 training examples in three parts: 500, 500 and 294 would give the last ones more weight.
    assert set(sizes) == {431, 432}


def test_the_last_epoch_is_always_measured(tmp_path):
    recipe = load_recipe("digits-bayes", [*FAST, "training.epochs=4", "training.validate_every=3"])
    run = bitspike.train(recipe, tmp_path / "r")
    epochs = [json.loads(line)["epoch"] for line in (run.path / "metrics.jsonl").read_text().splitlines()]
    assert epochs == [3, 4]
    with np.load(run.path / "history.npz") as history:
        assert history["epochs"].tolist() == [3, 4]


def test_a_run_answers_as_it_was_measured_where_quantisers_begin_at_the_read_out(tmp_path):
    small = ["encoder.group=8", "model.hidden=8", "model.order=16", "model.window=8.0", "training.epochs=1"]
    small += ["data.set=digits", "data.validation=0.1", "data.shift=0", "compute.products=exact", "model.read=2"]
    run = bitspike.train("psmnist-parallel", tmp_path / "run", overrides=small)
    found, measured = run.evaluate(), run.result["test"]
    assert {name: found[name] for name in ("accuracy", "nll")} == {name: measured[name] for name in ("accuracy", "nll")}
    stored = torch.from_numpy(np.load(run.path / "predictions.npz")["probabilities"])[-1]
    assert torch.allclose(run.predict(run.split("test").x, scaled=False), stored, atol=1e-6)
    assert run.result["bits"]["levels"]["layers"]
