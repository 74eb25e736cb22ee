"""What simple opponents reach on the same splits, and a line where one of them beats the network.

    majority   the commonest training class, with the training classes' shares as probabilities
    logistic   logistic regression on the flattened input, standardised by training statistics
    mean       the mean training value
    ridge      ridge regression on the same input, its penalty chosen by leave-one-out on the training part

An opponent beats a network when it alone is right on b examples and the network alone on c, with b - c > sqrt(b + c)
(values: when the difference of squared errors is beyond one standard error).
"""

from __future__ import annotations

import math
import warnings
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bitspike import metrics
from bitspike.data import DataSet, Events, Split, restore
from bitspike.run.shipping import lead_of, standard_errors

MOST_EXAMPLES = 10_000
# Examples times features times classes: some seconds of fitting.
MOST_PRODUCTS = 3e8
LABELS = {"logistic": "logistic regression", "ridge": "ridge regression", "mean": "the training mean"}


def baselines(dataset: DataSet, outputs: Tensor) -> tuple[dict[str, Any], list[str]]:
    """Readings of the opponents on the test part, and a line for each that beats the network's `outputs` (N, ...).

    outputs: class probabilities (N, C), or values (N, D) and their spread in the data's own units (N, 2D).
    """
    if dataset.kind == "classification":
        return _classes(_by_step(dataset) if dataset.per_step else dataset, outputs)
    return _values(dataset, outputs)


def _by_step(dataset: DataSet) -> DataSet:
    """Every step that has a class as an example of its own; the opponents see that step alone."""

    def steps(split: Split) -> Split:
        assert isinstance(split.x, Tensor)
        some = split.y >= 0
        return Split(split.x[some], split.y[some], split.index.repeat_interleave(some.sum(1)))

    return replace(dataset, train=steps(dataset.train), test=steps(dataset.test))


def _classes(dataset: DataSet, outputs: Tensor) -> tuple[dict[str, Any], list[str]]:
    y, wanted = dataset.train.y, dataset.test.y
    counts = torch.bincount(y, minlength=len(dataset.classes)).double()
    common = int(counts.argmax())
    shares = ((counts + 1) / (counts + 1).sum()).expand(len(wanted), -1)
    forecasts = {"majority": shares}
    left_out = _too_large(dataset, len(dataset.classes))
    if not left_out:
        forecasts["logistic"] = _logistic(dataset)
    readings: dict[str, Any] = {}
    lines = []
    hits = outputs.argmax(-1).cpu() == wanted
    for name, forecast in forecasts.items():
        reading = metrics.classification(forecast, wanted)
        readings[name] = {key: reading[key] for key in ("accuracy", "nll")}
        lead = lead_of(hits.double() - (forecast.argmax(-1) == wanted).double())
        # A network that is not beyond chance better than no network at all has learned nothing that shows.
        if lead < -1 or (name == "majority" and lead <= 1):
            label = f"always answering {dataset.classes[common]!r}" if name == "majority" else LABELS[name]
            lines.append(
                f"{label} is right on {reading['accuracy']:.1%} of the {len(wanted):,} test examples, "
                f"this network on {float(hits.double().mean()):.1%}"
            )
    if left_out:
        readings["left_out"] = left_out
    return readings, lines


def _values(dataset: DataSet, outputs: Tensor) -> tuple[dict[str, Any], list[str]]:
    wanted = restore(dataset.test.y, dataset.target).double()
    train = restore(dataset.train.y, dataset.target).double()
    forecasts = {"mean": train.mean(0).expand_as(wanted)}
    left_out = _too_large(dataset, 1)
    if not left_out:
        forecasts["ridge"] = _ridge(dataset, train)
    readings: dict[str, Any] = {}
    lines = []
    ours = (outputs.chunk(2, -1)[0].double().cpu() - wanted).square().mean(-1)
    for name, forecast in forecasts.items():
        theirs = (forecast - wanted).square().mean(-1)
        readings[name] = {"rmse": float(theirs.mean().sqrt())}
        lead = standard_errors(theirs - ours)
        if lead < -1 or (name == "mean" and lead <= 1):
            lines.append(
                f"{LABELS[name]} has an RMSE of {readings[name]['rmse']:.4g} on the {len(wanted):,} test examples, "
                f"this network {float(ours.mean().sqrt()):.4g}"
            )
    if left_out:
        readings["left_out"] = left_out
    return readings, lines


def _too_large(dataset: DataSet, outputs: int) -> str:
    """Why no linear opponent is fitted; empty where one is."""
    examples, features = len(dataset.train), _width(dataset.train)
    if examples > MOST_EXAMPLES or examples * features * outputs > MOST_PRODUCTS:
        return f"no linear baseline was fitted to {examples:,} examples of {features:,} values"
    return ""


def _width(split: Split) -> int:
    x = split.x
    return math.prod(x.shape) if isinstance(x, Events) else math.prod(x.shape[1:])


def flattened(split: Split) -> np.ndarray[Any, Any]:
    """x as rows (N, features) float64; of events, their number at each address and polarity."""
    x = split.x
    if not isinstance(x, Events):
        return x.flatten(1).double().numpy()
    polarities, height, width = x.shape
    recording = torch.repeat_interleave(torch.arange(len(x)), x.offsets.diff())
    place = ((recording * polarities + x.p.long()) * height + x.y.long()) * width + x.x.long()
    counts = torch.bincount(place, minlength=len(x) * polarities * height * width)
    return counts.reshape(len(x), -1).double().numpy()


def _standardised(dataset: DataSet) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler().fit(flattened(dataset.train))
    return scaler.transform(flattened(dataset.train)), scaler.transform(flattened(dataset.test))


def _logistic(dataset: DataSet) -> Tensor:
    """Class probabilities (N, C) of the test part."""
    from sklearn.linear_model import LogisticRegression

    train, test = _standardised(dataset)
    probabilities = torch.zeros(len(test), len(dataset.classes), dtype=torch.float64)
    known = np.unique(dataset.train.y.numpy())
    if len(known) < 2:
        probabilities[:, int(known[0])] = 1.0
        return probabilities
    with warnings.catch_warnings():
        # It may stop at its limit of steps: an opponent that is nearly at its optimum.
        warnings.simplefilter("ignore")
        fitted = LogisticRegression(max_iter=500).fit(train, dataset.train.y.numpy())
    probabilities[:, torch.from_numpy(known)] = torch.from_numpy(fitted.predict_proba(test))
    return probabilities


def _ridge(dataset: DataSet, values: Tensor) -> Tensor:
    """Values (N, D) of the test part."""
    from sklearn.linear_model import RidgeCV

    train, test = _standardised(dataset)
    fitted = RidgeCV(np.logspace(-3, 3, 13)).fit(train, values.numpy())
    return torch.from_numpy(np.asarray(fitted.predict(test)).reshape(len(test), -1))
