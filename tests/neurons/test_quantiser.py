"""What a quantiser promises: diffused error, no bias, bounded levels, the gradient of f, runs in pieces."""

from __future__ import annotations

import copy
import math
import pickle

import pytest
import torch
from torch import Tensor

from bitspike.draws import generator
from bitspike.errors import BitspikeError
from bitspike.neurons import (
    NONLINEARITIES,
    Neuron,
    QuantiserConstants,
    QuantiserState,
    SoftLIF,
    TemporalQuantiser,
    at_step,
    quantiser_step,
)
from bitspike.neurons.quantiser import MODES

DOUBLE = torch.float64
RANDOM = ("stochastic", "poisson")


def normal(*shape: int, key: str = "x", dtype: torch.dtype = DOUBLE) -> Tensor:
    return torch.randn(shape, generator=generator(3, key), dtype=dtype)


def function(name: str):
    return NONLINEARITIES[name] or (lambda x: x)


@pytest.fixture
def plain_loop(monkeypatch):
    """Nothing is compiled; tests/kernels compares the back ends."""
    monkeypatch.setattr(Neuron, "back_end", "reference")


# ---- carry


@pytest.mark.parametrize("dt", [0.01, 0.3, 1.0, 7.5, 1000.0])
@pytest.mark.parametrize("name", NONLINEARITIES)
def test_the_error_so_far_is_the_carry_at_every_step(name, dt, plain_loop):
    x = normal(100, 2, 9) - 0.3
    neuron = TemporalQuantiser(dt, name)
    f = function(name)(x)
    state = neuron.initial(x[0])
    start, error = state.v, torch.zeros(2, 9, dtype=DOUBLE)
    for x_t, f_t in zip(x, f, strict=True):
        y, state = neuron.advance(x_t, state)
        error = error + (y - f_t) * neuron.dt
        assert ((state.v >= 0) & (state.v < 1)).all()
        assert (error.abs() < 1).all()
        assert torch.allclose(error, start - state.v, rtol=0, atol=1e-9)


def test_counts_by_hand(plain_loop):
    neuron = TemporalQuantiser(2.0, "relu")
    x = torch.tensor([0.4, -3.0, 0.4, 1.7, 0.0]).view(-1, 1, 1)
    # v = .5; u = 1.3, .3, 1.1, 3.5, .5
    y, state = neuron.run(x, QuantiserState(torch.tensor([[0.5]])))
    assert y.flatten().tolist() == [0.5, 0, 0.5, 1.5, 0]
    assert neuron.counts(y).flatten().tolist() == [1, 0, 1, 3, 0]
    assert state.v.item() == pytest.approx(0.5, abs=1e-6)
    # Negative activities: u = -.4 is one count down, .6 left; .6 - .9 = -.3 again.
    y, state = TemporalQuantiser().run(
        torch.tensor([-0.9, -0.9]).view(-1, 1, 1), QuantiserState(torch.full((1, 1), 0.5))
    )
    assert y.flatten().tolist() == [-1, -1]
    assert state.v.item() == pytest.approx(0.7, abs=1e-6)


def test_the_carry_keeps_its_digits_beside_large_activities():
    # 2^20 + 0.3 has 3 binary digits behind the point in float32; the carry has all of its own.
    carry = torch.rand(1, 1000, generator=generator(1, "v"))
    _, state = TemporalQuantiser(2.0**20).run(torch.ones(200, 1, 1000), QuantiserState(carry))
    assert torch.equal(state.v, carry)


