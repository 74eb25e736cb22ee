"""The soft-LIF rate: the paper's constants, its limits, its gradient at both ends."""

from __future__ import annotations

import math

import pytest
import torch

from bitspike.errors import BitspikeError
from bitspike.neurons import SoftLIF, TemporalQuantiser

DOUBLE = torch.float64
CIFAR = SoftLIF()
MNIST = SoftLIF(tau_ref=0.002, tau_rc=0.022, gain=1.0)
PLAIN = {"amplitude": 1.0, "gain": 1.0, "bias": 0.0}


def at(f: SoftLIF, *x: float) -> list[float]:
    return f(torch.tensor(x, dtype=DOUBLE)).tolist()


def test_rates_with_the_constants_of_the_paper():
    wanted = [0.02789, 0.29219, 1.00729, 1.54800, 5.31501, 9.37428]
    assert at(CIFAR, -1, 0, 0.5, 1, 5, 10) == pytest.approx(wanted, abs=1e-5)
    assert at(MNIST, 0, 1) == pytest.approx([0.65332, 3.65234], abs=1e-5)
    assert at(SoftLIF(amplitude=1.0), 0) == pytest.approx([4.638], abs=1e-3)


def test_slopes_with_the_constants_of_the_paper():
    x = torch.tensor([-0.1, 0, 0.1, 1], dtype=DOUBLE, requires_grad=True)
    CIFAR(x).sum().backward()
    assert x.grad.tolist() == pytest.approx([0.79237, 1.98857, 1.69961, 1.04210], abs=1e-5)


def test_the_gradient_is_the_formula_and_finite_at_both_ends():
    f = SoftLIF(tau_ref=0.002, tau_rc=0.02, gamma=0.05, **PLAIN)
    x = torch.linspace(0.1, 4, 400, dtype=DOUBLE, requires_grad=True)
    f(x).sum().backward()
    z = x.detach() - 1
    j = f.gamma * torch.log1p(torch.exp(z / f.gamma))
    period = f.tau_ref + f.tau_rc * torch.log1p(1 / j)
    wanted = f.tau_rc / (period**2 * j * (j + 1) * (1 + torch.exp(-z / f.gamma)))
    assert torch.allclose(x.grad, wanted, rtol=1e-6)
    for dtype in (torch.float32, DOUBLE):
        ends = torch.tensor([-1e4, -50.0, -0.01, 1, 50, 1e4], dtype=dtype, requires_grad=True)
        y = f(ends)
        y.sum().backward()
        assert y.isfinite().all()
        assert (y.diff() > 0).all()
        assert (ends.grad > 0).all()
        assert (ends.grad < 1e4).all()
        # Far above threshold the rate tends to 1 / tau_ref.
        assert 0 < 1 / f.tau_ref - y[-1].item() < 1
    half = f(torch.tensor([-3.0, 1.0, 2.0], dtype=torch.float16))
    assert half.dtype == torch.float16
    assert half.isfinite().all()


def test_the_two_branches_meet():
    f, point = SoftLIF(gamma=0.05, **PLAIN), 1 - 20 * 0.05
    below, above = at(f, point - 1e-9, point + 1e-9)
    assert below == pytest.approx(above, rel=1e-7)


def test_a_small_gamma_is_the_rate_of_lif():
    f = SoftLIF(tau_ref=0.002, tau_rc=0.022, gamma=1e-5, **PLAIN)
    rates = [1 / (0.002 + 0.022 * math.log1p(1 / (J - 1))) for J in (1.2, 2, 5, 10)]
    assert at(f, 1.2, 2, 5, 10) == pytest.approx(rates, abs=1e-6)
    assert rates == pytest.approx([24.14, 57.97, 144.74, 231.59], abs=0.005)
    assert at(f, 0.9)[0] < 0.01


def test_a_quantiser_spikes_at_the_rate():
    x = torch.full((2000, 1, 1), 0.5, dtype=DOUBLE)
    y = TemporalQuantiser(0.3, "soft-lif")(x)
    assert y.mean().item() == pytest.approx(at(CIFAR, 0.5)[0], abs=1 / (0.3 * 2000))


@pytest.mark.parametrize(
    ("name", "value"), [("gamma", 0.0), ("tau_rc", -1.0), ("tau_ref", math.nan), ("bias", math.inf)]
)
def test_constants_that_make_no_sense_are_refused(name, value):
    with pytest.raises(BitspikeError, match=f"soft-lif {name}: got"):
        SoftLIF(**{name: value})
