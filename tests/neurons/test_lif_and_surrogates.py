"""Neuron equations against hand-computed cases, SymPy, and the refusal of wrong shapes."""

from __future__ import annotations

import math

import pytest
import sympy
import torch

from bitspike.errors import BitspikeError
from bitspike.kernels import scan
from bitspike.neurons import LIF, Surrogate, lif_fire, with_reset
from bitspike.neurons.lif import LIFConstants, LIFState
from bitspike.registry import names


def test_soft_reset_by_hand():
    # beta = 1/2: v = 0.6; 0.9; 1.05 -> spike, 0.05 left; 0.625
    neuron = LIF(tau=1 / math.log(2), reset="soft")
    x = torch.full((4, 1, 1), 0.6)
    spikes, state = neuron.run(x)
    assert spikes.flatten().tolist() == [0, 0, 1, 0]
    assert state.v.item() == pytest.approx(0.6 + 0.5 * 0.05, abs=1e-6)


def test_hard_reset_by_hand():
    neuron = LIF(tau=1 / math.log(2), reset="hard")
    spikes, state = neuron.run(torch.full((4, 1, 1), 0.6))
    assert spikes.flatten().tolist() == [0, 0, 1, 0]
    assert state.v.item() == pytest.approx(0.6)


def test_a_run_in_two_parts_equals_one_run():
    neuron, x = LIF(tau=3.0), torch.rand(10, 3, 5)
    whole, end = neuron.run(x)
    first, middle = neuron.run(x[:4])
    second, last = neuron.run(x[4:], middle)
    assert torch.equal(whole, torch.cat([first, second]))
    assert torch.equal(end.v, last.v)


def test_calls_share_no_state_and_none_reaches_the_checkpoint():
    neuron, x = LIF(), torch.rand(6, 2, 3)
    assert torch.equal(neuron(x), neuron(x))
    assert neuron.state_dict() == {}
    assert set(LIF(learn=["tau", "theta"]).state_dict()) == {"log_tau", "theta"}


@pytest.mark.parametrize("step", [with_reset(lif_fire, "soft"), with_reset(lif_fire, "hard")])
def test_the_step_runs_on_symbols_as_on_tensors(step):
    x, v, beta, theta = sympy.symbols("x v beta theta")
    spike = sympy.Function("spike")
    s, state = step(x, LIFState(v), LIFConstants(beta, theta), spike)
    values = {x: 0.7, v: 0.9, beta: 0.5, theta: 1.0}
    fired = s.subs(values).replace(spike, lambda u: sympy.Integer(1) if u >= 0 else sympy.Integer(0))
    left = state.v.subs(values).replace(sympy.Function("stop"), lambda e: e)
    left = left.replace(spike, lambda u: sympy.Integer(1) if u >= 0 else sympy.Integer(0))
    t = torch.tensor
    s_t, state_t = step(t(0.7), LIFState(t(0.9)), LIFConstants(t(0.5), t(1.0)), Surrogate())
    assert float(fired) == s_t.item()
    assert float(left) == pytest.approx(state_t.v.item(), abs=1e-6)


def test_learnable_constants_get_gradients_of_the_surrogate():
    neuron = LIF(tau=2.0, learn=["tau", "theta"], shape=(3,))
    neuron(torch.rand(8, 4, 3)).sum().backward()
    assert neuron.log_tau.grad.shape == (3,)
    # A higher threshold fires less.
    assert (neuron.theta.grad < 0).all()


@pytest.mark.parametrize(
    ("name", "area"), [("boxcar", 1), ("triangle", 1), ("arctan", 1), ("slayer", 1), ("fast-sigmoid", 2)]
)
@pytest.mark.parametrize("width", [0.5, 1.0, 2.0])
def test_surrogates_have_their_stated_area_and_agree_with_sympy(name, area, width):
    u = torch.linspace(-4000, 4000, 8_000_001, dtype=torch.float64)
    h = Surrogate(name, width).derivative(u)
    assert float(torch.trapezoid(h.double(), u)) == pytest.approx(area, rel=2e-3)
    symbol = sympy.Symbol("u", real=True)
    formula = Surrogate(name, width).derivative(symbol)
    for value in (-1.3, -0.2, 0.0, 0.4, 2.7):
        expected = float(formula.subs(symbol, value))
        assert float(Surrogate(name, width).derivative(torch.tensor([value], dtype=torch.float64))) == pytest.approx(
            expected, rel=1e-6
        )


def test_boxcar_edges_are_those_of_the_paper():
    u = torch.tensor([-0.5, -0.4999, 0.0, 0.5, 0.5001])
    assert Surrogate("boxcar").derivative(u).tolist() == [0, 1, 1, 1, 0]


def test_backward_is_the_derivative_times_the_gradient():
    for name in names("surrogate"):
        u = torch.randn(50, dtype=torch.float64, requires_grad=True)
        spike = Surrogate(name, 0.7, height=1.5)
        (3 * spike(u)).sum().backward()
        assert torch.allclose(u.grad, 3 * spike.derivative(u.detach()).double())


def test_wrong_arguments_are_one_line():
    with pytest.raises(BitspikeError, match=r"surrogate: got 'boxca', wanted .*did you mean 'boxcar'"):
        Surrogate("boxca")
    with pytest.raises(BitspikeError, match=r"neuron tau: got -1.0, wanted a positive number of time steps"):
        LIF(tau=-1.0)
    with pytest.raises(BitspikeError, match=r"neuron reset: got 'weak', wanted 'soft' or 'hard' or 'none'"):
        LIF(reset="weak")
    with pytest.raises(BitspikeError, match=r"input over time: got \(3,\), wanted \(T, B, \*features\)"):
        LIF()(torch.rand(3))
    state = LIFState(torch.zeros(2, 4))
    with pytest.raises(BitspikeError, match=r"LIFState state: got \(2, 4\), wanted .*\(2, 3\)"):
        scan(with_reset(lif_fire, "soft"), torch.rand(5, 2, 3), state, LIFConstants(0.5, 1.0), Surrogate())


def test_a_strict_threshold_does_not_fire_at_itself():
    spike = Surrogate("triangle", height=0.3, strict=True)
    u = torch.tensor([-0.5, 0.0, 0.5, 1.0], requires_grad=True)
    assert spike(u).tolist() == [0, 0, 1, 1]
    assert Surrogate("triangle", height=0.3)(u).tolist() == [0, 1, 1, 1]
    spike(u).sum().backward()
    assert u.grad.tolist() == pytest.approx([0.15, 0.3, 0.15, 0])


def test_every_back_end_of_a_strict_neuron_agrees():
    """Currents on a grid of 1/4 meet the threshold exactly."""
    x = (torch.randn(12, 4, 9, generator=torch.Generator().manual_seed(0)) * 3).round() / 4
    found = []
    for strict in (False, True):
        for back_end in ("reference", "cpu"):
            neuron, given = LIF(tau=1e9, surrogate=Surrogate(strict=strict)), x.clone().requires_grad_()
            neuron.back_end = back_end
            spikes = neuron(given)
            (spikes * torch.arange(12).view(-1, 1, 1)).sum().backward()
            found.append((spikes.detach(), given.grad))
    for one, other in (found[:2], found[2:]):
        assert torch.equal(one[0], other[0])
        assert torch.allclose(one[1], other[1], atol=1e-5)
    assert found[2][0].sum() < found[0][0].sum()
