"""The CUDA back end in Triton's interpreter, compared with the reference loop; run by test_triton.py.

Only a process that started with TRITON_INTERPRET=1 can run these: triton reads it when it is imported.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, NamedTuple

import pytest
import torch

from bitspike.kernels import (
    Recurrence,
    absolute,
    choose,
    exp,
    expm1,
    floor,
    indicator,
    log1p,
    maximum,
    minimum,
    run,
    stop,
    with_gradient,
)
from bitspike.kernels.cuda import back_end as cuda
from bitspike.neurons import LIF, BiSNN, Surrogate, with_steps

T, B, F = 7, 3, 50  # 150 neurons: one program and a part of the next
BOUND = {torch.float32: 1e-5, torch.float64: 1e-12}
DTYPES = pytest.mark.parametrize("dtype", BOUND, ids=str)
NEURONS = {"soft": LIF(reset="soft"), "hard": LIF(reset="hard"), "bisnn": BiSNN()}


class Pair(NamedTuple):
    v: Any
    w: Any


class Two(NamedTuple):
    decay: Any
    theta: Any


def random(*shape: int, dtype: torch.dtype, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def compare(recurrence, base, state, constants, arrange=lambda x: x, exact=True):
    """Outputs, final states and every gradient of the two back ends agree; returns the outputs."""
    leaves = [base, *state, *(c for c in constants if isinstance(c, torch.Tensor))]
    leaves = [leaf.requires_grad_() for leaf in leaves]
    outputs, gradients = [], []
    for back_end in ("reference", "cuda"):
        y, last = run(recurrence, arrange(base), type(state)(*state), constants, back_end)
        loss = sum((part * random(*part.shape, dtype=part.dtype, seed=i)).sum() for i, part in enumerate((y, *last)))
        outputs.append((y, *last))
        gradients.append(torch.autograd.grad(loss, leaves, allow_unused=True, materialize_grads=True))
    for expected, got in zip(*outputs, strict=True):
        same = torch.equal(expected, got) if exact else torch.allclose(expected, got, rtol=BOUND[base.dtype], atol=1e-6)
        assert same
    for leaf, expected, got in zip(leaves, *gradients, strict=True):
        assert got.shape == leaf.shape
        assert (got - expected).norm() <= BOUND[base.dtype] * expected.norm() + 1e-30
    return outputs[1][0]


def neuron_case(name, dtype, per_neuron=False, shape=(T, B, F)):
    """A neuron's recurrence, input, random initial state and constants that want gradients."""
    neuron = NEURONS.get(name) or with_steps()[name]()
    x = random(*shape, dtype=dtype)
    rest = neuron.initial(x[0])
    state = type(rest)(*(random(*shape[1:], dtype=dtype, seed=9 + i) for i in range(len(rest))))
    size = (F,) if per_neuron else ()
    values = [float(c) * (1 + 0.1 * random(*size, dtype=dtype, seed=3).abs()) for c in neuron.constants()]
    p = type(neuron.constants())(*values)
    return Recurrence(neuron.step, type(state), type(p), neuron.spike), x, state, p


@DTYPES
@pytest.mark.parametrize("per_neuron", [False, True], ids=["shared", "per-neuron"])
@pytest.mark.parametrize("name", NEURONS)
def test_neurons_spike_bit_for_bit_and_all_gradients_agree(name, per_neuron, dtype):
    recurrence, x, state, p = neuron_case(name, dtype, per_neuron)
    spikes = compare(recurrence, x, state, p)
    assert 0.05 < float(spikes.detach().mean()) < 0.95


@pytest.mark.parametrize("name", NEURONS)
@pytest.mark.parametrize("surrogate", ["boxcar", "arctan", "fast-sigmoid", "slayer"])
def test_the_other_surrogates(name, surrogate):
    recurrence, x, state, p = neuron_case(name, torch.float64)
    compare(replace(recurrence, spike=Surrogate(surrogate, 0.7)), x, state, p)


@pytest.mark.parametrize("kind", sorted(with_steps()))
def test_every_kind_of_neuron(kind):
    # The exact LIF neuron alone calls exp and log, which end in other digits here than in torch.
    recurrence, x, state, p = neuron_case(kind, torch.float64)
    if kind == "exact-lif":  # its dt bounds a value, and bounds are constant
        p = p._replace(dt=float(p.dt))
    compare(recurrence, x, state, p, exact=kind != "exact-lif")


@DTYPES
@pytest.mark.parametrize("shape", [(1, B, F), (2, 1, 1), (9, 2, 128), (3, 0, 5), (0, 2, 3)], ids=str)
def test_shapes(shape, dtype):
    recurrence, x, state, p = neuron_case("soft", dtype, shape=(max(shape[0], 1), *shape[1:]))
    compare(recurrence, x[: shape[0]].clone(), state, p)


