"""BiSNN's online rule: closed-form gradients, locality, scale invariance and the Bayesian update."""

from __future__ import annotations

import math

import pytest
import torch

import bitspike
from bitspike.errors import BitspikeError
from bitspike.learners import OnlineLearner, Optimisation, Schedule
from bitspike.learners.optimisation import OptimiserChoice
from bitspike.models import local_network
from bitspike.weights import BayesianBinary, StraightThrough, latent_parameters, quantise


def learner(make=None, lr=1.0, layers=("8", "6"), outputs=1, dtype=torch.float64, task="classification", **options):
    model = local_network((5,), outputs, list(layers)).to(dtype)
    if make is not None:
        quantise(model, make, 0, "latent")
    optimisation = Optimisation(model, OptimiserChoice("SGD", lr), None, Schedule(), 100)
    return OnlineLearner(model, optimisation, task, seed=0, **{"burn_in": 2, **options})


def batch(steps=6, examples=4, dtype=torch.float64):
    torch.manual_seed(1)
    return (torch.rand(steps, examples, 5) < 0.4).to(dtype), torch.tensor([0, 1, 1, 0])[:examples]


def test_autograd_agrees_with_the_closed_form():
    rule, (events, y) = learner(), batch()
    states = rule.model.initial(4)
    for x in events[:4]:
        with torch.no_grad():
            _, _, states = rule.model(x, states)
    logits, _, after = rule.model(events[4], states)
    sum(rule.local_loss(r, y) for r in logits).backward()
    for layer, before, r in zip(rule.model.layers, states, logits, strict=True):
        p = layer.constants
        traces = after[list(rule.model.layers).index(layer)].traces
        U = layer.gain * traces.P @ layer.weights.weight.T - (p.g * before.refractory.R + before.refractory.S)
        e = (torch.sigmoid(r) - y[:, None].double()) / 4
        dS = layer.readout_gain * e @ layer.readout
        dU = dS * ((U > -0.5) & (U <= 0.5))
        closed = layer.gain * dU.T @ traces.P
        assert torch.allclose(layer.weights.weight.grad, closed.detach(), rtol=1e-6, atol=0)
        assert closed.abs().sum() > 0


def test_the_gradient_is_local_in_depth_and_in_time():
    rule, (events, y) = learner(), batch()
    states = rule.model.initial(4)
    logits, _, states = rule.model(events[0], states)
    first, second = (layer.weights.weight for layer in rule.model.layers)
    assert torch.autograd.grad(rule.local_loss(logits[1], y), first, allow_unused=True)[0] is None
    assert torch.autograd.grad(rule.local_loss(logits[0], y), second, allow_unused=True)[0] is None
    tensors = [t for state in states for part in state for t in part]
    assert not any(t.requires_grad for t in tensors)


@pytest.mark.parametrize("k", [2.0, 0.25])
def test_straight_through_trajectory_is_invariant_to_a_common_scale(k):
    signs = []
    for factor in (1.0, k):
        rule = learner(lambda f=factor: StraightThrough(init=0.5 * f), lr=30.0 * factor)
        events, y = batch(steps=20)
        seen = []
        for _ in range(3):
            rule.fit_batch(events, y)
            seen += [latent.detach() >= 0 for latent in latent_parameters(rule.model).values()]
        signs.append(seen)
    assert all(torch.equal(a, b) for a, b in zip(*signs, strict=True))
    start = learner(lambda: StraightThrough(init=0.5))
    moved = [a != (b >= 0) for a, b in zip(signs[0][-2:], latent_parameters(start.model).values(), strict=True)]
    assert any(m.any() for m in moved)


def test_bayesian_step_is_the_papers_update():
    """w_r <- (1 - lr rho) w_r - lr (s g - rho w_0), with g the gradient at the drawn relaxed weight."""
    lr, rho = 0.3, 0.2
    rule = learner(lambda: BayesianBinary(prior=0.7, init=0.5), lr=lr, rho=rho, layers=("8",), burn_in=0)
    events, y = batch(steps=1)
    (latent,) = latent_parameters(rule.model).values()
    before = latent.detach().clone()
    rule.fit_batch(events, y)
    (precision,) = (m for m in rule.model.modules() if isinstance(m, BayesianBinary))
    layer = rule.model.layers[0]
    # At the first step P is 0, so g is 0; the update is then the pull of the prior alone.
    expected = (1 - lr * rho) * before + lr * rho * 0.5 * math.log(0.7 / 0.3)
    assert torch.allclose(latent.detach(), expected, rtol=1e-12)
    # Later steps carry a gradient: rebuild each by hand.
    seen = 0.0
    for _ in range(5):
        before = latent.detach().clone()
        states = rule.carried
        rule.fit_batch(events, y, reset=False)
        delta = 0.5 * torch.logit(precision.uniform)
        w = torch.tanh(delta + before).requires_grad_()
        traces_P = layer.constants.a * states[0].traces.P + states[0].traces.Q
        R = layer.constants.g * states[0].refractory.R + states[0].refractory.S
        S = layer.spike(layer.gain * traces_P @ w.T - R)
        loss = rule.local_loss(layer.readout_gain * S @ layer.readout.T, y)
        (g,) = torch.autograd.grad(loss, w)
        s = (1 - w.detach() ** 2) / (1 - torch.tanh(before) ** 2)
        expected = (1 - lr * rho) * before - lr * (s * g - rho * 0.5 * math.log(0.7 / 0.3))
        assert torch.allclose(latent.detach(), expected, rtol=1e-9)
        seen += g.abs().sum().item()
    assert seen > 0


