"""A precision that this package does not know, with draws of its own, everywhere a precision is asked."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from bitspike.energy import weight_bits
from bitspike.learners import BackpropLearner, Optimisation, Schedule
from bitspike.learners.optimisation import OptimiserChoice
from bitspike.models import feedforward
from bitspike.neurons import LIF
from bitspike.weights import Precision, histograms, quantise, redraw

SPREAD, RHO = 0.5, 0.25


class Gaussian(Precision):
    """w = m + SPREAD e, with the prior N(0, 1)."""

    bits: ClassVar[float] = 4.0
    is_drawn: ClassVar[bool] = True

    def __init__(self) -> None:
        super().__init__()
        self.noise: Tensor | None = None

    def forward(self, latent: Tensor) -> Tensor:
        return latent if self.map or self.noise is None else latent + SPREAD * self.noise

    def draw(self, like: Tensor, source: torch.Generator) -> None:
        self.noise = torch.randn(like.shape, generator=source, dtype=like.dtype)

    def prior_gradient(self, latent: Tensor) -> Tensor:
        return latent

    def divergence(self, latent: Tensor) -> Tensor:
        return 0.5 * latent.square().sum()

    def histogram(self, latent: Tensor, bins: int) -> Tensor:
        return torch.histc(torch.special.ndtr(latent / SPREAD), bins, 0, 1).long()

    @torch.no_grad()
    def initialise(self, latent: Tensor, source: torch.Generator) -> None:
        latent.copy_(torch.randn(latent.shape, generator=source))


def learner(rho: float) -> BackpropLearner:
    model = quantise(feedforward((6,), 3, ["8"], LIF), Gaussian, 0, start="draw")
    choice = OptimiserChoice("SGD", 0.1)
    return BackpropLearner(model, Optimisation(model, choice, choice, Schedule(), 100), seed=0, rho=rho)


def latents(rule: BackpropLearner) -> list[Tensor]:
    return [p.detach().clone() for name, p in rule.model.named_parameters() if name.endswith("original")]


def test_it_is_drawn_by_name_and_its_map_is_asked_for() -> None:
    rule, x = learner(0.0), torch.rand(4, 5, 6)
    assert rule.bayesian
    member, other, best = rule.predict(x, 1), rule.predict(x, 2), rule.predict(x, 0)
    assert torch.equal(member, rule.predict(x, 1))
    assert not torch.equal(member, other)
    assert not torch.equal(member, best)
    layer = next(m for m in rule.model.modules() if isinstance(m, nn.Linear))
    redraw(rule.model, 1)
    before = layer.weight.detach().clone()
    redraw(rule.model, 2)
    assert not torch.equal(layer.weight, before)


def test_its_prior_pulls_and_its_divergence_is_summed() -> None:
    x, y = torch.rand(4, 5, 6), torch.randint(3, (5,))
    free, held = learner(0.0), learner(RHO)
    start = latents(free)
    for rule in (free, held):
        rule.fit_batch(x, y)
    for a, b, m in zip(latents(free), latents(held), start, strict=True):
        torch.testing.assert_close(a - b, 0.1 * RHO * m, atol=1e-6, rtol=1e-5)
    assert abs(learner(0.0).divergence() - sum(0.5 * float(m.double().square().sum()) for m in start)) < 1e-9


def test_its_histograms_and_bits_are_its_own() -> None:
    model = learner(0.0).model
    counts = histograms(model, 10)
    assert [int(each.sum()) for each in counts.values()] == [48, 24]
    bits = weight_bits(model, draws=3)["by_tensor"]
    assert [bits[name] for name in counts] == [[48, 3 * 4 * 48], [24, 3 * 4 * 24]]
