"""Targets at every public door: the accuracy of class numbers, columns of them too, and one line for anything else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import bitspike
from bitspike import metrics
from bitspike.errors import BitspikeError
from bitspike.learners import BackpropLearner, OnlineLearner
from bitspike.learners.optimisation import Optimisation, OptimiserChoice, Schedule
from bitspike.metrics.paired import paired_difference
from bitspike.models import feedforward, local_network
from bitspike.neurons import LIF
from bitspike.targets import answers, class_targets, value_targets

N, C = 24, 3
X = torch.rand(N, 6, generator=torch.Generator().manual_seed(0))


def network() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return nn.Sequential(nn.Linear(6, 12), nn.ReLU(), nn.Linear(12, C)).eval()


Y = network()(X).argmax(1)


def still(model: nn.Module, rate: float = 0.0) -> Optimisation:
    return Optimisation(model, OptimiserChoice("SGD", rate), None, Schedule(), 10)


def backprop(targets: Any) -> float:
    model = feedforward((6,), C, ["4"], LIF)
    learner = BackpropLearner(model, still(model))
    return learner.fit_batch(X.expand(4, N, 6), targets)["loss"]


def online(targets: Any) -> float:
    model = local_network((6,), C, ["4"])
    learner = OnlineLearner(model, still(model), burn_in=1)
    return learner.fit_batch(X.expand(4, N, 6), targets)["loss"]


P = network()(X).softmax(1)
# Not all right, so that one temperature is best.
NOISY = P.roll(5, 0)
CONVERTED = bitspike.relu_to_spiking(network(), X)
HYBRID = bitspike.hybridise(network(), 8.0, steps=1, data=X)
DOORS: dict[str, Callable[[Any], Any]] = {
    "curve": lambda y: bitspike.accuracy_curve(CONVERTED, [(X, y)], steps=8).to_dict(),
    "sweep": lambda y: bitspike.sweep(HYBRID, [(X, y)], factors=(4.0,))[0]["accuracy"],
    "classification": lambda y: metrics.classification(P, y),
    "over time": lambda y: metrics.over_time(P[None], y),
    "histogram": lambda y: metrics.confidence_histogram(P, y),
    "confusion": lambda y: metrics.confusion(P, y).tolist(),
    "temperature": lambda y: metrics.fit_temperature(NOISY, y),
    "backprop": backprop,
    "online": online,
}  # fmt: skip
# What is not class numbers: the value, and what the message says of it.
WRONG: list[tuple[Any, str]] = [
    (nn.functional.one_hot(Y, C), r"shape \(24, 3\), a column for each class, wanted class numbers \(24,\): argmax"),
    (Y.repeat(2, 1).T, r"(shape )?\(24, 2\), wanted \(24,\)"),
    (Y.float(), "torch.float32, wanted int64 class numbers"),
    (Y.float()[:, None], "torch.float32, wanted int64 class numbers"),
    (Y > 1, "torch.bool, wanted int64 class numbers"),
    (Y.where(Y[0] != Y, -1), "class -1, wanted classes 0 to 2"),
    (Y.where(Y[0] != Y, 9), "class 9, wanted classes 0 to 2"),
]


@pytest.mark.parametrize("door", DOORS)
def test_a_column_is_its_class_numbers_and_the_rest_is_one_line(door: str) -> None:
    call = DOORS[door]
    assert call(Y[:, None]) == call(Y) == call(Y.to(torch.uint8))
    for wrong, message in WRONG:
        with pytest.raises(BitspikeError, match=f"targets: got {message}") as error:
            call(wrong)
        assert "\n" not in str(error.value)
    for wrong in (Y[:-1], torch.cat([Y, Y])):
        with pytest.raises(BitspikeError, match=r"targets: got shape|and \d+ targets, wanted one target for each"):
            call(wrong)
    with pytest.raises(BitspikeError, match=r"got list|a batch that is a tuple"):
        call(Y.tolist())


def test_the_accuracy_of_a_column_is_the_networks_own() -> None:
    curve = bitspike.accuracy_curve(CONVERTED, [(X, Y[:, None])], steps=8)
    assert curve.ann == 1.0
    hits = (CONVERTED.running_mean(X, 8).argmax(2) == Y).double().mean(1)
    assert list(curve.accuracy) == pytest.approx(hits.tolist())
    assert metrics.classification(P, Y[:, None])["accuracy"] == 1.0


def test_batches_without_examples_count_nothing() -> None:
    parts = [(X[:0], Y[:0]), (X[:9], Y[:9]), (X[9:], Y[9:])]
    curve = bitspike.accuracy_curve(CONVERTED, parts, steps=4)
    assert (curve.examples, curve.ann) == (N, 1.0)
    with pytest.raises(BitspikeError, match="curve data: got no image"):
        bitspike.accuracy_curve(CONVERTED, parts[:1], steps=4)
    with pytest.raises(BitspikeError, match=r"sweep data: got inputs \(0, 6\), wanted batches with examples"):
        bitspike.sweep(HYBRID, parts[:1], factors=(1.0,))


def test_one_readout_tells_two_classes_apart() -> None:
    assert answers(torch.tensor([[-0.1], [0.0], [2.0]])).tolist() == [0, 0, 1]
    model = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 1)).eval()
    y = answers(model(X))
    curve = bitspike.accuracy_curve(bitspike.relu_to_spiking(model, X), [(X, y[:, None])], steps=3)
    assert curve.ann == 1.0
    with pytest.raises(BitspikeError, match="curve targets: got class 2, wanted classes 0 to 1"):
        bitspike.accuracy_curve(bitspike.relu_to_spiking(model, X), [(X, y * 0 + 2)], steps=3)


def test_values_of_a_regression() -> None:
    model = feedforward((6,), 1, ["4"], LIF)
    learner = BackpropLearner(model, still(model), task="regression")
    events, y = X.expand(3, N, 6), torch.rand(N)
    assert learner.fit_batch(events, y)["loss"] == learner.fit_batch(events, y[:, None])["loss"]
    for wrong in (y[:-1], y.repeat(2, 1).T, y / 0, [0.5] * N):
        with pytest.raises(BitspikeError, match=r"batch targets: got (shape|a value that is not finite|list)"):
            learner.fit_batch(events, wrong)  # type: ignore[arg-type]
    assert value_targets("y", torch.ones(2, 1), (2, 1)).shape == (2, 1)
    for mean, spread, targets in (([1.0], y, y), (y, y, y + 1j), (y, y > 0, y), (y, y, y[:, None])):
        with pytest.raises(BitspikeError, match="regression"):
            metrics.regression(mean, spread, targets)  # type: ignore[arg-type]
    with pytest.raises(BitspikeError, match=r"paired b: got nan at \(0, 1\), wanted finite values"):
        paired_difference(torch.ones(1, 2), torch.tensor([[1.0, torch.nan]]))


def test_probabilities_are_numbers_that_sum_to_one() -> None:
    for wrong, message in (
        (P.tolist(), "probabilities: got list"),
        (P + 0j, "probabilities: got Tensor without real values"),
        (P * 0.9, "probabilities: got rows that are off by 0.1"),
        (P.where(P.max() > P, torch.nan), "probabilities: got a value that is not finite"),
        (P[:, 0], r"probabilities: got shape \(24,\)"),
    ):
        with pytest.raises(BitspikeError, match=message):
            metrics.classification(wrong, Y)  # type: ignore[arg-type]
    # A row of half precision sums to one as well as its digits allow.
    for dtype in (torch.float16, torch.bfloat16):
        assert metrics.classification(P.to(dtype), Y)["accuracy"] == 1.0


def test_class_numbers_of_no_known_count_and_other_devices() -> None:
    assert class_targets("y", torch.tensor([7, 0], dtype=torch.int8), 2).tolist() == [7, 0]
    with pytest.raises(BitspikeError, match="y: got class -100, wanted classes 0 or more"):
        class_targets("y", torch.tensor([-100]), 1)
    with pytest.raises(BitspikeError, match="y: got a tensor on device 'meta'"):
        class_targets("y", torch.zeros(2, dtype=torch.long, device="meta"), 2)
    assert class_targets("y", torch.zeros(0, dtype=torch.long), 0).shape == (0,)


def test_scores_of_another_shape_are_refused() -> None:
    convolution = nn.Conv2d(1, 2, 1)
    nn.init.ones_(convolution.weight)
    dense = bitspike.relu_to_spiking(nn.Sequential(convolution, nn.ReLU()), torch.rand(4, 1, 2, 2) + 1)
    with pytest.raises(BitspikeError, match=r"curve read-out: got \(1, 2, 2, 2\), wanted scores \(B, C\)"):
        bitspike.accuracy_curve(dense, [(torch.rand(4, 1, 2, 2), torch.zeros(4).long())], steps=2)
    hybrid = bitspike.hybridise(nn.Sequential(nn.Conv2d(1, 2, 1), nn.ReLU()), 8.0, steps=1)
    with pytest.raises(BitspikeError, match="sweep read-out: got"):
        bitspike.sweep(hybrid, [(torch.rand(4, 1, 2, 2), torch.zeros(4).long())], factors=(1.0,))


def test_nothing_is_learned_from_a_refused_batch() -> None:
    model = feedforward((6,), C, ["4"], LIF)
    before: list[Tensor] = [p.detach().clone() for p in model.parameters()]
    learner = BackpropLearner(model, still(model, 0.5))
    with pytest.raises(BitspikeError, match="batch targets"):
        learner.fit_batch(X.expand(3, N, 6), Y.float())
    assert learner.updates == 0
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


def test_columns_for_classes_are_not_taken_for_classes_of_steps() -> None:
    model = feedforward((6,), C, ["4"], LIF)
    learner = BackpropLearner(model, still(model))
    with pytest.raises(BitspikeError, match=r"batch targets: got shape \(24, 3\), a column for each class"):
        learner.fit_batch(X.expand(C, N, 6), nn.functional.one_hot(Y, C))
    with pytest.raises(BitspikeError, match="batch targets: got class -100, wanted classes 0 or more, -1 for a step"):
        learner.fit_batch(X.expand(4, N, 6), Y[:, None].repeat(1, 4) - 100 + 0 * Y[:, None] - Y[:, None])
    steps = Y[:, None].repeat(1, 4)
    assert learner.fit_batch(X.expand(4, N, 6), steps)["examples"] == 4 * N
