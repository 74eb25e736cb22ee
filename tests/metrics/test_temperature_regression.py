"""Temperature scaling and regression scores."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from bitspike.draws import generator
from bitspike.errors import BitspikeError
from bitspike.metrics import apply_temperature, classification, fit_temperature, regression
from bitspike.metrics.temperature import choose_temperature


def overconfident(true_temperature: float) -> tuple[Tensor, Tensor]:
    """Probabilities that are calibrated once their temperature is `true_temperature`."""
    source = generator("temperature test")
    logits = 1.5 * torch.randn(20_000, 4, generator=source, dtype=torch.float64)
    y = torch.multinomial(logits.softmax(1), 1, generator=source)[:, 0]
    return (logits * true_temperature).softmax(1), y


@pytest.mark.parametrize("true_temperature", [0.3, 1.0, 2.5, 8.0])
def test_fit_finds_the_temperature_of_the_forecast(true_temperature: float) -> None:
    p, y = overconfident(true_temperature)
    fitted = fit_temperature(p, y)
    assert fitted == pytest.approx(true_temperature, rel=0.05)
    raw, scaled = classification(p, y), classification(apply_temperature(p, fitted), y)
    assert scaled["nll"] <= raw["nll"]
    assert scaled["ece"] < 0.015
    assert scaled["accuracy"] == raw["accuracy"]
    near = [classification(apply_temperature(p, fitted * f), y)["nll"] for f in (0.98, 1.02)]
    assert scaled["nll"] < min(near)


@pytest.mark.parametrize("temperature", [0.05, 0.5, 3.0, 20.0])
def test_temperature_keeps_the_predicted_class_and_the_sum(temperature: float) -> None:
    p, _ = overconfident(1.0)
    scaled = apply_temperature(p, temperature)
    # A cold softmax may round two classes to the same float: the first choice must still be a largest one.
    chosen = scaled.gather(1, p.argmax(1, keepdim=True))[:, 0]
    assert torch.equal(chosen, scaled.max(1).values)
    assert torch.allclose(scaled.sum(1), torch.ones_like(chosen))


def test_temperature_one_changes_nothing_and_shape_and_dtype_stay() -> None:
    p = overconfident(2.0)[0].float().view(5, 4000, 4)
    same = apply_temperature(p, 1.0)
    assert same.shape == p.shape
    assert same.dtype == torch.float32
    assert torch.allclose(same, p, atol=1e-7)


def test_by_hand() -> None:
    got = apply_temperature(torch.tensor([0.8, 0.2], dtype=torch.float64), 2.0)
    assert got[0].item() == pytest.approx(math.sqrt(0.8) / (math.sqrt(0.8) + math.sqrt(0.2)))


def test_a_set_whose_best_temperature_is_a_bound_keeps_its_probabilities_and_says_so() -> None:
    right = torch.tensor([[0.6, 0.4], [0.3, 0.7]])
    for forecast in (right, 1 - right):
        with pytest.warns(UserWarning, match="the best T lies beyond"):
            assert fit_temperature(forecast, torch.tensor([0, 1])) == 1.0
    assert fit_temperature(torch.full((4, 2), 0.5), torch.tensor([0, 1, 0, 1])) == 1.0


def test_logits_forty_times_too_large_are_brought_back() -> None:
    source = generator("forty")
    logits = torch.randn(4000, 10, generator=source, dtype=torch.float64)
    y = torch.multinomial(logits.softmax(1), 1, generator=source)[:, 0]
    assert fit_temperature((40 * logits).softmax(1), y) == pytest.approx(40, rel=0.1)


def test_few_held_out_examples_cannot_ruin_a_forecast() -> None:
    """Calibrated and separable forecasts of 10 to 200 held-out examples: the NLL of new ones is never much worse."""
    source = generator("small validation sets")
    for examples in (10, 20, 50, 200):
        for sharpness in (1.0, 4.0, 12.0):
            logits = sharpness * torch.randn(examples + 4000, 3, generator=source, dtype=torch.float64)
            y = torch.multinomial(logits.softmax(1), 1, generator=source)[:, 0]
            # A forecast that is too unsure by half invites a low temperature.
            p = (logits / 2).softmax(1)
            chosen = choose_temperature(p[:examples], y[:examples])
            raw, scaled = (classification(q[examples:], y[examples:])["nll"]
                           for q in (p, apply_temperature(p, chosen.value)))  # fmt: skip
            assert scaled <= raw + 0.01, (examples, sharpness, chosen)


def test_what_is_chosen_says_why() -> None:
    p, y = overconfident(2.5)
    assert choose_temperature(p[:2000], y[:2000]).value == pytest.approx(2.5, rel=0.1)
    assert "under cross-validation" in choose_temperature(p[:2000], y[:2000]).why
    calibrated, labels = overconfident(1.0)
    assert choose_temperature(calibrated[:200], labels[:200]).value == 1.0
    assert "too few" in choose_temperature(p[:5], y[:5]).why


def test_certain_forecasts_with_zeros_are_cooled() -> None:
    p = torch.tensor([[1.0, 0.0]] * 10)
    y = torch.tensor([0] * 9 + [1])
    fitted = fit_temperature(p, y)
    # The smallest normal float32 stands for 0: its logarithm over T is that of odds of nine to one.
    assert fitted == pytest.approx(-math.log(torch.finfo(torch.float32).tiny) / math.log(9), rel=1e-3)
    assert classification(apply_temperature(p, fitted), y)["nll"] < classification(p, y)["nll"]


@pytest.mark.parametrize("temperature", [0.0, -1.0, math.inf, math.nan])
def test_wrong_temperature_is_refused(temperature: float) -> None:
    with pytest.raises(BitspikeError, match=r"temperature: got .*, wanted a positive number"):
        apply_temperature(torch.full((1, 2), 0.5), temperature)


def test_regression_by_hand() -> None:
    mean, spread = torch.tensor([[1.0], [2.0]]), torch.tensor([[0.5], [2.0]])
    got = regression(mean, spread, torch.tensor([[2.0], [2.0]]))
    assert got["rmse"] == pytest.approx(math.sqrt(0.5))
    per_value = [math.log(0.5) + 2.0, math.log(2.0)]
    assert got["nll"] == pytest.approx(sum(per_value) / 2 + 0.5 * math.log(2 * math.pi))


def test_nll_is_lowest_at_the_true_spread_and_finite_without_spread() -> None:
    error = 0.3 * torch.randn(5000, 1, generator=generator("regression test"))
    zero = torch.zeros_like(error)
    at = {s: regression(zero, zero + s, error)["nll"] for s in (0.2, 0.3, 0.45)}
    assert at[0.3] < at[0.2]
    assert at[0.3] < at[0.45]
    assert regression(zero, zero, error, floor=0.3)["nll"] == pytest.approx(at[0.3])
    assert math.isfinite(regression(zero, zero, error)["nll"])


def test_wrong_regression_input_is_refused() -> None:
    one = torch.ones(2, 1)
    with pytest.raises(BitspikeError, match=r"wanted three tensors of one shape"):
        regression(one, torch.ones(2), one)
    with pytest.raises(BitspikeError, match=r"regression spread: got -1\.0, wanted standard deviations, 0 or more"):
        regression(one, -one, one)
    with pytest.raises(BitspikeError, match="regression targets: got a value that is not finite"):
        regression(one, one, one * math.nan)


def test_scores_before_a_softmax_are_no_probabilities() -> None:
    for scores in (torch.tensor([[3.0, 7.0]]), torch.tensor([[-1.0, 2.0]]), torch.tensor([[torch.nan, 1.0]])):
        with pytest.raises(BitspikeError, match=r"^probabilities: got"):
            apply_temperature(scores, 2.0)
    with pytest.raises(BitspikeError, match=r"^probabilities: got list without real values"):
        apply_temperature([[0.5, 0.5]], 2.0)  # type: ignore[arg-type]
    assert apply_temperature(torch.empty(3, 0, 2), 2.0).shape == (3, 0, 2)