@pytest.mark.parametrize("name", NEURONS)
def test_inputs_that_are_views(name):
    recurrence, _, state, p = neuron_case(name, torch.float32)
    compare(recurrence, random(1, B, F, dtype=torch.float32), state, p, lambda x: x.expand(T, B, F))
    compare(recurrence, random(F, T, B, dtype=torch.float32), state, p, lambda x: x.permute(1, 2, 0))
    compare(recurrence, random(T, B, 2 * F, dtype=torch.float32), state, p, lambda x: x[..., ::2])


def test_more_neurons_than_the_smaller_block_is_for(monkeypatch):
    monkeypatch.setattr(cuda, "MANY", 1)
    compare(*neuron_case("soft", torch.float32, shape=(4, 3, 300)))


def test_nan_and_inf_spread_as_in_the_reference():
    recurrence, x, state, p = neuron_case("hard", torch.float32)
    x[2, 0, :9] = torch.tensor([math.nan, math.inf, -math.inf] * 3)
    a, b = (run(recurrence, x, state, p, back_end) for back_end in ("reference", "cuda"))
    assert torch.equal(a[0], b[0])
    assert torch.allclose(a[1].v, b[1].v, rtol=0, atol=0, equal_nan=True)


def functions_step(x, state, p, spike):
    v = p.decay * state.v + expm1(minimum(x, 2.0))
    w = log1p(absolute(v)) / (1 + exp(-state.w))
    u = choose(v > w, v - w, maximum(v, -0.5) * 0.3) - p.theta
    s = spike(u)
    level = with_gradient(floor(v * 4) / 4, v) + indicator(v <= 0.1)
    return s + 0.1 * level, Pair(v * (1 - stop(s)), w)


@DTYPES
def test_every_function_a_step_may_use(dtype):
    recurrence = Recurrence(functions_step, Pair, Two, Surrogate("slayer", 0.7))
    state = Pair(random(B, F, dtype=dtype, seed=1), random(B, F, dtype=dtype, seed=2))
    compare(recurrence, random(T, B, F, dtype=dtype), state, Two(torch.tensor(0.8, dtype=dtype), 0.1), exact=False)


def exchange_step(x, state, p, spike):
    return state.v + x, Pair(state.w, state.v + 0.1)


def forget_step(x, state, p, spike):
    return spike(x / p.theta - p.decay), Pair(2.5, x)


@DTYPES
@pytest.mark.parametrize("step", [exchange_step, forget_step])
def test_states_that_change_places_or_are_numbers(step, dtype):
    state = Pair(random(B, F, dtype=dtype, seed=1), random(B, F, dtype=dtype, seed=2))
    if step is forget_step:  # the reference would put a number in place of the state
        y, last = run(
            Recurrence(step, Pair, Two, Surrogate()), random(T, B, F, dtype=dtype), state, Two(0.3, 3.0), "cuda"
        )
        assert torch.equal(y, (random(T, B, F, dtype=dtype) / 3.0 - 0.3 >= 0).to(dtype))
        assert (last.v == 2.5).all()
    else:
        compare(Recurrence(step, Pair, Two, Surrogate()), random(T, B, F, dtype=dtype), state, Two(0.3, 3.0))


def test_exp_expm1_and_log1p_are_accurate_from_end_to_end_of_their_ranges():
    for dtype, low, high in ((torch.float32, -103.0, 88.5), (torch.float64, -740.0, 709.0)):
        x = torch.cat([torch.linspace(low, high, 2001, dtype=torch.float64), random(2000, dtype=torch.float64) ** 5])
        x = torch.cat([x.to(dtype), torch.tensor([0.0, -1.0, -1.5, 1e30, math.inf, -math.inf, math.nan], dtype=dtype)])
        for function in (exp, expm1, log1p):
            one = Recurrence(lambda x, s, p, spike, f=function: (f(x), s), Pair, None, Surrogate())
            y, _ = run(one, x.view(1, 1, -1), Pair(*torch.zeros(2, 1, len(x), dtype=dtype)), (), "cuda")
            exact = function(x.double()).to(dtype).double()
            assert torch.equal(y.isnan().flatten(), exact.isnan())
            # 4 units in the last place, or of the smallest number
            bound = 4 * exact.abs() * torch.finfo(dtype).eps + 4 * torch.finfo(dtype).smallest_normal * 2.0**-23
            assert ((y.double().flatten() - exact).abs() <= bound)[exact.isfinite()].all()
            infinite = exact.isinf()
            assert torch.equal(y.flatten()[infinite].double(), exact[infinite])
