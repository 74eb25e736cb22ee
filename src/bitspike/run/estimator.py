"""Estimators for scikit-learn: a spiking network by the rules of `bitspike init`, trained in memory.

Nothing is written to disk. Encoder, layers, number of updates and rates come from the data (`run.rules`); what the
network answers with (an ensemble or MAP weights, a temperature) is chosen on a validation part, as in every run.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from numbers import Integral, Real
from typing import Any, get_args

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_array, check_is_fitted, validate_data
from torch import Tensor

from bitspike import metrics
from bitspike.coding import Encoder
from bitspike.data import Split, targets
from bitspike.data.folder import data_set, strata
from bitspike.data.found import Found
from bitspike.data.normalise import apply
from bitspike.data.splits import Parts, split
from bitspike.errors import BitspikeError
from bitspike.run.assemble import build_encoder, build_learner, build_model
from bitspike.run.batches import Batches
from bitspike.run.conclude import STATISTICS_BATCHES
from bitspike.run.evaluation import predictions
from bitspike.run.initial import facts_of, recipe_toml
from bitspike.run.outputs import with_noise
from bitspike.run.recipe import Recipe
from bitspike.run.recipe_files import parse_recipe
from bitspike.run.rules import FEW, FEW_VALIDATION, Choice, Facts, Precision, choices
from bitspike.run.session import CPU, Session
from bitspike.run.shipping import Shipped, candidates, choose_answer

Array = np.ndarray[Any, Any]


class _Spiking(BaseEstimator):  # type: ignore[misc]
    """What classifier and regressor share; X is (N, F), or (N, T, F): series whose time axis comes second."""

    task = "classification"

    def __init__(
        self,
        *,
        precision: str = "bayesian",
        hidden_layer_sizes: Sequence[int] | int | None = None,
        updates: int | None = None,
        batch_size: int | None = None,
        learning_rate: float | None = None,
        validation_fraction: float | None = None,
        overrides: Mapping[str, Any] | None = None,
        random_state: Any = None,
    ) -> None:
        self.precision = precision
        self.hidden_layer_sizes = hidden_layer_sizes
        self.updates = updates
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.validation_fraction = validation_fraction
        self.overrides = overrides
        self.random_state = random_state

    def _learn(self, X: Array, meant: targets.Targets) -> None:
        """Train on checked X and what y means, and choose what is answered with."""
        seed = self.random_state
        if not isinstance(seed, int | np.integer):
            seed = check_random_state(seed).randint(2**31 - 1)
        with _as_value_error():
            parts = self._parts(strata(meant), int(seed))
            x, time = torch.from_numpy(np.require(X, requirements=["C", "W"])), X.ndim == 3
            found = Found("X", x, targets.of_array(meant.y.numpy(), "y"), "series" if time else "vector", {}, time)
            dataset = data_set(found, meant, parts, "standard")
            self.recipe_ = self._recipe(facts_of(dataset, {"path": "X"}), int(seed))
            session = Session(self.recipe_, dataset)
            _learn_all(session)
            session.learner.finish(lambda: session.train.statistics(STATISTICS_BATCHES, session.epochs))
            session.model.double()  # answers of one example do not depend on which others are asked beside it
            self.shipped_ = self._ship(session)
        self.n_iter_ = session.learner.updates
        self.data_form_, self._form = dataset.form, session.form
        self._learner, self._encoder = session.learner, session.train.encoder

    def _parts(self, labels: Tensor, seed: int) -> Parts:
        """A validation part as `bitspike init` has it; the training part again where none can be spared."""
        share, rows, none = self.validation_fraction, torch.arange(len(labels)), torch.arange(0)
        if share is not None and (isinstance(share, bool) or not isinstance(share, Real)):
            raise ValueError(f"validation_fraction: got {share!r}, wanted a fraction between 0 and 1, or a number")
        if len(labels) - len(labels.unique()) < 2:
            return Parts(rows, rows, none)
        usual = FEW_VALIDATION if len(labels) < FEW else 0.125
        parts = split(labels, seed, float(usual if share is None else share), None, "X")
        return Parts(parts.train, parts.validation, none)

    def _recipe(self, facts: Facts, seed: int) -> Recipe:
        """The recipe that the rules make of the data, with what was asked for otherwise."""
        name = type(self).__name__
        if self.precision not in get_args(Precision):
            raise ValueError(f"precision: got {self.precision!r}, wanted one of {', '.join(get_args(Precision))}")
        precision: Any = self.precision
        made = [c for c in choices(facts, precision) if not c.key.startswith("data.") or c.key == "data.class_weights"]
        overrides = dict(self.overrides or {})
        # Nobody looks at measurements on the way, unless the best of them is kept.
        rarely = [Choice("training.validate_every", 10**9)] if overrides.get("training.keep") != "best" else []
        made = [Choice("data.set", "given"), *rarely, *made]
        layers = None if self.hidden_layer_sizes is None else _layers(self.hidden_layer_sizes)
        asked = {
            "model.layers": layers, "training.updates": self.updates, "training.batch": self.batch_size,
            "optimizer.lr": self.learning_rate,
        }  # fmt: skip
        for key, value in overrides.items():
            if value is None or asked.get(key) is not None:
                came = f"{key!r} = {value}" + ("" if value is None else f", which is {asked[key]} already")
                raise ValueError(f"overrides: got {came}, wanted a value, said once")
        asked |= {"seed": seed, **overrides}
        if of_data := [key for key in overrides if key.startswith("data.") and key != "data.class_weights"]:
            wanted = "another key of a recipe: the data are X and y, their split random_state and validation_fraction"
            raise ValueError(f"overrides: got {of_data[0]!r}, wanted {wanted}")
        given = [f"{key}={json.dumps(value, default=_plain)}" for key, value in asked.items() if value is not None]
        return parse_recipe(recipe_toml(name, "", made, ""), name, given)

    def _ship(self, session: Session) -> Shipped:
        part, learner = self.recipe_.evaluation, session.learner
        samples = candidates(part.ship, learner.bayesian, part.draws)
        if torch.equal(session.validation.split.index, session.train.split.index):
            name = next(iter(samples))
            return Shipped(name, samples[name], why="there was no example to spare for validation")
        held_out = self._batches(session.train.encoder, session.dataset.validation, session.dataset.target)
        held = {name: predictions(learner, held_out, count) for name, count in samples.items()}
        wanted = next(iter(held.values()))[1]
        return choose_answer(self.task, {name: out[-1] for name, (out, _) in held.items()}, wanted, samples, part.bins)

    def _batches(self, encoder: Encoder, rows: Split, target: dict[str, Any] | None) -> Batches:
        return Batches(self.recipe_, encoder, rows, CPU, torch.float64, target)

    def _answers(self, X: Any) -> Tensor:
        """Probabilities (N, C), or value and spread (N, 2D), for X."""
        check_is_fitted(self)
        x = torch.from_numpy(np.require(self._to_answer(X), requirements=["C", "W"]))
        with _as_value_error():
            x = apply(x, self.data_form_["normalisation"])
            y = torch.zeros(len(x), self._form.values) if self.task == "regression" else torch.zeros(len(x)).long()
            rows = Split(x, y, torch.arange(len(x)))
            batches = self._batches(self._encoder, rows, self.data_form_["target"])
            return predictions(self._learner, batches, self.shipped_.samples)[0][-1]

    def _to_learn(self, X: Any, y: Any, **how: Any) -> tuple[Any, Any]:
        """X and y as arrays: of numbers, finite, (N, F) or (N, T, F)."""
        X, y = validate_data(self, X, y, dtype=np.float64, allow_nd=True, **how)
        if X.ndim > 3:
            raise ValueError(f"Found array with dim {X.ndim}, while {type(self).__name__} expects (N, F) or (N, T, F).")
        self.n_features_in_ = X.shape[-1]
        return X, y

    def _to_answer(self, X: Any) -> Any:
        """X as in training."""
        form = self.data_form_
        if form["steps"] is None:
            return validate_data(self, X, dtype=np.float64, reset=False)
        X = check_array(X, dtype=np.float64, allow_nd=True, input_name="X", estimator=self)
        if X.shape[1:] != (wanted := (form["steps"], *form["shape"])):
            came = f"X has shape {X.shape}, but {type(self).__name__}"
            raise ValueError(f"{came} is expecting series of {wanted[0]} steps of {wanted[1]} features as input.")
        return X

    def __getstate__(self) -> dict[str, Any]:
        """Without the network itself, whose parametrized weights cannot be pickled: its tensors are."""
        state = dict(super().__getstate__())
        if "_learner" in state:
            state["_tensors"] = {name: t.numpy() for name, t in state.pop("_learner").model.state_dict().items()}
            del state["_encoder"]
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Build the network again and give it its tensors."""
        state = dict(state)
        tensors = state.pop("_tensors", None)
        super().__setstate__(state)
        if tensors is not None:
            model = build_model(self.recipe_, self._form).double()
            model.load_state_dict({name: torch.from_numpy(np.array(t)) for name, t in tensors.items()})
            self._learner = build_learner(self.recipe_, self._form, model, 1)
            self._encoder = build_encoder(self.recipe_, self._form)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        return tags


