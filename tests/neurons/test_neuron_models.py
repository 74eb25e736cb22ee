"""Every neuron against cases computed by hand, the numbers of the papers, and its invariants."""

from __future__ import annotations

import copy
import math
import pickle
from typing import Any

import pytest
import torch
from torch import Tensor

from bitspike.draws import generator
from bitspike.errors import BitspikeError
from bitspike.kernels import scan
from bitspike.layers import Synapse
from bitspike.neurons import (
    IF,
    LIF,
    AdaptiveLIF,
    BiSNN,
    CurrentLIF,
    ExactLIF,
    Integrator,
    Neuron,
    Surrogate,
    TemporalQuantiser,
    with_steps,
)
from bitspike.neurons.constants import constant, positive
from bitspike.neurons.quantiser import QuantiserState
from bitspike.neurons.rate_if import RateIF

HALF = 1 / math.log(2)  # a time constant whose decay is 1/2
DOUBLE = torch.float64


@pytest.fixture(autouse=True)
def plain_loop(monkeypatch):
    """Nothing is compiled here: what the other back ends do is compared in tests/kernels."""
    monkeypatch.setattr(Neuron, "back_end", "reference")


def row(*values: float) -> Tensor:
    """Currents of one neuron over time."""
    return torch.tensor(values).view(-1, 1, 1)


def spikes(neuron, *values: float) -> list[float]:
    return neuron(row(*values)).flatten().tolist()


def test_without_reset_a_neuron_fires_as_long_as_it_is_above_threshold():
    # v = 0.6, 0.9, 1.05, 0.525
    assert spikes(LIF(tau=HALF, reset="none"), 0.6, 0.6, 0.6, 0.0) == [0, 0, 1, 0]
    assert spikes(IF(reset="none"), 0.5, 0.5, 0.0, -0.5) == [0, 1, 1, 0]


@pytest.mark.parametrize(
    ("reset", "membranes"), [("soft", [0.5, 0.5, 0.5, 0.75]), ("hard", [0, 0, 0, 0]), ("none", [1.5, 1.5, 1.5, 2.25])]
)
def test_refractory_steps_neither_integrate_nor_fire(reset, membranes):
    # v = 1.5 fires; held for two steps; then v/2 + 1.5 fires again.
    neuron, state = LIF(tau=HALF, reset=reset, refractory=2), None
    fired, seen, waits = [], [], []
    for _ in range(4):
        y, state = neuron.run(row(1.5), state)
        fired.append(y.item())
        seen.append(state.v.item())
        waits.append(state.r.item())
    assert fired == [1, 0, 0, 1]
    assert seen == pytest.approx(membranes, abs=1e-6)
    assert waits == [2, 1, 0, 2]


def test_without_a_refractory_period_lif_is_the_plain_step():
    assert LIF(refractory=0).step == LIF().step
    x = torch.rand(30, 2, 5) * 3
    gaps = LIF(refractory=4)(x).nonzero()
    last: dict[tuple[int, int], int] = {}
    for t, b, n in gaps.tolist():
        assert t - last.get((b, n), -9) >= 5
        last[b, n] = t


def test_integrate_and_fire_counts_its_input():
    x = torch.rand(200, 3, 8, dtype=DOUBLE) * 0.9
    assert torch.equal(IF()(x).sum(0), x.sum(0).floor())
    assert spikes(IF(theta=0.5, reset="hard"), 0.25, 0.5, 0.25, 0.25) == [0, 1, 0, 1]


def test_adaptation_raises_the_threshold_by_hand():
    # hard reset; threshold 1, 2, 1.5, 2.25; v = 1.2, 1.2, 1.8, 1.2
    neuron = AdaptiveLIF(tau=HALF, tau_adaptation=HALF, strength=1.0, reset="hard")
    y, state = neuron.run(row(1.2, 1.2, 1.2, 1.2))
    assert y.flatten().tolist() == [1, 0, 1, 0]
    assert (state.v.item(), state.a.item()) == pytest.approx((1.2, 0.625), abs=1e-6)
    x = torch.rand(50, 2, 6)
    assert torch.equal(AdaptiveLIF(strength=1e-30)(x), LIF()(x))
    assert AdaptiveLIF(strength=0.5)(x).sum() < LIF()(x).sum()


