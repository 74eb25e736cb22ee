"""Training noise on soft rates: the paper's formulas, means and spreads, gradients without noise, named draws."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from bitspike.errors import BitspikeError
from bitspike.layers import Dropout
from bitspike.neurons import Noise, SoftIF, SoftLIF, SoftNeuron, TemporalQuantiser, fit_to_relu, redraw_units
from bitspike.neurons.soft_lif_noise import filtered

DOUBLE = torch.float64
CIFAR, MNIST = SoftLIF(), SoftLIF(tau_ref=0.002, tau_rc=0.022, gain=1.0)
NOISES = [Noise("gaussian", 10), Noise("alpha", tau_s=0.003), Noise("alpha-rc", tau_s=0.003)]


def wanted(rate: SoftLIF, noise: Noise, x: Tensor, u: Tensor) -> Tensor:
    """The paper's expressions, written out."""
    a, ts, rc = rate.amplitude, noise.tau_s, rate.tau_rc
    p = rate.period(x)
    if noise.kind == "gaussian":
        return torch.where(x > 0, (a / p + a * noise.sigma * u).clamp_min(0), a / p)
    t, q, qr = u * p, torch.exp(-p / ts), torch.exp(-p / rc)
    if noise.kind == "alpha":
        return a * torch.exp(-t / ts) / ts**2 * (t / (1 - q) + p * q / (1 - q) ** 2)
    d = rc - ts
    first = rc / d**2 * (torch.exp(-t / rc) / (1 - qr) - torch.exp(-t / ts) / (1 - q))
    return a * (first - torch.exp(-t / ts) * (t * (1 - q) + p * q) / (d * ts * (1 - q) ** 2))


