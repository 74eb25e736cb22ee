"""What a compiled loop or product cannot do is refused, or done by the reference: never something else in silence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn

from bitspike.errors import BitspikeError
from bitspike.kernels import Recurrence, choose, maximum, run, stop
from bitspike.kernels.run import back_end_for
from bitspike.layers import FewBitLinear, Recomputed, Recurrent, Stepwise
from bitspike.layers.fused import Fused
from bitspike.models import feedforward
from bitspike.neurons import LIF, AdaptiveLIF, Integrator, Surrogate, TemporalQuantiser
from bitspike.products.operator import _product
from bitspike.weights import BayesianBinary, quantise, redraw


class S(NamedTuple):
    v: Any
    r: Any


class V(NamedTuple):
    v: Any


class C(NamedTuple):
    beta: Any
    theta: Any


def drive(*shape: int) -> Tensor:
    return 0.8 * torch.rand(*shape, generator=torch.Generator().manual_seed(0))


def resting(step: Any, x: Tensor, back_end: str, state: Any = None, constants: Any = None) -> Tensor:
    recurrence = Recurrence(step, type(state), type(constants), Surrogate())
    return run(recurrence, x, state, constants, back_end)[0]


@pytest.mark.parametrize("other", [False, True])
def test_equality_in_a_step_is_never_taken_for_false(other: bool) -> None:
    def step(x: Any, s: Any, p: Any, spike: Any) -> Any:
        free = (s.r != 1) if other else (s.r == 0)
        v = choose(free, p.beta * s.v + x, s.v)
        o = choose(free, spike(v - p.theta), 0.0)
        return o, S(v - p.theta * stop(o), stop(3 * o + maximum(s.r - 1, 0)))

    x = drive(40, 3, 5)
    zeros = S(torch.zeros(3, 5), torch.zeros(3, 5))
    wanted = resting(step, x, "reference", zeros, C(0.9, 1.0))
    assert wanted.mean() > 0.05
    assert torch.equal(resting(step, x, "auto", zeros, C(0.9, 1.0)), wanted)
    choice = back_end_for(Recurrence(step, S, C, Surrogate()), x)
    assert choice.back_end == "reference"
    assert "== or != on a value" in choice.reason
    with pytest.raises(BitspikeError, match="== or != on a value"):
        resting(step, x, "cpu", zeros, C(0.9, 1.0))


def test_int8_inputs_are_what_they_are_claimed_to_be() -> None:
    layer = Stepwise(FewBitLinear(700, 512, x_kind="spikes", bias=False))
    spikes = (torch.rand(40, 64, 700) < 0.03).to(torch.int8)
    assert torch.allclose(layer(spikes), layer(spikes.float()), atol=1e-5)
    for wrong, said in (
        (-spikes, "-1"),
        (3 * spikes, "3"),
        (spikes * torch.tensor([1, 2], dtype=torch.int8).repeat(350), "2"),
    ):
        with pytest.raises(BitspikeError, match=rf"^product x: got {said} among 'spikes', wanted 0 and 1$"):
            layer(wrong)


def test_a_second_derivative_is_refused_in_every_way_to_ask_for_it() -> None:
    said = r"gradient: got a derivative of a gradient"
    layer, x = Integrator(), torch.rand(6, 2, 3, requires_grad=True)

    def loss(x: Tensor) -> Tensor:
        return layer(x).square().sum()

    with pytest.raises(BitspikeError, match=said):
        torch.autograd.grad(layer(x).sum(), x, create_graph=True)  # whose gradient depends on nothing that came in
    with pytest.raises(BitspikeError, match=said):
        torch.func.grad(lambda x: torch.func.grad(loss)(x).sum())(x.detach())
    weight = torch.rand(64, 70, requires_grad=True)
    y = _product((torch.rand(50, 70) < 0.2).float(), weight, "spikes", "real", "exact", [], True)[0]
    with pytest.raises(BitspikeError, match=said):
        torch.autograd.grad(y.sum(), weight, create_graph=True)
    one = torch.func.grad(loss)(x.detach())
    assert torch.equal(one, torch.autograd.grad(loss(x), x)[0])
    each = torch.func.vmap(torch.func.grad(loss))(torch.stack([x.detach()] * 2))
    assert torch.allclose(each, torch.stack([one] * 2))


@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated")
def test_forward_mode_is_refused_not_zero() -> None:
    layer, x = Integrator(), torch.rand(6, 2, 3)
    for call in (
        lambda: torch.func.jvp(layer, (x,), (torch.ones_like(x),)),
        lambda: torch.func.jacfwd(lambda x: layer(x).sum())(x),
    ):
        with pytest.raises(RuntimeError, match="jvp"):
            call()


def test_a_nonlinearity_is_not_left_out_where_its_loop_is_gone_round() -> None:
    torch.manual_seed(0)
    units, weights = TemporalQuantiser(dt=4.0, nonlinearity="relu"), Stepwise(nn.Linear(6, 5))
    x = torch.randn(12, 3, 6)
    wanted = units(weights(x))
    assert wanted.min() == 0
    assert torch.equal(Recomputed(weights, units)(x), wanted)
    with pytest.raises(
        BitspikeError, match=r"^recurrent neuron: got TemporalQuantiser, wanted a neuron whose loop is its"
    ):
        Recurrent(5, units)


def test_what_is_computed_again_has_to_be_the_same() -> None:
    with pytest.raises(BitspikeError, match=r"Dropout '1', which draws other numbers the second time"):
        Recomputed(nn.Sequential(Stepwise(nn.Linear(6, 5)), nn.Dropout(0.5)), LIF())
    said = r"^recomputed layer: got weights, draws or buffers that have changed since the forward pass"
    weights = Stepwise(nn.Linear(6, 5))
    layer, x = Recomputed(weights, LIF()), torch.rand(30, 3, 6, requires_grad=True)
    y = layer(x).sum()
    with torch.no_grad():
        weights.layer.weight.mul_(0.5)
    with pytest.raises(BitspikeError, match=said):
        y.backward()
    layer(x).sum().backward()
    other = {name: value.detach().clone().requires_grad_() for name, value in layer.named_parameters()}
    with pytest.raises(BitspikeError, match=said):
        torch.func.functional_call(layer, other, (x,)).sum().backward()
    quantise(weights, BayesianBinary)
    redraw(layer, 1)
    first = layer(x).sum()
    redraw(layer, 2)
    with pytest.raises(BitspikeError, match=said):
        (first + layer(x).sum()).backward()


@pytest.mark.parametrize(
    "neuron",
    [
        lambda: LIF(refractory=2), lambda: LIF(refractory=1, reset="hard", learn=("tau", "theta")),
        lambda: AdaptiveLIF(learn=("tau", "tau_adaptation", "theta", "strength")),
    ],
)  # fmt: skip
def test_neurons_that_need_their_state_again_learn_before_a_pool(neuron: Any) -> None:
    unit, pool = neuron(), Stepwise(nn.MaxPool2d(2))
    x = (2 * torch.rand(9, 2, 3, 4, 4)).requires_grad_()
    weight = torch.rand(9, 2, 3, 2, 2)
    found = []
    for chain in (Fused(unit, pool), nn.Sequential(unit, pool)):
        y = chain(x)
        found.append((y, *torch.autograd.grad((y * weight).sum(), [x, *unit.parameters()])))
    for fused, plain in zip(*found, strict=True):
        assert torch.allclose(fused, plain, atol=1e-5)
    assert found[0][1].abs().sum() > 0
    feedforward((1, 8, 8), 3, ["4c3", "p2", "10"], neuron)(torch.rand(4, 2, 1, 8, 8)).sum().backward()


def test_a_step_that_is_a_method_sees_its_module_as_it_is() -> None:
    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.alpha = 0.9

        def step(self, x: Any, s: Any, p: Any, spike: Any) -> Any:
            v = self.alpha * s.v + x
            return spike(v - p.theta), V(v)

    own, x = Own(), drive(20, 2, 3)
    zeros = V(torch.zeros(2, 3))
    before = resting(own.step, x, "auto", zeros, C(0.9, 1.0))
    own.alpha = 0.0
    assert not torch.equal(resting(own.step, x, "auto", zeros, C(0.9, 1.0)), before)
    assert "a method of a module" in back_end_for(Recurrence(own.step, V, C, Surrogate()), x).reason


def test_constants_and_quotients_round_as_in_the_loop() -> None:
    def leaky(x: Any, s: Any, p: Any, spike: Any) -> Any:
        v = p.beta * s.v + (1 - p.beta) * x
        return v, V(v)

    def quotient(x: Any, s: Any, p: Any, spike: Any) -> Any:
        v = 3.0 / (1 + x) + p.theta / (2 + x)
        return v, V(v)

    def signed(x: Any, s: Any, p: Any, spike: Any) -> Any:
        return 1.0 / (x * -0.0 * p.theta), V(s.v)

    x, zeros = torch.rand(200, 4, 5), V(torch.zeros(4, 5))
    for step in (leaky, quotient, signed):
        reference = resting(step, x, "reference", zeros, C(0.99999, 0.7))
        assert torch.equal(resting(step, x, "cpu", zeros, C(0.99999, 0.7)), reference), step.__name__


def test_a_spike_function_without_a_hash_is_named() -> None:
    @dataclass
    class Own:
        width: float = 1.0

        def __call__(self, u: Any) -> Any:
            return Surrogate()(u)

    with pytest.raises(BitspikeError, match=r"^neuron spike function: got a Own, which has no hash, wanted a function"):
        LIF(surrogate=Own())(torch.rand(3, 2, 4))  # type: ignore[arg-type]


def test_dropout_of_an_input_that_does_not_change_is_drawn_at_every_step() -> None:
    torch.manual_seed(0)
    dropped = Stepwise(nn.Dropout(0.5))(torch.ones(1, 4, 50).expand(6, 4, 50))
    assert not torch.equal(dropped[0], dropped[1])


def quadratic(steps: int) -> Any:
    def step(x: Any, s: Any, p: Any, spike: Any) -> Any:
        v = s.v
        for _ in range(steps):
            v = v + p.beta * (v * v + x - v)
        o = spike(v - p.theta)
        return o, V(v * (1 - stop(o)))

    return step


def test_a_step_of_many_sub_steps_is_compiled_or_told_in_a_moment() -> None:
    x = drive(30, 2, 3).requires_grad_()
    for steps in (4, 40):
        found = []
        for back_end in ("reference", "auto"):
            y = resting(quadratic(steps), x, back_end, V(torch.zeros(2, 3)), C(0.5 / steps, 0.4))
            found.append((y.detach(), torch.autograd.grad(y.sum(), x)[0]))
        assert found[0][0].mean() > 0
        assert torch.equal(found[0][0], found[1][0])
        assert torch.allclose(found[0][1], found[1][1], atol=1e-4)


def test_more_learned_constants_than_values_may_be_kept_run_on_the_reference() -> None:
    class Five(NamedTuple):
        a: Any
        b: Any
        c: Any
        d: Any
        e: Any

    def step(x: Any, s: Any, p: Any, spike: Any) -> Any:
        after = Five(*(rate * trace + x for rate, trace in zip(p, s, strict=True)))
        return after.a + after.b + after.c + after.d + after.e, after

    x = drive(10, 2, 3)
    rates = Five(*(torch.tensor(0.1 * k, requires_grad=True) for k in range(1, 6)))
    zeros = Five(*(torch.zeros(2, 3) for _ in range(5)))
    found = [
        torch.autograd.grad(resting(step, x, back_end, zeros, rates).square().sum(), list(rates))
        for back_end in ("reference", "auto")
    ]
    for one, other in zip(*found, strict=True):
        assert torch.allclose(one, other, rtol=1e-4)