def test_credit_passes_through_the_adaptation():
    neuron = AdaptiveLIF(tau=0.01, tau_adaptation=50.0, strength=0.3)
    x = row(1.1, *[0.9] * 20).requires_grad_()
    neuron(x)[-1].sum().backward()
    # With no memory in the membrane, only the adaptation links the first input to the last spike: it lowers it.
    assert x.grad[0].item() < 0


def test_synaptic_current_by_hand():
    y, state = CurrentLIF(tau=HALF, tau_syn=HALF, theta=0.9).run(row(1.0, 0.0, 0.0))
    # i = 1, 0.5, 0.25; v = 1 fires, 0.1 left; 0.55; 0.525
    assert y.flatten().tolist() == [1, 0, 0]
    assert (state.i.item(), state.v.item()) == pytest.approx((0.25, 0.525), abs=1e-6)
    assert spikes(CurrentLIF(tau=HALF, tau_syn=HALF, reset="hard"), 1.0, 1.0, 0.0) == [1, 1, 0]


def test_integrator_is_its_impulse_response_and_no_spiking_neuron():
    neuron = Integrator(tau=HALF)
    assert not neuron.is_spiking
    y, state = neuron.run(row(1.0, 0.0, 0.0, 2.0))
    assert y.flatten().tolist() == pytest.approx([1, 0.5, 0.25, 2.125], abs=1e-6)
    assert torch.equal(y[-1], state.v)


def lif_rate(J: float, tau_rc: float, tau_ref: float) -> float:
    return 1 / (tau_ref + tau_rc * math.log1p(1 / (J - 1)))


def test_exact_lif_has_the_rates_of_the_paper():
    currents, rates = torch.tensor([1.2, 2.0, 5.0, 10.0], dtype=DOUBLE), (24.14, 57.97, 144.74, 231.59)
    neuron = ExactLIF(dt=0.001, tau_rc=0.022, tau_ref=0.002, amplitude=1.0)
    neuron.back_end = "auto"
    y = neuron(currents.expand(20_000, 1, 4))
    assert y.unique().tolist() == [0, 1000]
    assert y.mean((0, 1)).tolist() == pytest.approx(rates, abs=0.1)
    assert [lif_rate(J, 0.022, 0.002) for J in currents.tolist()] == pytest.approx(rates, abs=0.005)


@pytest.mark.parametrize("dt", [0.0005, 0.001, 0.002])
def test_exact_lif_rate_does_not_depend_on_the_step(dt):
    neuron = ExactLIF(dt, tau_rc=0.05, tau_ref=0.002, amplitude=0.063)
    neuron.back_end = "auto"
    y = neuron(torch.full((round(10 / dt), 1, 1), 3.0))
    assert y.mean().item() / 0.063 == pytest.approx(lif_rate(3.0, 0.05, 0.002), abs=0.11)
    assert y.max().item() == pytest.approx(0.063 / dt, rel=1e-6)


def test_exact_lif_overshoot_shortens_the_refractory_time():
    neuron = ExactLIF(dt=0.001, tau_rc=0.02, tau_ref=0.002)
    y, state = neuron.run(torch.full((14, 1, 1), 2.0, dtype=DOUBLE))
    # V = 2 (1 - exp(-t/tau_rc)) reaches 1 at 13.863 ms, in step 14, 0.137 ms before its end.
    over = 0.014 - 0.02 * math.log(2)
    assert y.flatten().nonzero().flatten().tolist() == [13]
    assert (state.V.item(), state.refr.item()) == pytest.approx((0, 0.002 - over), abs=1e-8)
    # The next step lies within the refractory time, of which it takes dt; the one after is split.
    _, state = neuron.run(torch.full((1, 1, 1), 2.0, dtype=DOUBLE), state)
    assert (state.V.item(), state.refr.item()) == pytest.approx((0, 0.001 - over), abs=1e-8)
    _, state = neuron.run(torch.full((1, 1, 1), 2.0, dtype=DOUBLE), state)
    assert state.V.item() == pytest.approx(2 * -math.expm1(-over / 0.02), abs=1e-8)