class SpikingClassifier(ClassifierMixin, _Spiking):  # type: ignore[misc]
    """A spiking network with few-bit weights, as a scikit-learn classifier.

    precision: "bayesian" (±1 weights with a probability each), "straight-through" (±1) or "full". hidden_layer_sizes,
    updates, batch_size, learning_rate, validation_fraction: left out, the rules of `bitspike init` choose.
    overrides: any other key of a recipe but those of its data, such as {"model.neuron.kind": "if", "encoder.steps": 8}.

    Fitted: `classes_`, `n_features_in_`, `n_iter_` (updates), `recipe_`, `shipped_` (what answers, its temperature).
    """

    def fit(self, X: Any, y: Any) -> SpikingClassifier:
        """Learn classes y (N,) of X (N, F) or series (N, T, F)."""
        X, y = self._to_learn(X, y)
        check_classification_targets(y)
        self.classes_, numbers = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(f"{type(self).__name__} needs at least 2 classes; got one class: {self.classes_[0]!r}.")
        names = tuple(str(number) for number in range(len(self.classes_)))
        self._learn(X, targets.Targets(torch.from_numpy(numbers.astype(np.int64)), names))
        return self

    def predict_proba(self, X: Any) -> Array:
        """Probabilities (N, C) in the order of `classes_`, with the temperature chosen on validation."""
        found: Array = metrics.apply_temperature(self._answers(X), self.shipped_.temperature).numpy()
        return np.asarray(found / found.sum(1, keepdims=True))

    def predict(self, X: Any) -> Array:
        """The most probable class of each example."""
        best = self.predict_proba(X).argmax(1)
        return np.asarray(self.classes_[best])


