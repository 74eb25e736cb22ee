"""Accuracy, NLL, Brier and calibration errors against hand calculation, plain loops and torchmetrics."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor

from bitspike.draws import generator
from bitspike.errors import BitspikeError
from bitspike.metrics import classification, confidence_histogram, confusion, over_time


def forecast(n: int = 2000, classes: int = 5, sharp: float = 2.0) -> tuple[Tensor, Tensor]:
    """Probabilities, and targets drawn from exactly these probabilities."""
    source = generator("metrics test", n, classes)
    p = (sharp * torch.randn(n, classes, generator=source, dtype=torch.float64)).softmax(1)
    return p, torch.multinomial(p, 1, generator=source)[:, 0]


def loop_ece(confidence: list[float], correct: list[float], bins: int) -> float:
    held: dict[int, list[tuple[float, float]]] = {}
    for c, a in zip(confidence, correct, strict=True):
        held.setdefault(min(int(c * bins), bins - 1), []).append((c, a))
    return math.fsum(abs(math.fsum(a - c for c, a in b)) for b in held.values()) / len(confidence)


def test_hand_computed_case() -> None:
    p = torch.tensor([[0.95, 0.05], [0.32, 0.68], [0.55, 0.45], [0.18, 0.82]])
    got = classification(p, torch.tensor([0, 1, 1, 0]), bins=10)
    assert got["accuracy"] == 0.5
    assert got["nll"] == pytest.approx(-math.log(0.95 * 0.68 * 0.45 * 0.18) / 4)
    assert got["brier"] == pytest.approx(2 * (0.05**2 + 0.32**2 + 0.55**2 + 0.82**2) / 4)
    assert got["ece"] == pytest.approx((0.05 + 0.32 + 0.55 + 0.82) / 4)


def test_errors_equal_a_plain_loop() -> None:
    p, y = forecast()
    got = classification(p, y)
    confidence, predicted = p.max(1)
    correct = (predicted == y).double()
    assert got["ece"] == pytest.approx(loop_ece(confidence.tolist(), correct.tolist(), 15), abs=1e-12)
    classwise = [loop_ece(p[:, k].tolist(), (y == k).double().tolist(), 15) for k in range(5)]
    assert got["classwise_ece"] == pytest.approx(sum(classwise) / 5, abs=1e-12)
    order = sorted(range(len(y)), key=lambda i: float(confidence[i]))
    cuts = [k * len(y) // 15 for k in range(16)]
    groups = [order[a:b] for a, b in itertools.pairwise(cuts)]
    adaptive = sum(abs(float((correct - confidence)[g].sum())) for g in groups) / len(y)
    assert got["adaptive_ece"] == pytest.approx(adaptive, abs=1e-12)


def test_ece_agrees_with_torchmetrics_below_confidence_one() -> None:
    from torchmetrics.functional.classification import multiclass_calibration_error

    p, y = forecast()
    theirs = multiclass_calibration_error(p, y, 5, n_bins=15, norm="l1").item()
    assert classification(p, y)["ece"] == pytest.approx(theirs, abs=1e-5)


def test_confidence_one_shares_the_last_bin() -> None:
    p = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.95, 0.05], [0.95, 0.05]])
    got = classification(p, torch.tensor([0, 1, 0, 0]))
    assert got["ece"] == pytest.approx(3.9 / 4 - 0.75)
    assert confidence_histogram(p, torch.tensor([0, 1, 0, 0]))["count"][-1] == 4


def test_a_calibrated_forecast_has_small_errors_and_an_overconfident_one_has_not() -> None:
    p, y = forecast(20_000)
    sure = (p.log() * 3).softmax(1)
    good, bad = classification(p, y), classification(sure, y)
    for name in ("ece", "adaptive_ece", "classwise_ece"):
        assert good[name] < 0.015
        assert bad[name] > 2 * good[name]
    assert bad["nll"] > good["nll"]
    assert bad["brier"] > good["brier"]
    assert bad["accuracy"] == good["accuracy"]


def test_order_of_examples_does_not_matter_even_with_equal_confidences() -> None:
    p, y = forecast(600)
    p = (p * 4).round().add(0.1)
    p = p / p.sum(1, keepdim=True)
    order = torch.randperm(600, generator=generator("metrics test", "order"))
    assert classification(p[order], y[order]) == pytest.approx(classification(p, y), abs=1e-12)


def test_a_certain_and_wrong_forecast_has_a_finite_nll() -> None:
    got = classification(torch.tensor([[1.0, 0.0]]), torch.tensor([1]))
    assert got["nll"] == pytest.approx(-math.log(torch.finfo(torch.float32).tiny))
    assert got["ece"] == got["adaptive_ece"] == 1.0
    assert got["brier"] == 2.0


def test_a_rounding_above_one_is_not_taken_for_logits() -> None:
    p = torch.tensor([[1.0000001, 0.0], [0.6, 0.4]])
    assert classification(p, torch.tensor([0, 0]))["ece"] == pytest.approx(0.2, abs=1e-6)


def test_histogram_sums_to_the_ece() -> None:
    p, y = forecast()
    h = confidence_histogram(p, y, bins=12)
    assert len(h["edges"]) == 13
    assert sum(h["count"]) == len(y)
    columns = zip(h["count"], h["accuracy"], h["confidence"], strict=True)
    ece = sum(n * abs(a - c) for n, a, c in columns) / len(y)
    assert ece == pytest.approx(classification(p, y, bins=12)["ece"], abs=1e-12)
    for low, high, n, c in zip(h["edges"], h["edges"][1:], h["count"], h["confidence"], strict=False):
        assert n == 0 or low <= c <= high


def test_over_time_is_classification_at_each_step() -> None:
    p, y = forecast(100)
    steps = torch.stack([torch.full_like(p, 0.2), p])
    got = over_time(steps, y, bins=5)
    assert got == [classification(step, y, bins=5) for step in steps]
    assert got[0] != got[1]


def test_confusion_has_targets_in_rows() -> None:
    p = torch.tensor([[0.9, 0.1, 0.0], [0.2, 0.7, 0.1], [0.8, 0.1, 0.1], [0.1, 0.2, 0.7]])
    got = confusion(p, torch.tensor([0, 1, 2, 2]))
    assert got.tolist() == [[1, 0, 0], [0, 1, 0], [1, 0, 1]]


@pytest.mark.parametrize(
    ("p", "y", "message"),
    [
        (torch.ones(3), torch.zeros(3), r"probabilities: got shape \(3,\), wanted \(N, C\) with N >= 1 and C >= 2"),
        (torch.full((2, 2), 0.5), torch.zeros(3).long(), r"targets: got shape \(3,\), wanted \(2,\)"),
        (torch.full((1, 2), 0.5), torch.tensor([2]), "targets: got class 2, wanted classes 0 to 1"),
        (torch.full((1, 2), 0.5), torch.tensor([0.0]), "targets: got torch.float32, wanted int64 class numbers"),
        (torch.full((1, 2), 0.9), torch.tensor([0]), "off by 0.8, wanted numbers from 0 to 1 that sum to 1"),
        (torch.tensor([[math.nan, 1]]), torch.tensor([0]), "probabilities: got a value that is not finite"),
    ],
)  # fmt: skip
def test_wrong_input_is_refused(p: Tensor, y: Tensor, message: str) -> None:
    with pytest.raises(BitspikeError, match=message):
        classification(p, y)


def test_wrong_bins_are_refused() -> None:
    with pytest.raises(BitspikeError, match="calibration bins: got 0, wanted a whole number, 1 or more"):
        classification(torch.full((1, 2), 0.5), torch.tensor([0]), bins=0)