def test_exact_lif_is_silent_up_to_the_threshold():
    x = torch.tensor([-3.0, 0.0, 0.999, 1.0]).expand(3000, 2, 4)
    y, state = ExactLIF(tau_rc=0.005).run(x)
    assert not y.any()
    assert torch.isfinite(state.V).all()


def test_exact_lif_comes_back_at_once_from_inhibition():
    # Held down for 100 ms, then J = 2: its first spike is as late as that of a neuron at rest, tau_rc log 2 = 13.9 ms.
    neuron = ExactLIF(dt=0.001, tau_rc=0.02, tau_ref=0.002)
    down = torch.full((100, 1, 1), -30.0, dtype=DOUBLE)
    _, state = neuron.run(down)
    assert state.V.item() == 0
    y, _ = neuron.run(torch.full((14, 1, 1), 2.0, dtype=DOUBLE), state)
    assert y.flatten().nonzero().flatten().tolist() == [13]


def test_exact_lif_gradient_below_threshold_is_that_of_the_membrane():
    neuron, x = ExactLIF(tau_rc=0.01), torch.full((5, 1, 1), 0.5, dtype=DOUBLE, requires_grad=True)
    neuron.run(x)[1].V.sum().backward()
    kept = math.exp(-0.1)
    assert x.grad.flatten().tolist() == pytest.approx([(1 - kept) * kept**n for n in range(4, -1, -1)], rel=1e-6)


@pytest.mark.parametrize("dt", [0.05, 0.3, 1.0, 7.5])
@pytest.mark.parametrize("f", [torch.relu, torch.tanh, None])
def test_quantiser_diffuses_its_error(f, dt):
    x = torch.randn(300, 2, 9, generator=generator(0, "x"), dtype=DOUBLE)
    neuron = TemporalQuantiser(dt, f)
    start = neuron.initial(x[0])
    y, state = neuron.run(x, start)
    error = (y - (x if f is None else f(x))).cumsum(0) * neuron.dt
    assert error.abs().max() < 1
    assert torch.allclose(error[-1], start.v - state.v, atol=1e-9)
    assert ((state.v >= 0) & (state.v < 1)).all()
    assert torch.allclose(y * neuron.dt, (y * neuron.dt).round(), atol=1e-9)


@pytest.mark.parametrize("dtype", [torch.float32, DOUBLE])
def test_quantiser_carry_stays_below_one_just_below_an_integer(dtype):
    y, state = TemporalQuantiser().run(
        torch.tensor([-1e-20]).to(dtype).view(1, 1, 1), QuantiserState(torch.zeros(1, 1))
    )
    assert (y.item(), state.v.item()) == (0, 0)
    x = torch.randn(2000, 1, 50, generator=generator(0, "x")).to(dtype) * 1e-7
    for back_end in ("cpu", "reference"):
        neuron, state = TemporalQuantiser(dt=0.3), QuantiserState(torch.zeros(1, 50, dtype=dtype))
        neuron.back_end = back_end
        for part in x.split(500):
            _, state = neuron.run(part, state)
            assert ((state.v >= 0) & (state.v < 1)).all()


@pytest.mark.parametrize(("f", "dt", "variance"), [(0.3, 1.0, 0.21), (0.3, 0.25, 1.11), (0.7, 10.0, 0.0)])
def test_quantiser_mean_and_variance_over_draws_of_the_carry(f, dt, variance):
    count = 200_000
    neuron, x = TemporalQuantiser(dt), torch.full((5, count, 1), f, dtype=DOUBLE)
    y, _ = neuron.run(x, neuron.initial(x[0], generator(7, "carry")))
    for step in y:
        assert step.mean().item() == pytest.approx(f, abs=4 * math.sqrt(max(variance, 1e-9) / count))
        assert step.var().item() == pytest.approx(variance, abs=max(4 * variance * 3 / math.sqrt(count), 1e-6))


@pytest.mark.parametrize("D", [1, 2, 4, 8])
def test_quantiser_levels(D):
    x = 4 * torch.randn(400, 4, 20)
    neuron = TemporalQuantiser(float(D), torch.tanh)
    assert set((neuron(x) * D).unique().tolist()) <= set(range(-D, D + 1))
    ones = TemporalQuantiser(float(D), torch.sigmoid)
    assert set((ones(x) * D).unique().tolist()) <= set(range(D + 1))