@pytest.mark.parametrize("dtype", [torch.float32, DOUBLE])
def test_the_largest_and_the_smallest_carry_stay_what_they_are(dtype):
    # e = -1e-20 is 0 beside any carry, though floor(e) is -1.
    v = torch.tensor([0.0, 1e-12, 0.5, 1 - torch.finfo(dtype).eps / 2], dtype=dtype).view(1, 4)
    for back_end in ("reference", "cpu"):
        neuron = TemporalQuantiser()
        neuron.back_end = back_end
        y, state = neuron.run(torch.full((3, 1, 4), -1e-20, dtype=dtype), QuantiserState(v))
        assert not y.any()
        assert torch.equal(state.v, v)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_quantised_in_float32(dtype):
    x = normal(30, 2, 5).to(dtype)
    neuron = TemporalQuantiser(300.0)
    y, state = neuron.run(x)
    assert y.dtype == dtype
    assert state.v.dtype == torch.float32
    wide, _ = neuron.run(x.float())
    assert torch.equal(y, wide.to(dtype))
    error = (wide.double() - x.double()).cumsum(0) * 300
    assert error.abs().max() < 1 + 1e-3
    one, _ = neuron.advance(x[0])
    assert torch.equal(one, y[0])


# ---- no bias, in all modes


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dt", [0.25, 1.0, 3.7])
def test_no_mode_is_biased(mode, dt, plain_loop):
    count = 40_000
    f = torch.tensor([-2.3, -0.6, -0.01, 0.0, 0.3, 0.99, 1.0, 5.2], dtype=DOUBLE)
    neuron = TemporalQuantiser(dt, mode=mode, keys=(11, mode))
    y = neuron(f.expand(4, count, -1))
    for step in y:
        spread = step.std(0) / math.sqrt(count)
        assert ((step.mean(0) - f).abs() <= 4 * spread + 1e-9).all()


@pytest.mark.parametrize(
    ("mode", "f", "dt", "variance"),
    [
        ("stochastic", 0.3, 1.0, 0.21), ("stochastic", 0.3, 0.25, 1.11), ("stochastic", -0.3, 0.25, 1.11),
        ("stochastic", 0.7, 10.0, 0.0), ("poisson", 0.3, 1.0, 0.3), ("poisson", -0.7, 10.0, 0.07),
    ],
)  # fmt: skip
def test_variance_of_drawn_counts(mode, f, dt, variance):
    # p (1 - p) / dt^2, p = frac(dt f), for stochastic rounding; |f| / dt for Poisson counts. Carry: test_neuron_models.
    count = 100_000
    y = TemporalQuantiser(dt, mode=mode)(torch.full((2, count, 1), f, dtype=DOUBLE))
    assert y.var().item() == pytest.approx(variance, abs=max(12 * variance / math.sqrt(2 * count), 1e-6))
    # A step's draw says nothing about the next step's.
    if variance:
        assert abs(torch.corrcoef(y[..., 0])[0, 1].item()) < 4 / math.sqrt(count)


def test_stochastic_counts_are_the_two_neighbours_and_poisson_counts_have_the_sign():
    x = normal(50, 4, 30) * 3
    n = TemporalQuantiser(2.0, mode="stochastic")(x) * 2
    assert ((n == (2 * x).floor()) | (n == (2 * x).ceil())).all()
    n = TemporalQuantiser(2.0, mode="poisson")(x) * 2
    assert torch.equal(n, n.round())
    assert ((n == 0) | (n.sign() == x.sign())).all()
    assert (n.abs() > (2 * x).abs().ceil()).any()


# ---- noise shaping


def spectrum(e: Tensor) -> tuple[Tensor, Tensor]:
    """Frequencies w in (pi/50, pi) and mean power of e (T, units) at each; below, the ends of e leak in."""
    power = torch.fft.rfft(e, dim=0).abs().square().mean(1) / len(e)
    w = torch.arange(len(power), dtype=DOUBLE) * 2 * math.pi / len(e)
    return w[w > math.pi / 50], power[w > math.pi / 50]