class SpikingRegressor(RegressorMixin, _Spiking):  # type: ignore[misc]
    """A spiking network with few-bit weights, as a scikit-learn regressor; parameters as of `SpikingClassifier`."""

    task = "regression"

    def fit(self, X: Any, y: Any) -> SpikingRegressor:
        """Learn values y (N,) or (N, D) of X (N, F) or series (N, T, F)."""
        X, y = self._to_learn(X, y, y_numeric=True, multi_output=True)
        if len(X) < 2:
            raise ValueError(f"Found n_samples=1, while a minimum of 2 is required by {type(self).__name__}.")
        self._single = y.ndim == 1
        self._learn(X, targets.Targets(torch.from_numpy(y.astype(np.float64).reshape(len(y), -1)), ()))
        return self

    def predict(self, X: Any, return_std: bool = False) -> Any:
        """Values (N,) or (N, D); with their standard deviation, of draws and noise together, if asked for."""
        value, spread = (part.numpy() for part in with_noise(self._answers(X), self.shipped_.noise).chunk(2, -1))
        if self._single:
            value, spread = value[:, 0], spread[:, 0]
        return (value, spread) if return_std else value

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags


def _layers(sizes: Any) -> list[str]:
    """Hidden layers of these sizes; one number is one layer."""
    some = [sizes] if isinstance(sizes, Integral) else sizes
    if isinstance(some, str) or not isinstance(some, Iterable):
        raise ValueError(f"hidden_layer_sizes: got {sizes!r}, wanted numbers of units, such as (64, 32)")
    made = list(some)
    if any(isinstance(size, bool) or not isinstance(size, Integral) for size in made):
        raise ValueError(f"hidden_layer_sizes: got {sizes!r}, wanted whole numbers of units, such as (64, 32)")
    return [str(int(size)) for size in made]


def _plain(value: Any) -> Any:
    """NumPy's numbers, as grids of parameters hold them, as Python's."""
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    raise ValueError(f"parameters: got {value!r}, wanted what a recipe can hold: numbers, words, true or false, lists")


@contextmanager
def _as_value_error() -> Iterator[None]:
    """Mistakes of a person are ValueErrors here, as everywhere in scikit-learn."""
    try:
        yield
    except BitspikeError as error:
        raise ValueError(str(error)) from error


def _learn_all(session: Session) -> None:
    """To the end, and back to the best measurement where the recipe keeps that."""
    best: tuple[int, dict[str, Any]] | None = None
    while not session.finished:
        session.advance(1)
        kept = session.recipe.training.keep == "best" and session.best_epoch == session.epoch > 0
        if kept and (best is None or best[0] != session.epoch):
            best = session.epoch, session.snapshot()
    if best is not None:
        session.take(best[1])
