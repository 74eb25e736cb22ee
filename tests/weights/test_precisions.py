"""Weight precisions: the rule's numbers, draws and their distribution, prior, and what is stored."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from bitspike.draws import generator
from bitspike.errors import BitspikeError
from bitspike.weights import (
    BayesianBinary,
    StraightThrough,
    binary_sign,
    latent_parameters,
    natural_draw,
    natural_scale,
    natural_scale_float32,
    quantise,
    redraw,
    use_map,
)


def bayes(**options):
    return lambda: BayesianBinary(**options)


def test_scale_agrees_with_the_reference_formula_where_it_is_accurate():
    torch.manual_seed(0)
    latent = torch.empty(10_000, dtype=torch.float64).uniform_(-3, 3)
    delta = torch.empty(10_000, dtype=torch.float64).uniform_(-2, 2)
    for tau in (0.5, 1.0, 2.0):
        weight = torch.tanh((delta + latent) / tau)
        plain = (1 - weight**2) / (tau * (1 - torch.tanh(latent) ** 2))
        assert torch.allclose(natural_scale(latent, delta, tau), plain, rtol=1e-6)


def test_scale_is_finite_and_right_in_float32_far_out():
    latent, delta = torch.tensor([10.0, -10.0, 40.0, 300.0]), torch.tensor([-1.0, 2.0, -39.0, 1.0])
    exact = [math.exp(2 * (10 - 9)) * ((1 + math.exp(-20)) / (1 + math.exp(-18))) ** 2]
    assert natural_scale(latent, delta, 1.0)[0].item() == pytest.approx(exact[0], rel=1e-4)
    assert torch.isfinite(natural_scale(latent, delta, 1.0, limit=1e3)).all()
    assert natural_scale(latent, delta, 1.0, limit=1e3).max().item() == pytest.approx(1e3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_one_exponential_gives_the_draw_and_its_scale(dtype):
    torch.manual_seed(1)
    latent = torch.empty(100_000, dtype=torch.float64).uniform_(-8, 8)
    uniform = torch.rand(100_000, dtype=torch.float32).double()
    delta = 0.5 * torch.logit(uniform)
    weight, scale = natural_draw(latent.to(dtype), uniform.to(dtype), limit=1e3)
    near = 1e-6 if dtype == torch.float32 else 1e-12
    assert torch.allclose(weight.double(), torch.tanh(delta + latent), rtol=0, atol=near)
    # The latent itself is rounded in float32, and E = exp(2 w_r) magnifies that by up to 16.
    assert torch.allclose(scale.double(), natural_scale(latent, delta, 1.0, 1e3), rtol=20 * near, atol=0)


def test_the_draw_is_at_its_limits_far_out():
    latent = torch.tensor([300.0, 300.0, -300.0, -300.0, 50.0])
    uniform = torch.tensor([0.0, 1 - 2.0**-24, 0.0, 0.75, 0.25])
    weight, scale = natural_draw(latent, uniform, limit=1e3)
    assert weight.tolist() == [-1.0, 1.0, -1.0, -1.0, 1.0]
    assert torch.isfinite(scale).all()
    assert scale[3].item() == pytest.approx(3.0)
    assert scale[4].item() == pytest.approx(3.0)


def test_signs_of_zeros_are_plus_one():
    latent = torch.tensor([0.0, -0.0, 1e-40, -1e-40, float("inf"), -float("inf"), 2.0, -2.0])
    for dtype in (torch.float32, torch.float64):
        assert binary_sign(latent.to(dtype)).tolist() == [1, 1, 1, -1, 1, -1, 1, -1]


def test_reference_float32_form_saturates_as_documented():
    latent = torch.tensor([10.0])
    saturated = natural_scale_float32(torch.tensor([1.0]), latent, 1.0)
    jump = natural_scale_float32(torch.tensor([0.9]), latent, 1.0)
    assert saturated.item() == pytest.approx(1.0)
    assert jump.item() > 1e8


def test_probability_of_plus_one_is_the_sigmoid():
    latent = torch.tensor([-2.0, -0.5, 0.0, 0.3, 1.5])
    weight = BayesianBinary().eval()
    n, ones = 20_000, torch.zeros(5)
    for k in range(n):
        weight.uniform = torch.rand(5, generator=generator("draws", k))
        ones += weight(latent) == 1
    p = torch.sigmoid(2 * latent)
    assert ((ones / n - p).abs() < 4 * (p * (1 - p) / n).sqrt()).all()


def test_relaxed_and_hard_draws_of_the_same_noise_have_the_same_sign():
    relaxed, hard = BayesianBinary(relaxed=True), BayesianBinary(relaxed=False, rule="straight-through")
    latent = torch.randn(1000)
    relaxed.draw(latent, generator("noise"))
    hard.draw(latent, generator("noise"))
    soft = relaxed(latent)
    assert torch.equal(torch.sign(soft), hard(latent))
    assert (soft.abs() < 1).all()


@pytest.mark.parametrize("rule", ["natural", "pathwise", "straight-through", "mean"])
def test_gradient_that_reaches_the_latent(rule):
    weight = BayesianBinary(rule=rule, temperature=0.8)
    latent = torch.randn(50, dtype=torch.float64, requires_grad=True)
    weight.draw(latent, generator("g"))
    g = torch.randn(50, dtype=torch.float64)
    w = weight(latent)
    (w * g).sum().backward()
    mu, w = torch.tanh(latent.detach()), w.detach()
    scale = {
        "natural": (1 - w**2) / (0.8 * (1 - mu**2)),
        "pathwise": (1 - w**2) / 0.8,
        "straight-through": torch.ones(50),
        "mean": 1 - mu**2,
    }[rule]
    assert torch.allclose(latent.grad, g * scale, rtol=1e-9)


def test_pathwise_is_the_true_derivative_of_the_relaxed_draw():
    weight, latent = BayesianBinary(rule="pathwise"), torch.randn(20, dtype=torch.float64)
    weight.draw(latent, generator("fd"))
    latent.requires_grad_()
    assert torch.autograd.gradcheck(weight, latent)


def test_prior_and_divergence():
    assert BayesianBinary(prior=0.5).prior_natural == 0
    weight = BayesianBinary(prior=0.8)
    at_prior = torch.full((3,), weight.prior_natural, dtype=torch.float64)
    assert weight.divergence(at_prior).item() == pytest.approx(0, abs=1e-12)
    latent = torch.randn(6, dtype=torch.float64, requires_grad=True)
    plain = BayesianBinary(prior=0.8, rule="pathwise")
    (gradient,) = torch.autograd.grad(plain.divergence(latent), latent)
    assert torch.allclose(gradient, plain.prior_gradient(latent.detach()))
    natural = weight.prior_gradient(latent.detach())
    assert torch.allclose(natural * (1 - torch.tanh(latent.detach()) ** 2), gradient)


def test_straight_through_sign_of_zero_is_plus_one_and_the_gradient_passes():
    latent = torch.tensor([-0.2, 0.0, 3.0], requires_grad=True)
    w = StraightThrough()(latent)
    (w * torch.tensor([1.0, 2.0, 3.0])).sum().backward()
    assert w.tolist() == [-1, 1, 1]
    assert latent.grad.tolist() == [1, 2, 3]
    latent.grad = None
    StraightThrough(clip=1.0)(latent).sum().backward()
    assert latent.grad.tolist() == [1, 1, 0]


@pytest.mark.parametrize("layer", [nn.Linear(4, 3), nn.Conv1d(2, 3, 3), nn.Conv2d(2, 3, 3)])
@pytest.mark.parametrize("make", [StraightThrough, BayesianBinary])
def test_every_layer_and_bias_can_be_binary(layer, make):
    import copy

    model = nn.Sequential(copy.deepcopy(layer))
    quantise(model, make, 0, biases=True)
    redraw(model, 0)
    model.eval()
    assert set(model[0].weight.flatten().tolist()) <= {-1.0, 1.0}
    assert set(model[0].bias.tolist()) <= {-1.0, 1.0}
    assert set(latent_parameters(model)) == {"0.weight", "0.bias"}


def test_draws_are_named_repeatable_and_in_no_checkpoint():
    model = quantise(nn.Sequential(nn.Linear(30, 30)), bayes(init=0.3), 0)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    redraw(model, 5, "a")
    first = model[0].weight.clone()
    assert torch.equal(first, model[0].weight)
    redraw(model, 6, "a")
    assert not torch.equal(first, model[0].weight)
    redraw(model, 5, "a")
    assert torch.equal(first, model[0].weight)
    after = model.state_dict()
    assert set(before) == set(after) == {"0.bias", "0.parametrizations.weight.original"}
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_map_and_the_refusal_to_train_without_a_draw():
    model = quantise(nn.Sequential(nn.Linear(5, 5, bias=False)), bayes(), 0)
    with pytest.raises(BitspikeError, match="Bayesian weight: got no draw"):
        _ = model.train()[0].weight
    redraw(model, 0)
    use_map(model, True)
    latent = latent_parameters(model)["0.weight"]
    assert torch.equal(model[0].weight, torch.where(latent >= 0, 1.0, -1.0))


def test_initial_latents_at_the_ends_follow_the_prior():
    made = bayes(init=10.0, init_at_ends=True, prior=0.7)
    model = quantise(nn.Sequential(nn.Linear(200, 200)), made, 0, start="draw")
    latent = latent_parameters(model)["0.weight"]
    assert set(latent.unique().tolist()) == {-10.0, 10.0}
    assert (latent > 0).float().mean().item() == pytest.approx(0.7, abs=0.02)


def test_wrong_options_are_one_line():
    with pytest.raises(BitspikeError, match=r"weights prior: got 1.0, wanted a probability strictly between 0 and 1"):
        BayesianBinary(prior=1.0)
    with pytest.raises(
        BitspikeError, match="weights rule: got 'natural', wanted 'straight-through' or 'mean' with hard"
    ):
        BayesianBinary(relaxed=False)
    with pytest.raises(BitspikeError, match=r"0\.weight: got a tensor that already has a precision"):
        quantise(quantise(nn.Sequential(nn.Linear(2, 2)), bayes(), 0), bayes(), 0)