def test_quantiser_follows_f_within_one_count_and_passes_its_gradient():
    x = torch.randn(20, 3, 6, dtype=DOUBLE, requires_grad=True)
    dt = torch.tensor([0.5, 1, 10, 1e3, 1e6, 1e9], dtype=DOUBLE)
    y = TemporalQuantiser(dt, torch.tanh)(x)
    assert ((y - torch.tanh(x)).abs() < 1.000001 / dt).all()
    weights = torch.randn_like(y)
    (y * weights).sum().backward()
    assert torch.allclose(x.grad, weights * (1 - torch.tanh(x.detach()) ** 2), rtol=1e-12)


def test_quantiser_draws_its_carry_by_name():
    x = torch.rand(10, 4, 5)
    one = TemporalQuantiser()
    assert torch.equal(one(x), one(x))
    assert not torch.equal(one(x), TemporalQuantiser(keys=(1, "carry"))(x))
    assert torch.equal(one.initial(x[0], generator(5)).v, one.initial(x[0], generator(5)).v)
    # One carry per unit and example, in float32 at least.
    assert one.initial(x[0].half()).v.dtype == torch.float32
    assert len(one.initial(x[0]).v.unique()) == 20
    one.dt.fill_(0.25)
    assert one(x).unique().tolist() == [0, 4]
    assert set(one.state_dict()) == {"dt", "final"}


LEARNABLE = [
    (LIF, ("tau", "theta"), {"log_tau", "theta"}),
    (IF, ("theta",), {"log_theta"}),
    (AdaptiveLIF, ("tau", "tau_adaptation", "theta", "strength"), None),
    (CurrentLIF, ("tau", "tau_syn", "theta"), None),
    (Integrator, ("tau",), None),
    (ExactLIF, ("tau_rc", "amplitude"), None),
]


@pytest.mark.parametrize("shape", [(), (3,)])
@pytest.mark.parametrize(("model", "learn", "names"), LEARNABLE)
def test_every_learnable_constant_gets_a_gradient_and_stays_positive(model, learn, names, shape):
    neuron = model(learn=learn, shape=shape)
    names = names or {f"log_{name}" for name in learn}
    assert set(neuron.state_dict()) == {name for name, _ in neuron.named_parameters()} == names
    before = [torch.as_tensor(value).clone() for value in neuron.constants()]
    neuron(torch.rand(40, 50, 3, generator=generator(0, "x")) * 3 + 0.5).square().sum().backward()
    for parameter in neuron.parameters():
        assert parameter.shape == shape
        assert parameter.grad.abs().min() > 0
        parameter.data -= 3 * parameter.grad.sign()
    after = [torch.as_tensor(value) for value in neuron.constants()]
    assert sum(not torch.equal(a, b) for a, b in zip(before, after, strict=True)) == len(learn)
    assert model is LIF or all((value > 0).all() for value in after)


def test_fixed_constants_are_not_in_the_checkpoint_and_may_differ_by_neuron():
    tau = torch.tensor([1.0, 5.0, 25.0])
    for neuron in (LIF(tau), AdaptiveLIF(tau, tau), CurrentLIF(tau), Integrator(tau), ExactLIF(tau_rc=tau / 100)):
        assert neuron.state_dict() == {}
        assert len(list(neuron.buffers())) >= 1
        neuron(torch.rand(4, 2, 3))
    last = Integrator(tau)(torch.ones(3, 1, 3))[-1, 0]
    assert last.tolist() == pytest.approx([1 + d + d * d for d in torch.exp(-1 / tau).tolist()], rel=1e-6)
    assert LIF(3.0, shape=(4,)).theta.shape == (4,)


@pytest.mark.parametrize("tau", [0.5, 2.0, 3.0, 7.3, 20.0])
def test_log_of_a_time_constant_is_rounded_once(tau):
    assert constant(positive(tau, "tau").log(), False).item() == torch.tensor(math.log(tau)).item()


