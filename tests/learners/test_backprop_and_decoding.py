"""Back-propagation through time, decoders, schedules and settled statistics."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from bitspike.errors import BitspikeError
from bitspike.layers import TemporalBatchNorm
from bitspike.learners import BackpropLearner, Optimisation, Schedule, decode, ensemble_outputs
from bitspike.learners.optimisation import OptimiserChoice
from bitspike.models import feedforward
from bitspike.neurons import LIF
from bitspike.weights import BayesianBinary, StraightThrough, quantise


def learner(make=None, outputs=3, lr=0.01, latent_lr=0.1, **options):
    model = feedforward((6,), outputs, ["16", "12"], LIF)
    if make is not None:
        quantise(model, make, 0, start="draw")
    choices = OptimiserChoice("Adam", lr), OptimiserChoice("Adam", latent_lr)
    return BackpropLearner(model, Optimisation(model, *choices, Schedule(), 100), seed=0, **options)


def batch(n=24):
    torch.manual_seed(0)
    x = torch.rand(n, 6)
    return x.expand(5, n, 6), (x[:, :3]).argmax(1)


@pytest.mark.parametrize(
    "make", [None, StraightThrough, lambda: BayesianBinary(relaxed=False, rule="straight-through")]
)
@pytest.mark.parametrize("loss", ["final", "every-step"])
def test_it_learns_a_small_problem(make, loss):
    rule, (events, y) = learner(make, loss=loss), batch()
    first = rule.fit_batch(events, y)["loss"]
    for _ in range(60):
        last = rule.fit_batch(events, y)
    assert last["loss"] < 0.5 * first
    assert rule.updates == 61


def test_loss_of_every_step_is_the_mean_over_steps():
    rule, (events, y) = learner(loss="every-step"), batch()
    rule.model.eval()
    readout = rule.model(events)
    means = readout.cumsum(0) / torch.arange(1, 6).view(-1, 1, 1)
    by_hand = torch.stack([F.cross_entropy(m, y, reduction="sum") for m in means]).mean()
    assert rule._loss_sum(events, y)[0].item() == pytest.approx(by_hand.item(), rel=1e-5)


def test_class_weights_scale_each_example():
    plain, weighted = learner(), learner(class_weights=torch.tensor([2.0, 0.5, 0.5]))
    events, y = batch()
    zero = y == 0
    for rule in (plain, weighted):
        rule.model.eval()
    one = [rule._loss_sum(events[:, zero], y[zero])[0].item() for rule in (plain, weighted)]
    assert one[1] == pytest.approx(2 * one[0], rel=1e-6)


def test_more_draws_per_update_average_the_gradient():
    rule, (events, y) = learner(lambda: BayesianBinary(relaxed=False, rule="straight-through"), draws=4), batch()
    assert math.isfinite(rule.fit_batch(events, y)["loss"])
    assert rule.updates == 1


def test_the_prior_pulls_latents_towards_it():
    def latents(rho):
        rule, (events, y) = learner(lambda: BayesianBinary(relaxed=False, rule="straight-through"), rho=rho), batch()
        for _ in range(30):
            rule.fit_batch(events, y)
        return sum(p.abs().sum().item() for n, p in rule.model.named_parameters() if "original" in n)

    assert latents(1.0) < 0.5 * latents(0.0)


def test_finish_settles_statistics_for_draws_and_for_map():
    rule, (events, y) = learner(lambda: BayesianBinary(relaxed=False, rule="straight-through", init=0.5)), batch(64)
    rule.fit_batch(events, y)
    rule.finish(lambda: [events[:, :32], events[:, 32:]])
    norm = next(m for m in rule.model if isinstance(m, TemporalBatchNorm))
    assert norm.momentum == 0.1
    assert not torch.allclose(norm.running_var, norm.map_var)
    settled = {k: v.clone() for k, v in rule.model.state_dict().items()}
    rule.finish(lambda: [events[:, :32], events[:, 32:]])
    assert all(torch.equal(v, settled[k]) for k, v in rule.model.state_dict().items())


def test_decoders_by_hand():
    r = torch.tensor([0.0, 2.0, -1.0]).view(3, 1, 1)
    sigmoid = lambda z: 1 / (1 + math.exp(-z))  # noqa: E731
    positive = {
        name: decode(r, name)[:, 0, 1].tolist() for name in ("mean-logit", "sum-logit", "mean-probability", "last")
    }
    assert positive["mean-logit"] == pytest.approx([0.5, sigmoid(1), sigmoid(1 / 3)])
    assert positive["sum-logit"] == pytest.approx([0.5, sigmoid(2), sigmoid(1)])
    assert positive["mean-probability"] == pytest.approx(
        [0.5, (0.5 + sigmoid(2)) / 2, (0.5 + sigmoid(2) + sigmoid(-1)) / 3]
    )
    assert positive["last"] == pytest.approx([0.5, sigmoid(2), sigmoid(-1)])
    later = decode(r, "mean-logit", start=1)[:, 0, 1].tolist()
    assert later == pytest.approx([0.5, sigmoid(2), sigmoid(0.5)])
    with pytest.raises(BitspikeError, match="decoder: got 'max', wanted one of mean-logit"):
        decode(r, "max")


def test_regression_ensemble_stacks_value_and_spread():
    members = [torch.full((2, 3, 1), 0.2), torch.full((2, 3, 1), 0.6)]
    stacked = ensemble_outputs(members, "regression")
    assert stacked.shape == (2, 3, 2)
    assert stacked[0, 0].tolist() == pytest.approx([0.4, 0.2])


def test_schedules():
    one = Schedule("one-cycle", warmup=0.2, end=0.0)
    assert one.factor(0) == pytest.approx(1 / 25)
    assert one.factor(0.2) == 1
    assert one.factor(0.6) == pytest.approx(0.5)
    step = Schedule("step", halvings=4)
    assert [step.factor(q) for q in (0.0, 0.2, 0.39, 0.8, 0.999)] == [1, 0.5, 0.5, 1 / 16, 1 / 16]
    assert Schedule("cosine", end=0.1).factor(0.5) == pytest.approx(0.55)


def test_wrong_options_are_one_line():
    with pytest.raises(BitspikeError, match=r"optimizer name: got 'Adamm', wanted an optimiser of torch.optim"):
        OptimiserChoice("Adamm").build({}, "optimizer")
    with pytest.raises(BitspikeError, match=r"optimizer options: got .*'momentum'.*wanted options of torch.optim.Adam"):
        OptimiserChoice("Adam", 0.1, {"momentum": 1}).build({"w": torch.nn.Parameter(torch.ones(1))}, "optimizer")
    with pytest.raises(BitspikeError, match="learner loss: got 'first', wanted 'final' or 'every-step'"):
        learner(loss="first")


def test_a_loss_that_is_not_a_number_names_the_layer():
    rule, (events, y) = learner(), batch()
    with torch.no_grad():
        rule.model.norm_dense2.bias[0] = math.inf
        rule.model.norm_readout.weight[0] = math.nan
    with pytest.raises(
        BitspikeError, match=r"the loss became nan at update 0, first non-finite value in layer 'norm_dense2'"
    ):
        rule.fit_batch(events, y)
    with pytest.raises(BitspikeError, match="first non-finite value in the input"):
        learner().fit_batch(events * math.nan, y)
