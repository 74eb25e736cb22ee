"""Symbols of probabilistic circuits: chances, draws, gradients and divergences."""

from __future__ import annotations

import torch

from bitspike.neurons.winner_take_all import (
    SILENT,
    divergence_term,
    log_probabilities,
    log_probability,
    one_hot,
    symbols_of,
)


def potentials(symbols: int) -> torch.Tensor:
    return torch.randn(50, symbols, generator=torch.Generator().manual_seed(symbols), dtype=torch.float64) * 3


def test_chances_add_up_to_one_and_are_even_without_potential() -> None:
    chances = log_probabilities(potentials(3)).exp()
    assert torch.allclose(chances.sum(-1), torch.ones(50).double(), atol=1e-12)
    assert torch.allclose(log_probabilities(torch.zeros(2, 3)).exp(), torch.full((2, 4), 0.25))


def test_one_symbol_is_a_bernoulli_neuron() -> None:
    u = potentials(1)
    assert torch.allclose(log_probability(u, torch.zeros(50, dtype=torch.int64)).exp(), u[:, 0].sigmoid())
    assert torch.allclose(log_probability(u, torch.full((50,), SILENT)).exp(), (-u[:, 0]).sigmoid())


def test_the_gradient_is_what_was_emitted_less_its_chance() -> None:
    u = potentials(3).requires_grad_()
    symbols = torch.randint(-1, 3, (50,), generator=torch.Generator().manual_seed(0))
    log_probability(u, symbols).sum().backward()
    wanted = one_hot(symbols, 3, torch.float64) - log_probabilities(u.detach())[:, :-1].exp()
    assert torch.allclose(u.grad, wanted, rtol=1e-6)


def test_drawn_symbols_come_as_often_as_they_should() -> None:
    u = torch.tensor([0.5, -1.0, 0.2], dtype=torch.float64)
    uniform = torch.rand(200_000, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    found = symbols_of(u.expand(200_000, 3), uniform)
    vectors = one_hot(found, 3)
    assert set(vectors.sum(-1).unique().tolist()) == {0.0, 1.0}
    chances = log_probabilities(u).exp()
    shares = torch.stack([(found == s).double().mean() for s in (0, 1, 2, SILENT)])
    assert torch.allclose(shares, chances, atol=0.005)


def test_the_divergence_from_a_prior_that_is_met_is_nothing() -> None:
    spiking = 0.3
    u = torch.full((4, 2), spiking / 2 / (1 - spiking), dtype=torch.float64).log()
    symbols = torch.tensor([0, 1, SILENT, 0])
    assert divergence_term(u, symbols, spiking).abs().max() < 1e-12
    # In the mean it is a Kullback-Leibler divergence, worked out by hand for u = 0 and C = 1.
    q = torch.tensor([0.5, 0.5]).double()
    wanted = (q * (q / torch.tensor([0.3, 0.7]).double()).log()).sum()
    zero = torch.zeros(2, 1, dtype=torch.float64)
    assert torch.allclose(divergence_term(zero, torch.tensor([0, SILENT]), 0.3).mean(), wanted)