@pytest.mark.parametrize("kind", with_steps())
def test_every_neuron_can_be_cut_copied_and_pickled(kind):
    neuron = with_steps()[kind]()
    neuron.back_end = "auto"
    x = torch.rand(9, 2, 4) + 0.3
    whole, end = neuron.run(x)
    first, middle = neuron.run(x[:4])
    second, last = neuron.run(x[4:], middle)
    assert torch.equal(whole, torch.cat([first, second]))
    assert all(map(torch.equal, end, last))
    for other in (copy.deepcopy(neuron), pickle.loads(pickle.dumps(neuron))):
        assert torch.equal(other(x), whole)
    neuron.back_end = "reference"
    # exp and log are rounded differently (exact-lif).
    assert torch.allclose(neuron(x), whole, rtol=1e-5)
    state = neuron.initial(x[0])
    assert torch.equal(scan(neuron.step, x, state, neuron.constants(), neuron.spike)[0], neuron(x))


def test_wrong_arguments_are_one_line(monkeypatch):
    with pytest.raises(BitspikeError, match=r"neuron theta: got 0, wanted a positive number"):
        IF(theta=0)
    with pytest.raises(BitspikeError, match=r"neuron learn: got \['beta'\], wanted names among tau, tau_syn, theta"):
        CurrentLIF(learn=["beta"])
    with pytest.raises(BitspikeError, match=r"neuron strength: got a least value of -1, wanted a positive number"):
        AdaptiveLIF(strength=torch.tensor([1.0, -1.0]))
    with pytest.raises(BitspikeError, match=r"neuron tau: got values of shape \(2,\), wanted one value, or \(3,\)"):
        AdaptiveLIF(tau=torch.ones(2), shape=(3,))
    with pytest.raises(BitspikeError, match=r"neuron refractory: got 1.5, wanted a whole number of time steps"):
        LIF(refractory=1.5)
    with pytest.raises(BitspikeError, match=r"neuron reset: got 'sft', wanted 'soft' or 'hard' or 'none'"):
        AdaptiveLIF(reset="sft")
    with pytest.raises(BitspikeError, match=r"neuron dt: got nan, wanted a positive number of seconds"):
        ExactLIF(dt=math.nan)
    with pytest.raises(BitspikeError, match=r"quantiser dt: got -1.0"):
        TemporalQuantiser(dt=-1.0)
    monkeypatch.setattr(Neuron, "back_end", "auto")
    with pytest.raises(BitspikeError, match=r"neuron constant: got \(2,\), wanted one value, or \(3,\) per neuron"):
        Integrator(tau=torch.ones(2))(torch.rand(4, 1, 3))


def test_every_neuron_knows_its_kind():
    assert all(model.kind == kind for kind, model in with_steps().items())
    assert LIF(surrogate=Surrogate("slayer")).spike.name == "slayer"


@pytest.mark.parametrize(
    "value", [-1.0, 0.0, float("nan"), float("inf"), 1e-300, 1e300, "two", torch.tensor([1.0, -2.0])]
)
@pytest.mark.parametrize("kind", ["theta", "tau", "exact dt", "exact tau", "bisnn", "synapse", "quantiser", "rate"])
def test_constants_that_are_none_are_refused_by_every_neuron(kind: str, value: object) -> None:
    made: dict[str, Any] = {
        "theta": lambda: (LIF(theta=value), IF(theta=value)),
        "tau": lambda: LIF(tau=value),
        "exact dt": lambda: ExactLIF(dt=value),
        "exact tau": lambda: ExactLIF(tau_rc=value),
        "bisnn": lambda: BiSNN(value),
        "synapse": lambda: Synapse(tau=value),
        "quantiser": lambda: TemporalQuantiser(value),
        "rate": lambda: RateIF(value),
    }
    with pytest.raises(BitspikeError, match=r"^(neuron|synapse|quantiser) (theta|tau|dt|tau_rc|tau_mem): got "):
        made[kind]()


def test_one_value_for_all_neurons_is_said() -> None:
    for made in (lambda: ExactLIF(dt=torch.ones(3)), lambda: BiSNN(torch.ones(3)), lambda: Synapse(tau=torch.ones(3))):
        with pytest.raises(BitspikeError, match=r"got values of shape \(3,\), wanted .*one for all neurons"):
            made()
    with pytest.raises(BitspikeError, match=r"surrogate height: got nan"):
        Surrogate(height=float("nan"))