def test_the_noise_of_a_carried_error_is_shaped_to_high_frequencies(plain_loop):
    steps, units, dt = 4096, 60, 16.0
    white = torch.fft.rfft(normal(steps, units), dim=0)
    white[steps // 16 :] = 0
    x = torch.fft.irfft(white, n=steps, dim=0)
    x = (x / x.std()).unsqueeze(1)

    def noise(mode: str) -> tuple[Tensor, Tensor]:
        return spectrum((TemporalQuantiser(dt, mode=mode)(x) - x)[:, 0])

    w, power = noise("carry")
    shape = 4 * (w / 2).sin().square()
    # y - f = (v_{t-1} - v_t) / dt with v white of variance 1/12: power 4 sin^2(w/2) / (12 dt^2).
    assert (power / shape).mean().item() == pytest.approx(1 / (12 * dt**2), rel=0.05)
    a, b = shape.log(), power.log()
    slope = ((a - a.mean()) * (b - b.mean())).sum() / (a - a.mean()).square().sum()
    assert slope.item() == pytest.approx(1, abs=0.05)
    assert power[w < 0.1 * math.pi].mean() < power[w > 0.9 * math.pi].mean() / 50
    # Without a carry the same quantiser has as much noise at all frequencies.
    w, power = noise("stochastic")
    assert power[w < 0.1 * math.pi].mean() > power[w > 0.9 * math.pi].mean() * 0.8


# ---- levels and both limits


@pytest.mark.parametrize("mode", ["carry", "stochastic"])
@pytest.mark.parametrize("D", [1, 2, 4, 8])
def test_bounded_activities_have_exactly_so_many_levels(D, mode):
    x = 4 * normal(300, 4, 20, dtype=torch.float32)
    x[:20], x[20:40] = 40, -40  # the ends of the range, which tanh reaches in float32
    for name in ("tanh", "clip"):
        assert (TemporalQuantiser(float(D), name, mode=mode)(x) * D).unique().tolist() == list(range(-D, D + 1))
    assert (TemporalQuantiser(float(D), "sigmoid", mode=mode)(x) * D).unique().tolist() == list(range(D + 1))


@pytest.mark.parametrize("back_end", ["reference", "cpu"])
@pytest.mark.parametrize("dtype", [torch.float32, DOUBLE])
def test_a_limit_holds_at_its_exact_bounds(dtype, back_end):
    dt = torch.rand(500, generator=generator(5, "dt")) * 10 + 0.01
    limit = torch.tensor([1.0, 3.0, 7.0, 100.0, 1023.0]).repeat(100)
    below_one = 1 - torch.finfo(dtype).eps / 2  # the largest carry there is
    x = torch.tensor([1e6, 1e30, -1e6, -1e30], dtype=dtype).view(-1, 1, 1).expand(-1, 2, 500)
    v = torch.tensor([0.0, below_one], dtype=dtype).view(2, 1).expand(2, 500)
    neuron = TemporalQuantiser(dt, limit=limit)
    neuron.back_end = back_end
    y, state = neuron.run(x, QuantiserState(v))
    n = neuron.counts(y)
    assert torch.equal(n.amax((0, 1)), limit.to(dtype))
    # The range is +-limit / dt rounded towards 0: from v = 0 the lower end is reached.
    assert torch.equal(n.amin((0, 1)), -limit.to(dtype))
    assert ((state.v >= 0) & (state.v < 1)).all()
    # Stochastic rounding keeps to the same bounds.
    drawn = TemporalQuantiser(dt, limit=limit, mode="stochastic")
    assert (drawn.counts(drawn(x)).abs() <= limit.to(dtype)).all()


def test_a_limit_is_the_same_range_at_every_step_size():
    neuron = TemporalQuantiser(2.0, limit=3)
    x = torch.linspace(-4, 4, 81, dtype=DOUBLE).view(1, 1, -1)
    for factor in (1, 4, 1000, None):
        with at_step(neuron, factor):
            # Within one count of f clipped to +-1.5.
            assert (neuron(x) - x.clamp(-1.5, 1.5)).abs().max() <= (0 if factor is None else 1 / (2 * factor))
    # Half-open ranges lose their negative half.
    ones = TemporalQuantiser(4.0, "relu", limit=2)
    assert (ones(100 * normal(50, 3, 8)) * 4).unique().tolist() == [0, 1, 2]


def test_a_large_dt_follows_f_and_a_small_one_spikes_rarely(plain_loop):
    x = normal(400, 3, 10)
    for dt in (2.0, 37.0, 1e4, 1e8):
        assert ((TemporalQuantiser(dt, "tanh")(x) - x.tanh()).abs() < 1 / dt * (1 + 1e-6)).all()
    sparse = TemporalQuantiser(0.01, "sigmoid")
    y = sparse(x)
    assert set(sparse.counts(y).unique().tolist()) == {0, 1}
    assert y.max().item() == pytest.approx(100, rel=1e-6)
    assert (y != 0).double().mean().item() == pytest.approx(0.01 * x.sigmoid().mean().item(), rel=0.5)


# ---- gradient


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", NONLINEARITIES)
def test_the_gradient_is_that_of_f_and_nothing_passes_through_the_carry(name, mode, plain_loop):
    x = normal(12, 2, 5).requires_grad_()
    weights = normal(12, 2, 5, key="g")
    neuron = TemporalQuantiser(torch.tensor([0.3, 1.0, 2.0, 50.0, 1e4]), name, mode=mode)
    y, state = neuron.run(x)
    (got,) = torch.autograd.grad((y * weights).sum(), x, retain_graph=True)
    (wanted,) = torch.autograd.grad((function(name)(x) * weights).sum(), x)
    assert torch.equal(got, wanted)
    assert not any(part.requires_grad for part in state)
    # One output depends on one input, none before it.
    (got,) = torch.autograd.grad(y[7].sum(), x)
    assert not got[:7].any()
    assert not got[8:].any()


@pytest.mark.parametrize("step", ["run", "advance"])
def test_no_gradient_where_a_limit_clips(step):
    x = torch.tensor([-2.0, -1.4, 0.2, 1.4, 2.0], dtype=DOUBLE).requires_grad_()
    neuron = TemporalQuantiser(2.0, limit=3)
    y = neuron(x.view(1, 1, 5)) if step == "run" else neuron.advance(x.view(1, 5))[0]
    y.sum().backward()
    assert x.grad.tolist() == [0, 1, 1, 1, 0]


def test_the_step_alone_has_gradient_one_and_none_to_carry_or_dt():
    r, v = normal(2, 3).requires_grad_(), torch.rand(2, 3, dtype=DOUBLE).requires_grad_()
    dt = torch.tensor(2.0, dtype=DOUBLE, requires_grad=True)
    y, state = quantiser_step(r, QuantiserState(v), QuantiserConstants(dt), lambda u: u)
    grads = torch.autograd.grad(y.sum(), [r, v, dt], allow_unused=True)
    assert torch.equal(grads[0], torch.ones_like(r))
    assert grads[1] is None
    assert grads[2] is None
    assert not state.v.requires_grad


# ---- time


@pytest.mark.parametrize("mode", MODES)
def test_a_run_in_pieces_is_one_run(mode):
    x = normal(40, 3, 6)
    neuron = TemporalQuantiser(1.5, "tanh", mode=mode)
    whole, end = neuron.run(x)
    state, parts = None, []
    for part in x.split([1, 7, 20, 12]):
        y, state = neuron.run(part, state)
        parts.append(y)
    assert torch.equal(torch.cat(parts), whole)
    assert all(torch.equal(a, b) for a, b in zip(state, end, strict=True))
    state, parts = None, []
    for x_t in x:
        y, state = neuron.advance(x_t, state)
        parts.append(y)
    assert torch.equal(torch.stack(parts), whole)


@pytest.mark.parametrize("mode", RANDOM)
def test_a_new_step_is_a_new_draw_and_a_generator_names_all_of_them(mode):
    x, neuron = torch.full((2, 1, 500), 0.5), TemporalQuantiser(mode=mode)
    y = neuron(x)
    assert not torch.equal(y[0], y[1])
    one = neuron.run(x, neuron.initial(x[0], generator(9)))[0]
    assert torch.equal(one, neuron.run(x, neuron.initial(x[0], generator(9)))[0])
    assert not torch.equal(one, neuron.run(x, neuron.initial(x[0], generator(10)))[0])


def test_an_input_that_does_not_change_stays_a_view_and_gives_the_same():
    still = normal(1, 3, 5).expand(20, -1, -1)
    neuron = TemporalQuantiser(1.5, "tanh")
    assert neuron.activity(still).stride(0) == 0
    assert torch.equal(neuron(still), neuron(still.clone()))
    with at_step(neuron, None):
        assert neuron(still).stride(0) == 0


def test_dt_and_limit_per_channel_of_an_image():
    x = normal(10, 2, 3, 4, 4)
    dt = torch.tensor([1.0, 2.0, 4.0]).view(3, 1, 1)
    y = TemporalQuantiser(dt, limit=torch.tensor([1, 2, 8]).view(3, 1, 1))(x)
    for channel, (step, most) in enumerate([(1, 1), (2, 2), (4, 8)]):
        n = y[:, :, channel] * step
        assert torch.equal(n, n.round())
        assert n.abs().max() <= most
        same = TemporalQuantiser(float(step), limit=most)
        start = TemporalQuantiser().initial(x[0]).v[:, channel]
        assert torch.equal(y[:, :, channel], same.run(x[:, :, channel], QuantiserState(start))[0])


# ---- the module


def test_evaluation_uses_the_final_step_and_training_the_present_one():
    x = normal(20, 2, 5)
    neuron = TemporalQuantiser(2.0)
    neuron.dt.fill_(64.0)
    assert torch.equal(neuron(x), TemporalQuantiser(64.0)(x))
    assert torch.equal(neuron.eval()(x), TemporalQuantiser(2.0)(x))
    assert (neuron.step_size().item(), neuron.train().step_size().item()) == (2, 64)


def test_carries_are_independent_over_examples_and_units():
    v = TemporalQuantiser().initial(torch.empty(5000, 12)).v
    assert v.unique().numel() > 0.99 * v.numel()
    for table in (v.t(), v[:1200].reshape(12, 1200)):
        off = torch.corrcoef(table) - torch.eye(len(table))
        assert off.abs().max() < 5 / math.sqrt(table.shape[1])
    assert (v < 0.25).double().mean().item() == pytest.approx(0.25, abs=0.01)


def test_a_copy_and_a_pickle_are_the_same_quantiser():
    x = normal(20, 2, 5, dtype=torch.float32)
    neuron = TemporalQuantiser(torch.rand(5) + 0.5, "soft-lif", limit=40)
    neuron(x)
    for other in (copy.deepcopy(neuron), pickle.loads(pickle.dumps(neuron))):
        assert torch.equal(other(x), neuron(x))
    assert repr(neuron) == "TemporalQuantiser(mode='carry', dt=(5,), limit=40.0)"
    assert isinstance(neuron.nonlinearity, SoftLIF)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mode": "cary"}, r"quantiser mode: got 'cary', wanted carry, stochastic, poisson"),
        ({"nonlinearity": "tahn"}, r"quantiser nonlinearity: got 'tahn', wanted a function or one of identity"),
        ({"limit": 0}, r"quantiser limit: got 0, wanted a whole number, 1 or more"),
        ({"limit": 1.5}, r"quantiser limit: got 1.5, wanted a whole number"),
        ({"dt": torch.ones(3), "limit": torch.ones(2)}, r"limit: got values of shape \(2,\), wanted one, or \(3,\)"),
        ({"limit": 3, "mode": "poisson"}, r"quantiser limit: got 3, wanted none in Poisson mode"),
        ({"dt": torch.tensor([1.0, 0.0])}, r"quantiser dt: got a least value of 0"),
    ],
)  # fmt: skip
def test_mistakes_are_refused(options, message):
    with pytest.raises(BitspikeError, match=message):
        TemporalQuantiser(**options)


@pytest.mark.parametrize("mode", MODES)
def test_inputs_without_time_and_states_of_another_batch_are_refused(mode):
    neuron = TemporalQuantiser(mode=mode)
    for shape in ((5,), (0, 2, 3)):
        with pytest.raises(BitspikeError, match="input over time"):
            neuron(torch.zeros(shape))
    with pytest.raises(BitspikeError, match="wanted the shape of one time step"):
        TemporalQuantiser().run(torch.zeros(2, 3, 4), QuantiserState(torch.zeros(2, 4)))
    with at_step(neuron, None), pytest.raises(BitspikeError, match="quantiser counts"):
        neuron.counts(torch.zeros(3))