def draws_of(unit: SoftNeuron, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """What the unit's first call after `redraw_units(unit, 3, 5)` draws."""
    from bitspike import draws

    make = draws.normal if unit.noise.kind == "gaussian" else draws.uniform
    return make(math.prod(shape), 3, "noise", 5, "", 0).to(dtype).reshape(shape)


@pytest.mark.parametrize("noise", NOISES, ids=lambda noise: noise.kind)
@pytest.mark.parametrize("rate", [CIFAR, MNIST], ids=["cifar", "mnist"])
def test_values_are_the_formulas_and_gradients_the_noiseless_ones(rate: SoftLIF, noise: Noise) -> None:
    for dtype, digits in ((DOUBLE, 1e-9), (torch.float32, 1e-4)):
        x = torch.linspace(-1.5, 8, 96, dtype=dtype).reshape(2, 3, 16).requires_grad_()
        unit = SoftNeuron(rate, noise)
        redraw_units(unit, 3, 5)
        y = unit(x)
        u = draws_of(unit, (96,), dtype).reshape(x.shape)
        exact = wanted(rate, noise, x.detach().double(), u.double())
        assert torch.allclose(y.detach().double(), exact, rtol=digits, atol=digits)
        (grad,) = torch.autograd.grad(y.sum(), x)
        plain = x.detach().clone().requires_grad_()
        (noiseless,) = torch.autograd.grad(rate(plain).sum(), plain)
        assert torch.allclose(grad, noiseless, rtol=1e-5 if dtype == torch.float32 else 1e-12)


@pytest.mark.parametrize("noise", [None, *NOISES], ids=lambda noise: noise.kind if noise else "none")
@pytest.mark.parametrize("rate", [CIFAR, SoftIF()], ids=["lif", "if"])
def test_kernels_give_what_the_reference_gives(rate: SoftLIF, noise: Noise | None) -> None:
    if rate.curve == "if" and noise is not None and noise.kind == "alpha-rc":
        return
    results = []
    for back_end in ("reference", "cpu"):
        unit = SoftNeuron(rate, noise or "none")
        unit.back_end = back_end
        redraw_units(unit, 3, 5)
        x = torch.linspace(-40, 40, 4001, dtype=DOUBLE).reshape(1, -1).requires_grad_()
        y = unit(x)
        y.sum().backward()
        assert y.isfinite().all()
        assert x.grad is not None
        assert x.grad.isfinite().all()
        results.append((y.detach(), x.grad))
    for reference, kernel in zip(*results, strict=True):
        assert torch.allclose(reference, kernel, rtol=1e-11, atol=1e-13)


def test_spreads_of_the_filtered_spike_train() -> None:
    table = {0.1: (27.08, 4.817, 4.326), 0.05: (35.59, 4.221, 3.326), 0.02: (41.81, 2.437, 1.314)}
    table[0.01] = (32.88, 1.0005, 0.418)
    for p, spreads in table.items():
        for (tau_s, membrane), spread in zip(((0.003, False), (0.003, True), (0.005, True)), spreads, strict=True):
            t = (torch.arange(100_000, dtype=DOUBLE) + 0.5) / 100_000 * p
            constants = SimpleNamespace(tau_rc=0.05, tau_s=tau_s)
            s = filtered(t, torch.tensor(p, dtype=DOUBLE), constants, membrane)
            assert s.mean().item() * p == pytest.approx(1, abs=1e-6)
            assert s.std().item() == pytest.approx(spread, rel=0.005)


@pytest.mark.parametrize("noise", NOISES, ids=lambda noise: noise.kind)
@pytest.mark.parametrize("value", [-0.3, 0.02, 0.5, 4.0])
def test_the_mean_of_the_noisy_response_is_the_rate(noise: Noise, value: float) -> None:
    unit = SoftNeuron(CIFAR, noise)
    y = unit(torch.full((1, 400_000), value, dtype=DOUBLE))
    error = y.std().item() / math.sqrt(y.numel())
    rate = CIFAR(torch.tensor(value, dtype=DOUBLE)).item()
    bound = 5 * error + 1e-12
    if noise.kind == "gaussian" and value > 0:
        # What would be below 0 is cut off: the mean of a Gaussian of mean r and spread s, cut off at 0.
        spread = noise.sigma * CIFAR.amplitude
        below = 0.5 * math.erfc(rate / spread / math.sqrt(2))
        density = math.exp(-0.5 * (rate / spread) ** 2) / math.sqrt(2 * math.pi)
        rate = rate * (1 - below) + spread * density
    assert y.mean().item() == pytest.approx(rate, abs=bound)


def test_far_below_threshold_noise_is_finite_and_silent() -> None:
    for rate in (SoftLIF(), SoftIF()):
        unit = SoftNeuron(rate, Noise("alpha"))
        x = torch.tensor([[-1e4, -50.0, 1e4, -math.inf]], requires_grad=True)
        y = unit(x)
        y[0, :3].sum().backward()
        assert y.isfinite().all()
        assert y[0, 0].item() < 1e-3
        assert x.grad is not None
        assert x.grad[0, :3].isfinite().all()


def test_evaluation_has_no_noise_and_knows_a_constant_input() -> None:
    unit = SoftNeuron(CIFAR, "alpha-rc").eval()
    x = torch.linspace(-1, 1, 12).reshape(1, 3, 4).expand(5, 3, 4)
    y = unit(x)
    assert y.stride(0) == 0
    assert torch.allclose(y, CIFAR(x), atol=1e-6)
    noisy = unit.train()(x)
    assert not torch.equal(noisy[0], noisy[1])


def test_values_do_not_depend_on_how_they_lie_in_memory() -> None:
    x = torch.randn(2, 3, 4, 5, 6)
    unit = SoftNeuron(CIFAR)
    want = unit(x)
    lying = x.flatten(0, 1).to(memory_format=torch.channels_last).unflatten(0, (2, 3))
    got = unit(lying)
    assert torch.equal(got, want)
    assert got.stride() == lying.stride()
    assert torch.equal(unit(x.transpose(1, 3)), want.transpose(1, 3))
    assert unit(x[:, :, :0]).shape == (2, 3, 0, 5, 6)


def test_draws_are_named_by_keys_path_and_call() -> None:
    model = nn.Sequential(SoftNeuron(noise="alpha"), Dropout(0.5), SoftNeuron(noise="alpha"), TemporalQuantiser(2.0))
    x = torch.rand(4, 2, 50)

    def response(*keys: int) -> list[Tensor]:
        redraw_units(model, *keys)
        return [model(x), model(x)]

    one, again, other = response(0, 7), response(0, 7), response(0, 8)
    assert torch.equal(one[0], again[0])
    assert torch.equal(one[1], again[1])
    assert not torch.equal(one[0], one[1])
    assert not torch.equal(one[0], other[0])
    torch.manual_seed(0)
    redraw_units(model)
    first = model(x)
    torch.manual_seed(1)
    redraw_units(model)
    assert torch.equal(model(x), first)
    assert model.state_dict().keys() == {"3.dt", "3.final"}


def test_dropout_keeps_the_mean_and_drops_a_unit_at_every_step() -> None:
    x = torch.ones(3, 20, 1000)
    y = Dropout(0.25)(x)
    assert y.unique().tolist() == pytest.approx([0, 4 / 3])
    assert torch.equal(y[0], y[2])
    assert y.mean().item() == pytest.approx(1, abs=0.02)
    assert torch.equal(Dropout(0.25).eval()(x), x)
    with pytest.raises(BitspikeError, match=r"^dropout p: got 1"):
        Dropout(1)


def test_the_rate_of_integrate_and_fire() -> None:
    rate = SoftIF(tau_ref=0.002, tau_rc=0.02, gamma=1e-4, amplitude=1.0, gain=1.0)
    x = torch.tensor([-0.5, 0.5, 2.0], dtype=DOUBLE)
    assert rate(x).tolist() == pytest.approx([0, 1 / 0.042, 1 / 0.012])
    soft = SoftIF(tau_ref=0.002, tau_rc=0.02, gamma=0.05, amplitude=1.0, gain=1.0)
    x = torch.linspace(-1, 3, 40, dtype=DOUBLE, requires_grad=True)
    assert torch.autograd.gradcheck(soft, x)


def test_gain_and_amplitude_that_come_closest_to_relu() -> None:
    gain, amplitude = fit_to_relu(0.001, 0.05, 0.02)
    x = torch.linspace(-1, 10, 500, dtype=DOUBLE)

    def miss(gain: float, amplitude: float) -> float:
        rate = SoftLIF(0.001, 0.05, 0.02, amplitude, gain)
        return float((rate(x) - x.clamp_min(0)).square().mean())

    best = miss(gain, amplitude)
    assert best < miss(0.825, 0.063) < 0.15
    for factor in (0.98, 1.02):
        assert best < miss(gain * factor, amplitude)
        assert best < miss(gain, amplitude * factor)
    with pytest.raises(BitspikeError, match="fit_to_relu range"):
        fit_to_relu(low=3, high=1)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Noise("white"), "soft-lif noise: got 'white'"),  # type: ignore[arg-type]
        (lambda: Noise("gaussian", sigma=0), "soft-lif noise sigma: got 0"),
        (lambda: SoftNeuron(CIFAR, Noise("alpha-rc", tau_s=0.0495)), "soft-lif noise tau_s: got 0.0495 beside"),
        (lambda: SoftNeuron(SoftIF(), "alpha-rc"), "soft-if noise: got 'alpha-rc'"),
        (lambda: SoftIF(tau_rc=0.0), "soft-if tau_rc: got 0"),
    ],
)
def test_what_makes_no_sense_is_refused(make, message) -> None:
    with pytest.raises(BitspikeError, match=f"^{message}"):
        make()
