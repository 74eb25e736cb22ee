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
    by_class = dataset.kind == "classification"
    dataset = _by_step(dataset) if dataset.per_step else dataset
    left_out = _too_large(dataset, len(dataset.classes) if by_class else 1)
    compare, untrained, linear = (_classes, "majority", "logistic") if by_class else (_values, "mean", "ridge")
    readings: dict[str, Any] = {}
    lines = []
    for name in (untrained,) if left_out else (untrained, linear):
        readings[name], lead, line = compare(dataset, outputs, name)
        # A network that is not beyond chance better than no network at all has learned nothing that shows.
        if lead < -1 or (name == untrained and lead <= 1):
            lines.append(line)
    if left_out:
        readings["left_out"] = left_out
    return readings, lines


def _by_step(dataset: DataSet) -> DataSet:
    """Every step that has a class as an example of its own; the opponents see that step alone."""

    def steps(split: Split) -> Split:
        assert isinstance(split.x, Tensor)
        some = split.y >= 0
        return Split(split.x[some], split.y[some], split.index.repeat_interleave(some.sum(1)))

    return replace(dataset, train=steps(dataset.train), test=steps(dataset.test))


def _classes(dataset: DataSet, outputs: Tensor, name: str) -> tuple[dict[str, Any], float, str]:
    """Reading of an opponent, the network's lead over it, and both in a line."""
    wanted, label = dataset.test.y, LABELS.get(name)
    if name == "majority":
        counts = torch.bincount(dataset.train.y, minlength=len(dataset.classes)).double()
        forecast = ((counts + 1) / (counts + 1).sum()).expand(len(wanted), -1)
        label = f"always answering {dataset.classes[int(counts.argmax())]!r}"
    else:
        forecast = _logistic(dataset)
    reading = metrics.classification(forecast, wanted)
    ours, theirs = ((found.argmax(-1).cpu() == wanted).double() for found in (outputs, forecast))
    line = (
        f"{label} is right on {reading['accuracy']:.1%} of the {len(wanted):,} test examples, "
        f"this network on {float(ours.mean()):.1%}"
    )
    return {key: reading[key] for key in ("accuracy", "nll")}, lead_of(ours - theirs), line


def _values(dataset: DataSet, outputs: Tensor, name: str) -> tuple[dict[str, Any], float, str]:
    """As `_classes`, of values."""
    wanted, train = (restore(part.y, dataset.target).double() for part in (dataset.test, dataset.train))
    forecast = train.mean(0).expand_as(wanted) if name == "mean" else _ridge(dataset, train)
    values = outputs.chunk(2, -1)[0].double().cpu()
    ours, theirs = ((found - wanted).square().mean(-1) for found in (values, forecast))
    rmse = float(theirs.mean().sqrt())
    line = (
        f"{LABELS[name]} has an RMSE of {rmse:.4g} on the {len(wanted):,} test examples, "
        f"this network {float(ours.mean().sqrt()):.4g}"
    )
    return {"rmse": rmse}, standard_errors(theirs - ours), line


def _too_large(dataset: DataSet, outputs: int) -> str:
    """Why no linear opponent is fitted; empty where one is."""
    x = dataset.train.x
    examples, features = len(dataset.train), math.prod(x.shape if isinstance(x, Events) else x.shape[1:])
    if examples > MOST_EXAMPLES or examples * features * outputs > MOST_PRODUCTS:
        return f"no linear baseline was fitted to {examples:,} examples of {features:,} values"
    return ""


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


def _fitted(dataset: DataSet, model: Any, y: Any) -> Any:
    """A linear model of the standardised training inputs."""
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    with warnings.catch_warnings():
        # It may stop at its limit of steps: an opponent that is nearly at its optimum.
        warnings.simplefilter("ignore")
        return make_pipeline(StandardScaler(), model).fit(flattened(dataset.train), y)


def _logistic(dataset: DataSet) -> Tensor:
    """Class probabilities (N, C) of the test part."""
    from sklearn.linear_model import LogisticRegression

    probabilities = torch.zeros(len(dataset.test), len(dataset.classes), dtype=torch.float64)
    y = dataset.train.y.numpy()
    known = np.unique(y)
    if len(known) < 2:
        probabilities[:, int(known[0])] = 1.0
        return probabilities
    fitted = _fitted(dataset, LogisticRegression(max_iter=500), y)
    probabilities[:, torch.from_numpy(known)] = torch.from_numpy(fitted.predict_proba(flattened(dataset.test)))
    return probabilities


def _ridge(dataset: DataSet, values: Tensor) -> Tensor:
    """Values (N, D) of the test part."""
    from sklearn.linear_model import RidgeCV

    fitted = _fitted(dataset, RidgeCV(np.logspace(-3, 3, 13)), values.numpy())
    return torch.from_numpy(np.asarray(fitted.predict(flattened(dataset.test))).reshape(len(dataset.test), -1))
