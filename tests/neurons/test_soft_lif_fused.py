"""The loops of soft-LIF in training: held to the equations in float64, to named draws, and to the plain step."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from bitspike import draws
from bitspike.neurons import Noise, SoftIF, SoftLIF, SoftNeuron, redraw_units
from bitspike.neurons.soft_lif_fused import takes

CIFAR, MNIST = SoftLIF(), SoftLIF(tau_ref=0.002, tau_rc=0.022, gain=1.0)
SHARP, BIASED = SoftLIF(gamma=1e-3), SoftLIF(0.002, 0.03, 0.05, 0.1, 1.3, bias=1.2)
NOISES = [Noise(), Noise("gaussian", 10), Noise("alpha", tau_s=0.003), Noise("alpha-rc", tau_s=0.003)]
# As float32 and as bfloat16 the same numbers; more than one block of the loops, and a last block that is not full.
INPUTS = torch.cat([torch.linspace(-4, 12, 2500), torch.linspace(-0.1, 0.1, 777)]).bfloat16().float()


def answer(rate: SoftLIF, noise: Noise, x: Tensor, back_end: str) -> tuple[Tensor, Tensor]:
    """The unit's rates and the gradient of their sum weighted 1, 2, 3, 1, ..."""
    unit = SoftNeuron(rate, noise)
    unit.back_end = back_end
    redraw_units(unit, 3, 5)
    x = x.detach().clone().requires_grad_()
    y = unit(x)
    weights = (torch.arange(x.numel()) % 3 + 1).to(y.dtype).reshape(x.shape)
    (grad,) = torch.autograd.grad((y * weights).sum(), x)
    return y.detach(), grad


@pytest.mark.parametrize("noise", NOISES, ids=lambda noise: noise.kind)
@pytest.mark.parametrize("rate", [CIFAR, MNIST, SHARP, BIASED], ids=["cifar", "mnist", "sharp", "biased"])
def test_the_loops_give_what_the_equations_give_in_float64(rate: SoftLIF, noise: Noise) -> None:
    x = INPUTS.reshape(1, 1, -1)
    assert takes(x, rate, "auto")
    exact, slope = answer(rate, noise, x.double(), "reference")
    y, grad = answer(rate, noise, x, "auto")
    assert y.dtype == grad.dtype == torch.float32
    assert torch.allclose(y.double(), exact, rtol=3e-5, atol=3e-6)
    # x / gamma is rounded before its exponential is taken.
    digits = 1e-6 + 2e-7 * float((x.abs() * rate.gain / rate.gamma).clamp_max(90).max())
    assert torch.allclose(grad.double(), slope, rtol=digits, atol=1e-9)


@pytest.mark.parametrize("noise", NOISES, ids=lambda noise: noise.kind)
def test_half_precision_is_read_and_answered_as_it_lies(noise: Noise) -> None:
    x = INPUTS.reshape(1, 1, -1)
    wide, slope = answer(CIFAR, noise, x, "auto")
    half, grad = answer(CIFAR, noise, x.bfloat16(), "auto")
    assert half.dtype == torch.bfloat16
    assert torch.equal(half, wide.bfloat16())
    assert grad.dtype == torch.bfloat16
    assert torch.equal(grad, slope.bfloat16())


def test_values_at_the_ends_of_the_range() -> None:
    x = torch.tensor([[-torch.inf, -3e38, -1e4, -100.0, 0.0, 1e4, 3e38, torch.nan]])
    for noise in NOISES:
        y, grad = answer(CIFAR, noise, x, "auto")
        assert y[0, :7].isfinite().all()
        assert grad[0, 1:7].isfinite().all()
        assert y[0, :3].max() < 1e-3
        assert y[0, 7].isnan()
        assert grad[0, 7].isnan()
    rate = answer(CIFAR, NOISES[0], x, "auto")[0]
    assert rate[0, 5:7].tolist() == pytest.approx([CIFAR(torch.tensor(1e4)).item(), 63.0])


@pytest.mark.parametrize("kind", ["gaussian", "alpha-rc"])
def test_threads_and_memory_order_leave_the_values_alone(kind) -> None:
    x = torch.randn(1, 30, 7, 20, 25)
    unit = SoftNeuron(CIFAR, kind)
    before = torch.get_num_threads()
    results = []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            redraw_units(unit, 1)
            results.append(unit(x))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(*results)
    last = x[0].to(memory_format=torch.channels_last)[None].requires_grad_()
    redraw_units(unit, 1)
    y = unit(last)
    assert y.stride() == last.stride()
    y.square().sum().backward()
    redraw_units(unit, 1)
    plain = last.detach().permute(0, 1, 3, 4, 2).contiguous().requires_grad_()
    again = unit(plain)
    again.square().sum().backward()
    assert torch.equal(again.permute(0, 1, 4, 2, 3), y)
    assert last.grad is not None
    assert plain.grad is not None
    assert torch.allclose(plain.grad.permute(0, 1, 4, 2, 3), last.grad)


def test_what_the_loops_do_not_take_runs_by_the_step() -> None:
    x = torch.linspace(-1, 3, 50).reshape(1, 50)
    assert not takes(x.double(), CIFAR, "auto")
    assert not takes(x, CIFAR, "reference")
    assert not takes(x, SoftIF(), "auto")
    unit = SoftNeuron(CIFAR)
    jacobian = torch.func.vmap(torch.func.grad(lambda v: unit(v[None, None])[0, 0]))(x[0])
    (want,) = torch.autograd.grad(CIFAR(y := x.double().requires_grad_()).sum(), y)
    assert torch.allclose(jacobian.double(), want[0], rtol=1e-4)


def test_large_draws_are_threefry() -> None:
    # The known answers that come with the generator's reference implementation: counter, key and result.
    for counter, key, want in (
        ((0, 0), (0, 0), (0x9D1C5EC6, 0x8BD50731)),
        ((0xFFFFFFFF, 0xFFFFFFFF), (0xFFFFFFFF, 0xFFFFFFFF), (0xFD36D048, 0x2D17272C)),
        ((0x243F6A88, 0x85A308D3), (0x13198A2E, 0x03707344), (0xBA3E4725, 0xF27D669E)),
    ):
        words = draws.threefry(*(np.array([word], dtype=np.uint32) for word in counter), *key)
        assert tuple(int(word[0]) for word in words) == want


def test_large_draws_are_uniform_and_normal_and_depend_on_their_name_alone() -> None:
    u, n = draws.uniform(300_001, "a", 1).double(), draws.normal(300_001, "a", 1).double()
    assert u.min() >= 0
    assert u.max() < 1
    # Within five standard errors.
    for moment, want, spread in ((u, 1 / 2, 0.289), (u**2, 1 / 3, 0.298), (n, 0, 1), (n**2, 1, 1.41), (n**4, 3, 9.8)):
        assert moment.mean().item() == pytest.approx(want, abs=5 * spread / len(u) ** 0.5)
    for values in (u - 0.5, n):
        for apart in (1, 512, 1024):
            assert abs(torch.corrcoef(torch.stack((values[:-apart], values[apart:])))[0, 1]) < 0.01
    assert torch.equal(draws.uniform(2000, "a", 1), u[:2000].float())
    assert not torch.equal(draws.uniform(2000, "a", 2), u[:2000].float())
