"""What the rules of circuits are in the mean: gradients, bias, variance; and what the papers' code does otherwise."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from bitspike.errors import BitspikeError
from bitspike.learners.circuits import GLM, CircuitLearner, Vowel
from bitspike.models.circuits import Circuits
from bitspike.neurons.winner_take_all import SILENT, divergence_term, log_probability, one_hot

TAPS, STEPS, GAMMA, PRIOR = 3, 3, 0.7, 0.2
SOURCE = torch.Generator().manual_seed(0)


def small(hidden: int, symbols: int, name: str = "full") -> Circuits:
    made = Circuits(2, 1, hidden=hidden, symbols=symbols, taps=TAPS, filters=2, mask=name, spread=0.8)
    return made.double()


def potentials(model: Circuits, weight: Tensor, own: Tensor, sources: Tensor) -> Tensor:
    """u (N, C) at step t of what came before: sources (t, U), the earliest first."""
    past = torch.zeros(TAPS, model.units, dtype=torch.float64)
    for d in range(min(TAPS, len(sources))):
        past[d] = sources[-1 - d]
    traces = torch.einsum("kd,du->uk", model.basis, past)
    mine = torch.einsum("d,du->u", model.feedback[0], past)[model.inputs :].view(model.circuits, model.symbols)
    return torch.einsum("uk,ukic->ic", traces, weight) + own[0] + own[1] * mine


def log_likelihoods(
    model: Circuits, weights: list[Tensor], owns: list[Tensor], x: Tensor, symbols: Tensor
) -> tuple[list[Tensor], list[Tensor]]:
    """log p (N,) of symbols (T, N) at each step, and potentials; each step has weights of its own."""
    sources = torch.zeros(0, model.units, dtype=torch.float64)
    logs, all_u = [], []
    for t in range(len(x)):
        u = potentials(model, weights[t], owns[t], sources)
        logs.append(log_probability(u, symbols[t]))
        all_u.append(u)
        vectors = one_hot(symbols[t], model.symbols, torch.float64)
        sources = torch.cat([sources, torch.cat([x[t], vectors.flatten()])[None]])
    return logs, all_u


@pytest.mark.parametrize("symbols", [1, 3])
def test_clamped_circuits_follow_the_gradient_of_their_log_likelihood(symbols: int) -> None:
    model = small(0, symbols)
    x = (torch.rand(6, 2, generator=SOURCE) < 0.5).double()
    weight, own = (p.detach().clone().requires_grad_() for p in (model.weight, model.own))
    clamped = torch.zeros(6, 1, dtype=torch.int64)
    logs, _ = log_likelihoods(model, [weight] * 6, [own] * 6, x, clamped)
    torch.stack(logs).sum().backward()
    rate, before = 1e-7, [weight.detach().clone(), own.detach().clone()]
    made = GLM(model, rate=rate, kappa=0.0)
    loss = made.fit_batch(x[:, None], torch.zeros(1, dtype=torch.int64))["loss"]
    assert loss == pytest.approx(-torch.stack(logs).mean().item())
    # kappa = 0: the traces are the gradients themselves. The first filter's last update comes with the flush.
    masked = weight.grad * model.mask[:, None, :, None]
    assert torch.allclose((model.weight - before[0]) / rate, masked, rtol=1e-4, atol=1e-6)
    assert torch.allclose((model.own - before[1]) / rate, own.grad, rtol=1e-4, atol=1e-6)


def exact_update(model: Circuits, x: Tensor, kappa: float) -> Tensor:
    """The expected sum of VOWEL's updates of all weights without a control variate, by all hidden trajectories.

    sum_s c_s (1 - kappa) sum_{tau <= s} kappa^(s - tau) d E[r_s] / d theta_tau, where theta_tau are the weights that
    step tau uses and c_s = 1 - kappa^(T - s) is what the filter has let through by the end.
    """
    steps, hidden = len(x), model.hidden
    weights = [model.weight.detach().clone().requires_grad_() for _ in range(steps)]
    owns = [model.own.detach().clone().requires_grad_() for _ in range(steps)]
    expected = [torch.zeros((), dtype=torch.float64) for _ in range(steps)]
    for chosen in itertools.product(range(SILENT, model.symbols), repeat=steps * hidden):
        symbols = torch.zeros(steps, model.circuits, dtype=torch.int64)
        symbols[:, :hidden] = torch.tensor(chosen).view(steps, hidden)
        logs, all_u = log_likelihoods(model, weights, owns, x, symbols)
        chance = torch.stack([log[:hidden].sum() for log in logs]).sum().exp()
        for s in range(steps):
            r = logs[s][hidden:].sum() - GAMMA * divergence_term(all_u[s], symbols[s], PRIOR)[:hidden].sum()
            expected[s] = expected[s] + chance * r
    total = torch.zeros_like(model.weight)
    for s in range(steps):
        grads = torch.autograd.grad(expected[s], weights, retain_graph=True, allow_unused=True)
        for tau in range(s + 1):
            if grads[tau] is not None:
                total += (1 - kappa ** (steps - s)) * (1 - kappa) * kappa ** (s - tau) * grads[tau]
    hid = torch.arange(model.circuits) < hidden
    return (total * model.mask[:, None, :, None])[:, :, hid].detach()


@pytest.mark.parametrize(("hidden", "symbols"), [(2, 1), (1, 2)])
def test_the_hidden_rule_is_unbiased(hidden: int, symbols: int) -> None:
    kappa, rate, streams, calls = 0.6, 1e-9, 2000, 40
    model = small(hidden, symbols)
    start = model.weight.detach().clone()
    x = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]], dtype=torch.float64)
    wanted = exact_update(model, x, kappa)
    parts = []
    for call in range(calls):
        made = Vowel(
            model, seed=call, rate=rate, kappa=kappa, divergence=GAMMA, spiking=PRIOR, baseline="none"
        )  # fmt: skip
        made.fit_batch(x[:, None].expand(-1, streams, -1), torch.zeros(streams, dtype=torch.int64))
        parts.append((model.weight.detach() - start)[:, :, :hidden] / rate)
        with torch.no_grad():
            model.weight.copy_(start)
    found = torch.stack(parts)
    error = found.std(0) / calls**0.5
    some = error > 0
    assert int(some.sum()) >= 10
    far = ((found.mean(0) - wanted)[some] / error[some]).abs()
    # Of a few dozen weights one in a few hundred is beyond 3 standard errors.
    assert (far > 3).double().mean() < 0.05
    assert far.max() < 5
    assert wanted[some].abs().max() > 10 * error[some].max()


def variance(baseline: str, beta: float) -> float:
    """Mean variance over streams of what hidden weights are told in the long run."""
    model = small(2, 2)
    start = model.weight.detach().clone()
    source = torch.Generator().manual_seed(5)
    x = (torch.rand(40, 1, 2, generator=source) < 0.5).double()
    found = []
    for seed in range(60):
        made = Vowel(model, seed=seed, rate=1e-9, baseline=baseline, beta=beta, divergence=GAMMA)
        made.fit_batch(x, torch.zeros(1, dtype=torch.int64))
        found.append((model.weight.detach() - start)[:, :, :2] / 1e-9)
        with torch.no_grad():
            model.weight.copy_(start)
    return float(torch.stack(found).var(0).mean())


def test_the_control_variate_takes_variance_away() -> None:
    plain = variance("none", 0.95)
    assert variance("before", 0.95) < 0.8 * plain
    # With the code's beta and this step's signal in the averages, most of the signal is taken away with it.
    assert variance("with", 0.05) < 0.5 * variance("before", 0.95)


def test_a_constant_signal_is_its_own_baseline() -> None:
    """n and m see the same signal from the start, so that n / m is the signal, whatever e is."""
    model = small(1, 1, "feed-forward")
    # The output knows nothing of the hidden circuit's symbols and is certain of itself; no divergence: r is constant.
    with torch.no_grad():
        model.weight.zero_()
        model.own.zero_()
    made = Vowel(model, rate=1e-12, divergence=0.0, baseline="with")
    x = torch.ones(30, 1, 2, dtype=torch.float64)
    made.fit_batch(x, torch.zeros(1, dtype=torch.int64))
    assert made.state is not None
    # e of two circuits, bias and feedback, then n of the hidden one's, and m.
    n, m = made.state.arrays["own_traces"][[4, 6]]
    assert n / (m + 1e-7) == pytest.approx(float(torch.tensor(0.5).log()), rel=1e-3)


def weights_after(kind: type[CircuitLearner], steps: int, **options: object) -> Tensor:
    model = Circuits(4, 2, hidden=3, symbols=2, mask="full").double()
    made = kind(model, rate=0.01, **options)  # type: ignore[arg-type]
    x = (torch.rand(20, 1, 4, generator=torch.Generator().manual_seed(2)) < 0.4).double()
    made.fit_batch(x[:steps], torch.zeros(1, dtype=torch.int64))
    return model.weight.detach()


@pytest.mark.parametrize("switch", ["V1", "V3"])
def test_what_the_code_of_vowel_does_otherwise(switch: str) -> None:
    # At the first step no trace has an input: weights move from the second one on.
    assert not torch.equal(weights_after(Vowel, 4), weights_after(Vowel, 4, parity=[switch]))


@pytest.mark.parametrize("switch", ["V1", "V4", "F1", "F2"])
def test_what_the_code_of_fl_snn_does_otherwise(switch: str) -> None:
    assert not torch.equal(weights_after(GLM, 4), weights_after(GLM, 4, parity=[switch]))


def test_what_is_no_rule_is_refused() -> None:
    model = small(1, 2)
    with pytest.raises(BitspikeError, match=r"learner.parity: got 'F1', wanted some of V1, V3, V4"):
        Vowel(model, parity=["F1"])
    with pytest.raises(BitspikeError, match=r"learner.rule: got circuits for regression"):
        Vowel(model, task="regression")
    with pytest.raises(BitspikeError, match=r"circuits input: got values besides 0 and 1"):
        model(torch.full((2, 1, 2), 0.5, dtype=torch.float64))
