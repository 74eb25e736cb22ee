"""What every learner answers to: named draws, copies of its state, exchange by roles, targets for each step."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from bitspike.cells import LMU, ParallelLMU
from bitspike.errors import BitspikeError
from bitspike.learners import BackpropLearner, Learner, OnlineLearner, Optimisation, Schedule
from bitspike.learners.optimisation import OptimiserChoice
from bitspike.models import feedforward, local_network
from bitspike.models.sequence import Gated, SequenceNetwork
from bitspike.neurons import LIF
from bitspike.weights import BayesianBinary, latent_parameters, quantise, redraw


def hard():
    return BayesianBinary(relaxed=False, rule="straight-through")


def bayesian(kind=BackpropLearner, outputs=3, **options):
    model = feedforward((6,), outputs, ["12"], LIF) if kind is BackpropLearner else local_network((6,), outputs, ["12"])
    quantise(model, hard, 0, start="draw")
    choice = OptimiserChoice("Adam", 0.05)
    return kind(model, Optimisation(model, choice, choice, Schedule(), 100), seed=0, **options)


def batch(steps=5, examples=12):
    source = torch.Generator().manual_seed(0)
    x = (torch.rand(steps, examples, 6, generator=source) < 0.5).float()
    return x, x.sum(0)[:, :3].argmax(1)


def tensors(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def equal(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("kind", [BackpropLearner, OnlineLearner])
def test_a_key_names_draws_of_its_own(kind):
    options = {} if kind is BackpropLearner else {"burn_in": 1}
    rules = [bayesian(kind, **options) for _ in range(4)]
    rules[1].key, rules[2].key = ("client", 1), ("client", 2)
    for rule in rules:
        rule.fit_batch(*batch())
    without, one, two, again = (tensors(rule.model) for rule in rules)
    assert equal(without, again)
    assert not equal(one, two)
    assert not equal(one, without)
    # What is shipped is drawn without a key: a finished run has none.
    rules[1].model.load_state_dict(without)
    assert torch.equal(rules[1].predict(batch()[0], 3), rules[0].predict(batch()[0], 3))


def test_states_and_what_is_exchanged_are_copies():
    rule = bayesian()
    rule.fit_batch(*batch())
    state, sent = rule.state_dict(), rule.exchanged()
    moments = state["optimisation"]["latent"]["state"][0]["exp_avg"].clone()
    latents = {name: tensor.clone() for name, tensor in sent["latent"].items()}
    rule.fit_batch(*batch())
    assert torch.equal(state["optimisation"]["latent"]["state"][0]["exp_avg"], moments)
    assert equal(sent["latent"], latents)


def test_moments_are_taken_up_and_the_recipes_own_values_stand():
    rule, other = bayesian(), bayesian()
    rule.fit_batch(*batch())
    choice = OptimiserChoice("Adam", 0.3, {"betas": (0.5, 0.6), "weight_decay": 0.1})
    other.optimisation = Optimisation(other.model, choice, choice, Schedule(), 100)
    state = rule.state_dict()
    other.load_state_dict(state)
    ((optimiser, rate), _) = other.optimisation.optimisers.values()
    assert (rate, optimiser.param_groups[0]["betas"], optimiser.param_groups[0]["weight_decay"]) == (
        0.3,
        (0.5, 0.6),
        0.1,
    )
    found = optimiser.state_dict()["state"][0]["exp_avg"]
    assert torch.equal(found, state["optimisation"]["real"]["state"][0]["exp_avg"])
    # Two learners that took up one state share none of it.
    other.fit_batch(*batch())
    assert equal(state["optimisation"]["real"]["state"][0], rule.state_dict()["optimisation"]["real"]["state"][0])


def test_what_is_exchanged_has_roles_and_an_inverse():
    rule, other = bayesian(), bayesian()
    for _ in range(3):
        rule.fit_batch(*batch())
    rule.finish(lambda: [batch()[0]])
    sent = rule.exchanged()
    assert set(sent["latent"]) == set(latent_parameters(rule.model))
    assert set(sent["real"]) == {
        f"norm_{layer}.{part}" for layer in ("dense1", "readout") for part in ("weight", "bias")
    }
    assert set(sent["statistic"]) == {
        f"norm_{layer}.{mode}" for layer in ("dense1", "readout") for mode in ("running", "map")
    }
    other.receive(sent)
    assert equal(tensors(other.model), tensors(rule.model))
    # A fixed read-out is sent by nobody, and what is left out stays.
    online = bayesian(OnlineLearner, burn_in=1)
    assert online.exchanged()["real"] == online.exchanged()["statistic"] == {}
    before = tensors(other.model)
    other.receive({"real": {}, "latent": {}})
    assert equal(tensors(other.model), before)


def test_what_is_received_again_is_looked_at_again_once_it_was_written_to():
    rule = bayesian()
    sent = rule.exchanged()
    rule.receive(sent)
    before = tensors(rule.model)
    rule.fit_batch(*batch())
    rule.receive(sent)
    assert equal(tensors(rule.model), before)
    next(iter(sent["real"].values()))[0] = float("nan")
    with pytest.raises(BitspikeError, match="not finite"):
        rule.receive(sent)
    assert equal(tensors(rule.model), before)


def test_statistics_add_up_over_clients():
    """Three parts of one value each, as three clients: together the mean and variance of all they saw."""
    source = torch.Generator().manual_seed(3)
    x = torch.randn(1, 600, 6, generator=source) * 2 + 1
    parts = (x[:, :100], x[:, 100:300], x[:, 300:])
    sums = {}
    for part in parts:
        rule = bayesian()
        mean, var = rule.model.norm_dense1.running_mean, rule.model.norm_dense1.running_var
        mean.copy_(part[0, :, :1].mean().expand(12))
        var.copy_(part[0, :, :1].var(correction=0).expand(12))
        for name, tensor in rule.exchanged()["statistic"].items():
            sums[name] = sums.get(name, 0) + part.shape[1] * tensor
    rule = bayesian()
    rule.receive({"statistic": sums})
    norm = rule.model.norm_dense1
    assert torch.allclose(norm.running_mean, x[0, :, 0].mean().expand(12), atol=1e-6)
    assert torch.allclose(norm.running_var, x[0, :, 0].var(correction=0).expand(12), rtol=1e-5)


def beyond(sums):
    """The same with a variance that single precision does not hold."""
    wide = sums.double().clone()
    wide[2] = 1e39
    return wide


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda sent: {"weights": {}}, "received role: got 'weights', wanted latent, real, statistic"),
        (lambda sent: {"real": {"a": torch.ones(1)}}, "received real: got 'a', wanted a name that `exchanged` gives"),
        (lambda sent: {"real": {n: t[:3] for n, t in sent["real"].items()}}, r"received real .*got \(3,\), wanted"),
        (lambda sent: {"real": {n: t / 0 for n, t in sent["real"].items()}}, "numbers that are not finite"),
        (lambda sent: {"statistic": {n: 0 * t for n, t in sent["statistic"].items()}}, "a sum of no weight"),
        # Finite in the sums' double precision, infinite where they go.
        (
            lambda sent: {"statistic": {n: beyond(t) for n, t in sent["statistic"].items()}},
            "numbers beyond torch.float32",
        ),
    ],
)
def test_what_does_not_fit_is_refused_and_changes_nothing(change, message):
    rule = bayesian()
    before = tensors(rule.model)
    with pytest.raises(BitspikeError, match=message):
        rule.receive(change(rule.exchanged()))
    assert equal(tensors(rule.model), before)


class Delta(Learner):
    """A linear read-out under the delta rule; it keeps how often it saw each example."""

    def __init__(self, model, **options):
        super().__init__(model, **options)
        self.seen = {}

    def fit_batch(self, events, targets, examples=None, mask=None, reset=True):
        for number in examples.tolist():
            self.seen[number] = self.seen.get(number, 0) + 1
        wanted = F.one_hot(targets, self.model.out_features).to(events.dtype)
        with torch.no_grad():
            x = events.mean(0)
            error = wanted - self.model(x)
            self.model.weight += 0.1 * error.T @ x / len(x)
        self.updates += 1
        return {"loss": float(error.square().mean()), "examples": float(len(x))}

    def outputs(self, events, every_step=False):
        return self.model(events).softmax(-1)


def test_a_rule_with_an_update_of_its_own_needs_no_optimiser():
    rule = Delta(nn.Linear(6, 3, bias=False), seed=1)
    rule.start()
    events, y = batch()
    first = rule.fit_batch(events, y, torch.arange(12))["loss"]
    for _ in range(30):
        last = rule.fit_batch(events, y, torch.arange(12))["loss"]
    assert last < first
    assert rule.rate_factor() == 1.0
    assert rule.seen == dict.fromkeys(range(12), 31)
    assert rule.state_dict() == {"updates": 31}
    again = Delta(nn.Linear(6, 3, bias=False))
    again.load_state_dict(rule.state_dict())
    again.receive(rule.exchanged())
    assert again.updates == 31
    assert torch.equal(again.predict(events), rule.predict(events))


@pytest.mark.parametrize("kind", [BackpropLearner, OnlineLearner])
def test_a_mask_says_which_steps_count(kind):
    options = {} if kind is BackpropLearner else {"burn_in": 0}
    events, y = batch()
    each = y[:, None].expand(-1, 5).clone()
    mask = torch.rand(12, 5, generator=torch.Generator().manual_seed(1)) < 0.6
    masked, marked = bayesian(kind, **options), bayesian(kind, **options)
    one = masked.fit_batch(events, each, mask=mask)
    other = marked.fit_batch(events, torch.where(mask, each, -1))
    assert one == other
    assert one["examples"] == mask.sum()
    assert equal(tensors(masked.model), tensors(marked.model))
    # Values for each step: those outside the mask may be anything.
    values = torch.rand(12, 5, 2, generator=torch.Generator().manual_seed(2))
    rules = [bayesian(kind, outputs=2, task="regression", **options) for _ in range(2)]
    found = [
        rule.fit_batch(events, torch.where(mask.unsqueeze(-1), values, torch.tensor(other)), mask=mask)
        for rule, other in zip(rules, (0.0, torch.nan), strict=True)
    ]
    assert found[0] == found[1]
    assert equal(tensors(rules[0].model), tensors(rules[1].model))
    for wrong in (mask.T, mask.float()):
        with pytest.raises(BitspikeError, match=r"batch mask: got .* with targets"):
            masked.fit_batch(events, each, mask=wrong)
    with pytest.raises(BitspikeError, match=r"batch targets: got \(12, 5, 3\), wanted \(12, 5, 2\)"):
        rules[0].fit_batch(events, torch.rand(12, 5, 3))


def test_values_for_each_step_have_the_loss_of_each_step():
    rule = bayesian(outputs=2, task="regression")
    events, values = batch()[0], torch.rand(12, 5, 2)
    found = rule.fit_batch(events, values)
    assert found["examples"] == 60
    again = bayesian(outputs=2, task="regression")
    again.model.train()
    redraw(again.model, 0, "weights", 0, 0)
    by_hand = F.binary_cross_entropy_with_logits(again.model(events), values.transpose(0, 1))
    assert found["loss"] == pytest.approx(by_hand.item(), rel=1e-5)


def test_backprop_refuses_the_middle_of_a_stream():
    with pytest.raises(BitspikeError, match="learner rule 'backprop': got reset = False, wanted whole sequences"):
        bayesian().fit_batch(*batch(), reset=False)


@pytest.mark.parametrize("at", [1, 3, 4, 6])
def test_a_checkpoint_inside_the_burn_in_goes_on(at):
    """The draw of a burn-in is named, so that a slice of it needs none of what stood in the process before."""
    events, y = batch(steps=9)
    y = (y > 0).long()
    whole, before, after = (bayesian(OnlineLearner, outputs=1, burn_in=4) for _ in range(3))
    whole.fit_batch(events, y)
    before.fit_batch(events[:at], y)
    after.model.load_state_dict(tensors(before.model))
    after.load_state_dict(before.state_dict())
    after.predict(events, 2)  # other draws in between change nothing
    after.fit_batch(events[at:], y, reset=False)
    assert equal(tensors(after.model), tensors(whole.model))
    assert after.state_dict()["updates"] == 5


CELLS = {
    "lstm": lambda: Gated("lstm", 6, 7),
    "gru": lambda: Gated("gru", 6, 7),
    "lmu": lambda: LMU(6, 7, 4, 5),
    "parallel": lambda: ParallelLMU(6, 7, 4, 5),
}


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("read", [1, 3])
def test_a_network_that_answers_once_can_answer_after_each_step(cell, read):
    model = SequenceNetwork(CELLS[cell](), 3, read)
    choice = OptimiserChoice("Adam", 0.05)
    rule = BackpropLearner(model, Optimisation(model, choice, None, Schedule(), 100))
    events, y = batch(steps=8)
    rule.fit_batch(events, y)
    once, each = rule.predict(events), rule.predict(events, every_step=True)
    assert once.shape == (1, 12, 3)
    assert each.shape == (8, 12, 3)
    for step in range(read, 9):
        assert torch.allclose(each[step - 1], rule.predict(events[:step])[0], atol=1e-6)
    if cell != "parallel":
        assert torch.equal(each[-1], once[0])


class Once(nn.Module):
    """A person's own module that answers at the end alone."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(6, 3)

    def forward(self, x):
        return self.layer(x.cumsum(0)[-1:])


def test_a_module_of_ones_own_answers_after_each_step_too():
    model = Once()
    rule = BackpropLearner(model, Optimisation(model, OptimiserChoice("SGD", 0.1), None, Schedule(), 100))
    events, _ = batch()
    each = rule.predict(events, every_step=True)
    assert torch.allclose(each, model.layer(events.cumsum(0)).softmax(-1), atol=1e-6)
    assert rule.predict(events).shape == (1, 12, 3)
