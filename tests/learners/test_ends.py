"""Sequences of different lengths, and classes for each step: what lies behind an end changes nothing."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F

from bitspike.cells import LMU
from bitspike.errors import BitspikeError
from bitspike.layers import TemporalBatchNorm
from bitspike.layers.ends import ends_at, frozen, with_lengths
from bitspike.learners import BackpropLearner, Learner, OnlineLearner, Optimisation, Schedule
from bitspike.learners.optimisation import OptimiserChoice
from bitspike.models import feedforward, local_network
from bitspike.models.sequence import Gated, SequenceNetwork
from bitspike.neurons import LIF
from bitspike.weights import BayesianBinary, quantise

T, B, FEATURES, CLASSES = 9, 6, 4, 3
LENGTHS = torch.tensor([9, 3, 5, 9, 1, 7])


def around(model: torch.nn.Module, kind: type[Any] = BackpropLearner, **options: Any) -> Any:
    choice = OptimiserChoice("SGD", 0.1)
    return kind(model, Optimisation(model, choice, choice, Schedule(), 100), seed=0, **options)


def spiking(loss: str) -> Learner:
    model = feedforward((FEATURES,), CLASSES, ["8", "6"], LIF)
    quantise(model, lambda: BayesianBinary(), 0)
    return around(model, loss=loss)  # type: ignore[no-any-return]


MAKE = {
    "final": lambda: spiking("final"),
    "every-step": lambda: spiking("every-step"),
    "online": lambda: around(local_network((FEATURES,), CLASSES, ["8"]), OnlineLearner, burn_in=0),
    "gru": lambda: around(SequenceNetwork(Gated("gru", FEATURES, 5), CLASSES)),
    "lmu": lambda: around(SequenceNetwork(LMU(FEATURES, 5, 4, window=9.0), CLASSES)),
}


def batch(padding: float, per_step: bool = False) -> tuple[torch.Tensor, torch.Tensor]:
    """The same sequences, with `padding` behind their ends."""
    draw = torch.Generator().manual_seed(3)
    x = 2 * torch.rand(T, B, FEATURES, generator=draw)
    within = torch.arange(T).unsqueeze(1) < LENGTHS
    x = torch.where(within.unsqueeze(-1), x, torch.tensor(padding))
    y = torch.randint(0, CLASSES, (B, T) if per_step else (B,), generator=draw)
    return with_lengths(x, LENGTHS), torch.where(within.T, y, -1) if per_step else y


def trained(name: str, padding: float, per_step: bool) -> tuple[list[dict[str, float]], dict[str, Any], torch.Tensor]:
    rule = MAKE[name]()
    events, y = batch(padding, per_step)
    metrics = [rule.fit_batch(events, y) for _ in range(3)]
    rule.finish(lambda: [events, events])
    state = {key: value.clone() for key, value in rule.model.state_dict().items()}
    return metrics, state, rule.predict(events, samples=2)


@pytest.mark.parametrize("per_step", [False, True])
@pytest.mark.parametrize("name", MAKE)
def test_padding_changes_no_loss_gradient_statistic_or_answer(name: str, per_step: bool) -> None:
    if per_step and name in ("gru", "lmu"):
        pytest.skip("one answer at the end")
    quiet, loud = trained(name, 0.0, per_step), trained(name, 50.0, per_step)
    assert quiet[0] == loud[0]
    assert quiet[1].keys() == loud[1].keys()
    assert all(torch.equal(quiet[1][key], loud[1][key]) for key in quiet[1])
    assert torch.equal(quiet[2], loud[2])
    assert bool(quiet[2].isfinite().all())


@pytest.mark.parametrize("name", ["final", "online", "gru", "lmu"])
def test_a_sequence_is_answered_at_its_own_end(name: str) -> None:
    rule = MAKE[name]()
    events, _ = batch(7.0)
    answers = rule.predict(events, samples=1)
    for b, length in enumerate(LENGTHS.tolist()):
        alone = rule.predict(events[:length, b : b + 1].clone(), samples=1)[-1, 0]
        torch.testing.assert_close(answers[-1, b], alone)


def test_the_losses_by_hand() -> None:
    events, y = batch(5.0)
    readout = torch.randn(T, B, CLASSES, generator=torch.Generator().manual_seed(1))

    class Fixed(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gain = torch.nn.Parameter(torch.ones(()))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return readout * self.gain

    def means(b: int) -> torch.Tensor:
        own = readout[: int(LENGTHS[b]), b]
        return own.cumsum(0) / torch.arange(1, len(own) + 1).unsqueeze(1)

    last = torch.stack([F.cross_entropy(means(b)[-1:], y[b : b + 1]) for b in range(B)]).mean()
    every = torch.stack([F.cross_entropy(means(b), y[b].expand(int(LENGTHS[b]))) for b in range(B)]).mean()
    assert around(Fixed()).fit_batch(events, y)["loss"] == pytest.approx(last.item(), rel=1e-5)
    assert around(Fixed(), loss="every-step").fit_batch(events, y)["loss"] == pytest.approx(every.item(), rel=1e-5)
    _, each = batch(5.0, per_step=True)
    flat = readout.transpose(0, 1)[each >= 0]
    metrics = around(Fixed()).fit_batch(events, each)
    assert metrics["loss"] == pytest.approx(F.cross_entropy(flat, each[each >= 0]).item(), rel=1e-5)
    assert metrics["accuracy"] == pytest.approx(float((flat.argmax(1) == each[each >= 0]).double().mean()))
    assert metrics["examples"] == int(LENGTHS.sum())


def test_statistics_are_those_of_the_steps_there_are() -> None:
    norm, x = TemporalBatchNorm(FEATURES), batch(100.0)[0]
    rows = torch.cat([x[:length, b] for b, length in enumerate(LENGTHS.tolist())])
    with ends_at(LENGTHS):
        y = norm(x)
    torch.testing.assert_close(norm.running_mean, 0.1 * rows.mean(0))
    torch.testing.assert_close(norm.running_var, 0.9 + 0.1 * rows.var(0))
    kept = torch.cat([y[:length, b] for b, length in enumerate(LENGTHS.tolist())])
    torch.testing.assert_close(kept.mean(0), torch.zeros(FEATURES), atol=1e-6, rtol=0)
    assert bool((y[1:, 4] == 0).all())


def test_outputs_stay_behind_an_end() -> None:
    outputs = torch.arange(4.0).view(4, 1, 1).expand(4, 2, 1)
    assert frozen(outputs, torch.tensor([2, 4]))[:, :, 0].T.tolist() == [[0, 1, 1, 1], [0, 1, 2, 3]]


def test_lengths_that_do_not_fit_are_refused() -> None:
    norm = TemporalBatchNorm(FEATURES)
    with ends_at(torch.tensor([2, 3])), pytest.raises(BitspikeError, match=r"^layer input: got \(9, 6, 4\), wanted"):
        norm(batch(0.0)[0])
    rule = MAKE["final"]()
    with pytest.raises(BitspikeError, match=r"^batch targets: got \(6, 4\), wanted \(6,\), or \(6, 9\) for each step$"):
        rule.fit_batch(batch(0.0)[0], torch.zeros(6, 4, dtype=torch.int64))
    events, y = batch(0.0)
    network = SequenceNetwork(Gated("gru", FEATURES, 5), CLASSES, read=2)
    with pytest.raises(
        BitspikeError, match=r"^model read: got 2, wanted at most the 1 steps of the shortest sequence$"
    ):
        around(network).fit_batch(events, y)
