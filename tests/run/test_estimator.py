"""The scikit-learn estimators: scikit-learn's own checks, its tools, and what a fitted one answers."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_diabetes, load_iris
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils.estimator_checks import check_estimator

import bitspike
from bitspike import Session, SpikingClassifier, SpikingRegressor, load_recipe
from bitspike.run.estimator import _learn_all

X, Y = load_iris(return_X_y=True)
NAMES = np.array(["setosa", "versicolor", "virginica"])[Y]


@pytest.mark.parametrize("kind", [SpikingClassifier, SpikingRegressor])
@pytest.mark.parametrize("more", [{"updates": 20}, pytest.param({}, marks=pytest.mark.long)])
def test_scikit_learns_own_checks(kind: Any, more: dict[str, Any]) -> None:
    check_estimator(kind(**more), on_skip=None)


@pytest.fixture(scope="module")
def iris() -> Any:
    return SpikingClassifier(updates=200, random_state=0).fit(X[::2], NAMES[::2])


def test_classes_are_learned_and_answered_with_probabilities(iris: Any) -> None:
    assert iris.score(X[1::2], NAMES[1::2]) >= 0.9
    assert iris.classes_.tolist() == ["setosa", "versicolor", "virginica"]
    assert iris.n_features_in_ == 4
    assert iris.n_iter_ >= 200
    probabilities = iris.predict_proba(X[1::2])
    assert probabilities.shape == (75, 3)
    np.testing.assert_allclose(probabilities.sum(1), 1)
    assert (iris.classes_[probabilities.argmax(1)] == iris.predict(X[1::2])).all()
    assert iris.recipe_.weights.precision == "bayesian"
    assert iris.shipped_.validation


def test_a_fitted_estimator_travels(iris: Any) -> None:
    again = pickle.loads(pickle.dumps(iris))
    assert np.array_equal(again.predict_proba(X), iris.predict_proba(X))
    copied = clone(iris)
    assert copied.get_params() == iris.get_params()
    assert not hasattr(copied, "classes_")


def test_the_same_seed_gives_the_same_network_and_nothing_is_written(
    iris: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    again = SpikingClassifier(updates=200, random_state=0).fit(X[::2], NAMES[::2])
    assert np.array_equal(again.predict_proba(X), iris.predict_proba(X))
    other = SpikingClassifier(updates=200, random_state=1).fit(X[::2], NAMES[::2])
    assert not np.array_equal(other.predict_proba(X), iris.predict_proba(X))
    assert os.listdir(tmp_path) == []


def test_scikit_learns_tools_work_with_it() -> None:
    quick = SpikingClassifier(updates=60, hidden_layer_sizes=(16,), random_state=0)
    piped = make_pipeline(FunctionTransformer(np.log1p), quick)
    assert cross_val_score(piped, X, NAMES, cv=3).mean() >= 0.85
    grid = GridSearchCV(quick, {"precision": ["straight-through", "full"], "learning_rate": [0.02]}, cv=2)
    assert grid.fit(X, NAMES).best_score_ >= 0.8
    assert grid.best_estimator_.recipe_.model.layers == ["16"]


def test_series_are_read_with_time_as_the_second_axis() -> None:
    draw = np.random.default_rng(0)
    y = np.arange(90) % 3
    # The classes differ in when the first feature is high, not in how often.
    x = draw.normal(0, 0.2, (90, 12, 2))
    x[np.arange(90)[:, None], 4 * y[:, None] + np.arange(4), 0] += 2
    model = SpikingClassifier(updates=150, random_state=0).fit(x[:60], y[:60])
    assert model.score(x[60:], y[60:]) >= 0.9
    assert model.n_features_in_ == 2
    assert np.array_equal(pickle.loads(pickle.dumps(model)).predict(x), model.predict(x))
    with pytest.raises(ValueError, match=r"X has shape \(90, 11, 2\), .* expecting series of 12 steps of 2 features"):
        model.predict(x[:, 1:])
    with pytest.raises(ValueError, match=r"X has shape \(90, 12\)"):
        model.predict(x[:, :, 0])


def test_values_come_with_their_spread() -> None:
    x, y = load_diabetes(return_X_y=True)
    model = SpikingRegressor(random_state=0).fit(x[::2], y[::2])
    assert model.score(x[1::2], y[1::2]) >= 0.3
    value, spread = model.predict(x[1::2], return_std=True)
    assert value.shape == spread.shape == (len(y) // 2,)
    inside = np.abs(value - y[1::2]) < 2 * spread
    assert 0.85 <= inside.mean() <= 1
    both = SpikingRegressor(updates=40, random_state=0).fit(x[::2], np.stack([y[::2], -y[::2]], 1))
    assert both.predict(x).shape == (len(y), 2)


def test_each_of_several_values_has_a_spread_of_its_own_units() -> None:
    draw = np.random.default_rng(0)
    x = draw.random((400, 3))
    y = np.stack([x[:, 0], 1000 * x[:, 1]], 1)
    model = SpikingRegressor(precision="straight-through", updates=200, random_state=0).fit(x[:300], y[:300])
    value, spread = model.predict(x[300:], return_std=True)
    error = np.sqrt(((value - y[300:]) ** 2).mean(0))
    assert error[1] > 100 * error[0]
    assert ((spread / error > 0.3) & (spread / error < 3)).all()


@pytest.mark.parametrize("keep", ["best", "last"])
def test_the_best_measurement_is_kept_where_the_recipe_says_so(keep: str) -> None:
    small = ["model.layers=['16']", "encoder.steps=3", "training.epochs=6"]
    small += ["training.patience=1"] if keep == "best" else []
    asked = ["training.criterion=nll", f"training.keep={keep}", "latent_optimizer.lr=3.0", "optimizer.lr=0.2"]
    session = Session(load_recipe("digits-st", [*small, *asked]))
    _learn_all(session)
    measured = [record["validation"]["nll"] for record in session.records]
    assert keep == "last" or min(measured) < measured[-1]  # it got worse, and stopped
    assert session.validate()["nll"] == pytest.approx(min(measured) if keep == "best" else measured[-1])


def test_any_key_of_a_recipe_can_be_said_and_mistakes_are_value_errors() -> None:
    model = SpikingClassifier(updates=20, overrides={"model.neuron.kind": "if", "encoder.steps": 2}).fit(X, Y)
    assert (model.recipe_.model.neuron.kind, model.recipe_.encoder.steps) == ("if", 2)
    for more, message in (
        ({"overrides": {"model.lairs": ["3"]}}, r"unknown key 'model.lairs'"),
        ({"precision": "ternary"}, r"precision: got 'ternary', wanted one of bayesian, straight-through, full"),
        ({"hidden_layer_sizes": (0,)}, r"layer"),
        ({"batch_size": 1}, r"training.batch"),
        ({"updates": 3, "overrides": {"training.updates": 4}}, r"overrides: got 'training.updates' = 4, which is 3 al"),
        ({"overrides": {"latent_optimizer": None}}, r"overrides: got 'latent_optimizer' = None, wanted a value"),
        ({"learning_rate": object()}, r"parameters: got <object .*, wanted what a recipe can hold"),
        ({"validation_fraction": 200}, r"validation share"),
        ({"validation_fraction": 0.0}, r"validation share: got 0.0, wanted a fraction between 0 and 1"),
        ({"validation_fraction": float("nan")}, r"validation share: got nan"),
        ({"validation_fraction": "x"}, r"validation_fraction: got 'x', wanted a fraction"),
        ({"validation_fraction": 1}, r"validation share: got 1 examples, wanted"),
        ({"hidden_layer_sizes": "64"}, r"hidden_layer_sizes: got '64', wanted numbers of units"),
        ({"hidden_layer_sizes": (8.5,)}, r"hidden_layer_sizes: got \(8.5,\), wanted whole numbers"),
    ):
        with pytest.raises(ValueError, match=message):
            SpikingClassifier(**more).fit(X, Y)


def test_one_number_is_one_hidden_layer() -> None:
    assert SpikingClassifier(updates=2, hidden_layer_sizes=8).fit(X, Y).recipe_.model.layers == ["8"]
    assert SpikingClassifier(updates=2, hidden_layer_sizes=np.array([8, 4])).fit(X, Y).recipe_.model.layers == [
        "8",
        "4",
    ]


def test_the_best_is_kept_of_many_measurements() -> None:
    asked = {"training.keep": "best", "training.patience": 2, "latent_optimizer.lr_sum": 5e4, "optimizer.lr": 0.5}
    stopped = SpikingClassifier(updates=200, random_state=0, overrides=asked).fit(X, Y)
    assert stopped.recipe_.training.validate_every is None
    assert stopped.n_iter_ < 200  # it got no better


def test_parameters_may_be_numpys_numbers() -> None:
    given = {"updates": np.int64(4), "learning_rate": np.float32(0.5), "overrides": {"training.batch": np.int32(10)}}
    recipe = SpikingClassifier(random_state=np.int64(3), **given).fit(X, Y).recipe_
    assert (recipe.training.updates, recipe.optimizer.lr, recipe.training.batch, recipe.seed) == (4, 0.5, 10, 3)


def test_values_far_from_zero_keep_their_digits() -> None:
    """Seconds since 1970 have no fraction in single precision; what is standardised in double has."""
    x = np.random.default_rng(0).normal(size=(80, 1))
    y = (x[:, 0] > 0).astype(int)
    near, far = (SpikingClassifier(updates=30, random_state=0).fit(some, y) for some in (x, 1.7e9 + x))
    np.testing.assert_allclose(near.predict_proba(x), far.predict_proba(1.7e9 + x), atol=0.05)
    assert far.score(1.7e9 + x, y) > 0.85


@pytest.mark.parametrize("key", ["data.validation", "data.options.normalise", "data.fold"])
def test_keys_of_data_are_refused_as_x_and_y_are_the_data(key: str) -> None:
    x, y = np.random.default_rng(0).normal(size=(20, 2)), np.arange(20) % 2
    with pytest.raises(ValueError, match=rf"overrides: got '{key}', wanted another key"):
        SpikingClassifier(updates=2, overrides={key: 0.4}).fit(x, y)


def test_predictions_of_a_run_are_stored_as_they_are_measured(tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(120, 2))
    rows = [f"{a},{b},{1.7e9 + 100 * a:.3f}" for a, b in x]
    (tmp_path / "a.csv").write_text("a,b,target\n" + "\n".join(rows) + "\n")
    told = ["data.set=folder", f"data.options.path='{tmp_path / 'a.csv'}'", "training.epochs=1"]
    run = bitspike.train("regression-1d-full", tmp_path / "run", overrides=told)
    with np.load(run.path / "predictions.npz") as stored:
        value, wanted = stored["prediction"][-1, :, 0], stored["targets"][:, 0]
    rmse = float(np.sqrt(np.mean((value - wanted) ** 2)))
    assert rmse == pytest.approx(run.result["test"]["rmse"], rel=1e-9)
