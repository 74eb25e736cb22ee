"""The penalty on spikes: its gradient, sequences that end, what it does, and networks that it is refused for."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bitspike.errors import BitspikeError
from bitspike.layers.ends import with_lengths
from bitspike.learners import BackpropLearner, Optimisation, Schedule
from bitspike.learners.backprop import spike_rates
from bitspike.learners.optimisation import OptimiserChoice
from bitspike.models import feedforward
from bitspike.neurons import LIF
from bitspike.neurons.recordings import Recording, record
from bitspike.weights import BayesianBinary, quantise

STEPS, EXAMPLES = 5, 12


def learner(penalty: float, make: object = None, **options: int) -> BackpropLearner:
    torch.manual_seed(1)
    model = feedforward((6,), 3, ["16", "12"], LIF).double()
    if make is not None:
        quantise(model, make, 0, start="draw")
    choice = OptimiserChoice("SGD", 0.1), OptimiserChoice("SGD", 0.1)
    made = Optimisation(model, *choice, Schedule(), 100)
    return BackpropLearner(model, made, seed=0, spike_penalty=penalty, **options)


def batch() -> tuple[Tensor, Tensor]:
    torch.manual_seed(0)
    x = torch.rand(STEPS, EXAMPLES, 6, dtype=torch.float64) * 3
    return x, x[0, :, :3].argmax(1)


def gradients(model: nn.Module) -> list[Tensor]:
    return [p.grad for p in model.parameters() if p.grad is not None]


def test_loss_and_gradient_are_those_of_the_sum() -> None:
    events, y = batch()
    rule, plain = learner(0.7), learner(0.0)
    logged = rule.fit_batch(events, y)["loss"]
    plain.model.train()
    recorded = record(plain.model, events, states=False)
    sent = [one.spikes for one in recorded.values()]
    rate = torch.stack([s.abs().sum() for s in sent]).sum() / sum(s.numel() for s in sent)
    loss = F.cross_entropy(plain.model(events).mean(0), y) + 0.7 * rate
    loss.backward()
    assert rate.item() > 0.05
    assert logged == pytest.approx(loss.item(), rel=1e-9)
    for ours, theirs in zip(gradients(rule.model), gradients(plain.model), strict=True):
        assert float((ours - theirs).norm()) <= 1e-9 * max(1.0, float(theirs.norm()))


def test_it_makes_a_network_quieter() -> None:
    events, y = batch()
    rates = []
    for penalty in (0.0, 20.0):
        rule = learner(penalty)
        for _ in range(40):
            rule.fit_batch(events, y)
        rule.model.eval()
        rates.append(spike_rates(record(rule.model, events, states=False)).mean().item())
    assert rates[1] < 0.7 * rates[0]


def test_draws_are_averaged() -> None:
    events, y = batch()
    rule = learner(0.5, lambda: BayesianBinary(relaxed=False, rule="straight-through"), draws=3)
    alone = learner(0.0, lambda: BayesianBinary(relaxed=False, rule="straight-through"), draws=3)
    difference = rule.fit_batch(events, y)["loss"] - alone.fit_batch(events, y)["loss"]
    assert 0 < difference < 0.5


def test_spikes_behind_an_end_do_not_count() -> None:
    spikes = torch.ones(4, 2, 3)
    sent = {"a": Recording(spikes, {}), "b": Recording(torch.zeros(4, 2, 1), {})}
    assert spike_rates(sent).tolist() == [0.75, 0.75]
    spikes[2:, 0] = 5.0
    assert spike_rates(sent, torch.tensor([2, 4])).tolist() == [0.75, 0.75]
    events, y = batch()
    longer = torch.cat([events, 9 + events[:2]])
    lengths = torch.full((EXAMPLES,), STEPS)
    ended = learner(0.7).fit_batch(with_lengths(longer, lengths), y)["loss"]
    assert ended == pytest.approx(learner(0.7).fit_batch(events, y)["loss"], rel=1e-9)


def test_it_is_refused_where_nothing_spikes() -> None:
    model = nn.Linear(3, 2)
    optimisation = Optimisation(model, OptimiserChoice("SGD", 0.1), None, Schedule(), 10)
    with pytest.raises(BitspikeError, match=r"learner spike_penalty: got 1.0, wanted 0: this network has no neurons"):
        BackpropLearner(model, optimisation, spike_penalty=1.0)