def test_zero_gradient_shrinks_the_latents():
    rule = learner(lambda: BayesianBinary(init=2.0), lr=0.1, rho=0.5, burn_in=0)
    before = [latent.detach().clone() for latent in latent_parameters(rule.model).values()]
    rule.model.layers[0].readout.zero_()
    rule.model.layers[1].readout.zero_()
    rule.fit_batch(*batch(steps=7))
    for old, latent in zip(before, latent_parameters(rule.model).values(), strict=True):
        assert torch.allclose(latent.detach(), old * (1 - 0.1 * 0.5) ** 7, rtol=1e-6)


def test_slices_with_reset_false_equal_one_presentation():
    events, y = batch(steps=12)
    whole, parts = learner(lr=0.5), learner(lr=0.5)
    whole.fit_batch(events, y)
    parts.fit_batch(events[:5], y)
    state = parts.state_dict()
    model = {name: t.clone() for name, t in parts.model.state_dict().items()}
    resumed = learner(lr=0.5)
    resumed.model.load_state_dict(model)
    resumed.load_state_dict(state)
    resumed.fit_batch(events[5:], y, reset=False)
    pairs = zip(whole.model.parameters(), resumed.model.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


def test_burn_in_updates_nothing_and_each_later_step_once():
    rule = learner(burn_in=4)
    rule.fit_batch(*batch(steps=9))
    assert rule.updates == 5
    before = [p.clone() for p in rule.model.parameters()]
    learner_short = learner(burn_in=9)
    learner_short.model.load_state_dict(rule.model.state_dict())
    learner_short.fit_batch(*batch(steps=9))
    assert all(torch.equal(a, b) for a, b in zip(before, learner_short.model.parameters(), strict=True))


def test_predictions_are_probabilities_at_every_step_and_repeat():
    rule = learner(lambda: BayesianBinary(init=0.3), dtype=torch.float32)
    events, _ = batch(dtype=torch.float32)
    outputs = rule.predict(events, samples=5)
    assert outputs.shape == (6, 4, 2)
    assert torch.allclose(outputs.sum(-1), torch.ones(6, 4))
    assert torch.equal(outputs, rule.predict(events, samples=5))
    assert not torch.equal(outputs, rule.predict(events, samples=0))


def test_a_loss_that_is_not_a_number_stops_with_update_and_layer():
    rule, (events, y) = learner(), batch()
    with torch.no_grad():
        rule.model.layers[1].weights.weight[0, 0] = math.nan
        # A NaN membrane gives no spike (comparison is false): poison the read-out that everybody sees.
        rule.model.layers[1].readout[0, 0] = math.nan
    with pytest.raises(
        BitspikeError, match=r"the loss became nan at update 0, first non-finite value in layer 'layers\.1"
    ):
        rule.fit_batch(events, y)


def test_traces_are_no_spikes_to_the_energy_account():
    """Their values may be whole by chance; a layer that meets them is none that spikes drive."""
    rule, (events, _) = learner(dtype=torch.float32), batch(30, 8, torch.float32)
    events[:] = 1  # traces come to rest, where they are whole
    account = bitspike.estimate_energy(rule.model, [events], run=rule.readouts, time_first=True)
    met = {layer.name: layer for layer in account.counts.layers}
    assert all(met[f"layers.{k}.weights"].events == 0 for k in (0, 1))
    assert met["layers.1.weights"].graded > 0
    assert 0 < account.spikes_per_synapse <= 30


@pytest.mark.parametrize("outputs", [1, 3])
def test_class_weights_weigh_smooth_l1_too(outputs):
    weights = torch.tensor([0.5, 2.0, 1.0][: max(outputs, 2)], dtype=torch.float64)
    rule = learner(outputs=outputs, loss="smooth-l1")
    readout, targets = torch.randn(6, outputs, dtype=torch.float64), torch.tensor([0, 1, 1, 0, 1, 0])
    plain = rule.local_loss(readout, targets, "none")
    rule.class_weights = weights
    each = weights[targets].unsqueeze(1) * plain
    assert torch.allclose(rule.local_loss(readout, targets, "none"), each)
    assert torch.allclose(rule.local_loss(readout, targets), each.mean())
