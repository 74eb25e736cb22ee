"""Every neuron, reset and surrogate: the CPU back end against the plain loop, and the adjoint against autograd.

Compiling a kernel takes a good part of a second, so that the suite compiles every neuron with every reset once in
float32 and every neuron once in float64 (LIF with every reset), with a surrogate that changes from neuron to neuron.
The whole grid is covered in float64 without a compiler by `oracle`, and with one by the test marked long.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from bitspike.kernels import Recurrence, exp, expm1, log1p, run, scan
from bitspike.kernels.cpu import back_end as cpu
from bitspike.neurons import LIF
from bitspike.registry import names

from . import oracle
from .neuron_cases import ARITHMETIC, MODELS, NAMES, SPIKING, Case, Run, case, currents, distance, execute, ran

DTYPES = {"float32": torch.float32, "float64": torch.float64}
FUNCTION_STEPS = {
    "exp": lambda x, state, p, spike: (exp(x), state),
    "expm1": lambda x, state, p, spike: (expm1(x), state),
    "log1p": lambda x, state, p, spike: (log1p(x), state),
}
every_model = pytest.mark.parametrize("name", MODELS)
every_dtype = pytest.mark.parametrize("dtype", DTYPES)
IN_FLOAT64 = [name for name in MODELS if name.startswith("lif") or not name.endswith(("-hard", "-none"))]


class Nothing(NamedTuple):
    """A state that no step reads."""

    v: Any


def some_surrogate(name: str, dtype: str) -> str:
    """A surrogate for each neuron, another one in float64; all five occur in both."""
    return NAMES[(list(MODELS).index(name) + 2 * (dtype == "float64")) % len(NAMES)]


def options(name: str, dtype: str) -> tuple[str, str, torch.dtype, bool]:
    """Constants are shared by all neurons in float32, one per neuron in float64."""
    return name, some_surrogate(name, dtype), DTYPES[dtype], dtype == "float64"


def check_along_run(c: Case, fast: Run) -> None:
    """Compare with the oracle's gradients along the values that the CPU back end kept in this very run, in float32.

    The gradient of a constant shared by all neurons is a sum of one share per neuron, of either sign: what is left
    of it may be far smaller than the shares, and float32 is judged by their norm.
    """
    found = c.recurrence.adjoint(c.wanted)
    constants = [torch.as_tensor(v) for v in c.constants]
    settings = [torch.tensor(number) for number in found.trace.settings]
    y, _, keep = cpu.forward(found.trace, found.kept, c.x, list(c.state), constants + settings)
    assert torch.equal(fast.y, y)
    gx, state, shares = oracle.backward(found, c.gy, c.carries._asdict(), c.x, y, keep, c.state, constants)
    for key, wanted in named(c, gx, state, shares).items():
        least = float(shares[key].norm()) if key in shares else 0.0
        assert distance(fast.grads[key], wanted, least) < 1e-5, key


def named(c: Case, gx: Tensor, state: dict[str, Tensor], shares: dict[str, Tensor]) -> dict[str, Tensor]:
    """Gradients under the names of `Run.grads`."""
    zero = torch.zeros((), dtype=torch.float64)
    p = c.constants._asdict()
    found = {"x": gx, **{f"s_{k}": state.get(k, zero) for k in c.state._fields}}
    return found | {k: shares[k].sum_to_size(p[k].shape) if k in shares else zero for k in c.wanted}


@pytest.mark.parametrize(
    ("name", "dtype"), [(n, d) for n in ARITHMETIC for d in DTYPES if d == "float32" or n in IN_FLOAT64]
)
def test_outputs_and_states_are_bit_equal_to_the_plain_loop(name, dtype):
    fast, plain = (ran(*options(name, dtype), back_end) for back_end in ("cpu", "reference"))
    assert torch.equal(fast.y, plain.y)
    assert all(map(torch.equal, fast.last, plain.last))
    if name in SPIKING:
        assert 0.02 < float(plain.y.mean()) < 0.98


@pytest.mark.parametrize("name", IN_FLOAT64)
def test_gradients_equal_those_of_autograd_in_float64(name):
    fast, plain = (ran(*options(name, "float64"), back_end) for back_end in ("cpu", "reference"))
    for key, wanted in plain.grads.items():
        assert fast.grads[key].shape == wanted.shape
        assert distance(fast.grads[key], wanted) < 1e-10, key


@every_model
def test_gradients_in_float32_follow_a_float64_adjoint_along_the_same_run(name):
    check_along_run(case(*options(name, "float32")), ran(*options(name, "float32"), "cpu"))


@pytest.mark.parametrize("surrogate", names("surrogate"))
@every_model
def test_adjoint_of_every_combination_equals_autograd(name, surrogate):
    c = case(name, surrogate, torch.float64, per_neuron=True, shape=(7, 2, 5))
    found, plain = c.recurrence.adjoint(c.wanted), execute(c, "reference")
    y, last, keep = oracle.forward(found.trace, found.kept, c.x, c.state, c.constants)
    assert torch.equal(y, plain.y)
    assert all(map(torch.equal, last, plain.last))
    grads = named(c, *oracle.backward(found, c.gy, c.carries._asdict(), c.x, y, keep, c.state, c.constants))
    for key, wanted in plain.grads.items():
        assert distance(grads[key], wanted) < 1e-10, key


@pytest.mark.long
@every_dtype
@pytest.mark.parametrize("surrogate", names("surrogate"))
@pytest.mark.parametrize("name", SPIKING)
def test_every_combination_compiled(name, surrogate, dtype):
    c = case(name, surrogate, DTYPES[dtype])
    fast, plain = execute(c, "cpu"), execute(c, "reference")
    assert torch.equal(fast.y, plain.y)
    if dtype == "float32":
        return check_along_run(c, fast)
    assert all(distance(fast.grads[key], wanted) < 1e-10 for key, wanted in plain.grads.items())


@pytest.mark.parametrize("name", ["lif-soft", "adaptive-lif-soft"])
def test_constants_per_neuron_in_float32(name):
    c = case(name, "triangle", torch.float32, per_neuron=True)
    fast, plain = execute(c, "cpu"), execute(c, "reference")
    assert torch.equal(fast.y, plain.y)
    check_along_run(c, fast)


@every_dtype
def test_a_spike_that_exp_and_log_round_away_was_within_4_ulp_of_threshold(dtype):
    """Every step is judged from the reference's own state, so that one early spike is not counted twice."""
    c = case("exact", some_surrogate("exact", dtype), DTYPES[dtype], shape=(400, 3, 40))
    states, outputs, membranes = [], [], []
    state = c.state
    for x in c.x:
        states.append(state)
        delta = (c.constants.dt - state.refr).clamp_min(0).clamp_max(c.constants.dt)
        membranes.append(state.V - (x - state.V) * torch.expm1(-delta / c.constants.tau_rc))
        y, state = scan(c.recurrence.step, x[None], state, c.constants, c.recurrence.spike)
        outputs.append(y[0])
    every = type(c.state)(*(torch.stack(parts) for parts in zip(*states, strict=True)))
    y, last = run(c.recurrence, c.x[None], every, c.constants, "cpu")
    differs = y[0] != torch.stack(outputs)
    ulp = 2.0**-23 if dtype == "float32" else 2.0**-52
    assert ((torch.stack(membranes)[differs] - 1).abs() <= 4 * ulp).all()
    assert differs.float().mean() < 1e-3
    after = type(c.state)(*(torch.cat([s[1:], f[None]]) for s, f in zip(every, state, strict=True)))
    for found, wanted in zip(last, after, strict=True):
        assert torch.allclose(found[~differs], wanted[~differs], rtol=1e-5, atol=1e-6)


@every_model
def test_nan_and_infinity_go_the_same_way(name):
    c = case(*options(name, "float32"))
    c.x[3, 0, 2], c.x[5, 1, 4], c.x[7, 2, 6], c.x[9, 0, 14] = math.nan, math.inf, -math.inf, 1e38
    fast, plain = execute(c, "cpu"), execute(c, "reference")

    def same(a: torch.Tensor, b: torch.Tensor) -> bool:
        if name == "exact":  # its exponentials are another library's
            return torch.allclose(a, b, rtol=1e-4, atol=1e-4, equal_nan=True)
        return torch.equal(a.nan_to_num(7), b.nan_to_num(7))

    assert same(fast.y, plain.y)
    assert all(same(a, b) for a, b in zip(fast.last, plain.last, strict=True))
    # Neurons that only saw finite currents keep finite gradients.
    clean = torch.isfinite(c.x).all(0) & (c.x < 1e37).all(0)
    assert torch.isfinite(fast.grads["x"][:, clean]).all()
    assert distance(fast.grads["x"][:, clean], plain.grads["x"][:, clean]) < 1e-5


@pytest.mark.parametrize("name", ["lif-soft", "current-lif-hard", "quantiser"])
def test_inputs_that_are_views(name):
    c = case(*options(name, "float32"))
    wanted = execute(c, "cpu")
    turned = c._replace(x=c.x.permute(2, 0, 1).contiguous().permute(1, 2, 0), gy=c.gy.mT.contiguous().mT)
    every_second = torch.zeros(*c.x.shape[:2], 30)[..., ::2].copy_(c.x)
    strided = c._replace(x=every_second, state=type(c.state)(*(s.mT.contiguous().mT for s in c.state)))
    for view in (turned, strided):
        assert not view.x.is_contiguous()
        found = execute(view, "cpu")
        assert torch.equal(found.y, wanted.y)
        assert all(torch.equal(found.grads[key], value) for key, value in wanted.grads.items())


@pytest.mark.parametrize("name", ["lif-soft", "current-lif-soft", "integrator", "quantiser"])
def test_an_input_that_does_not_change_is_read_as_a_view(name):
    c = case(*options(name, "float64"))
    direct = c._replace(x=c.x[:1].expand(c.x.shape))
    fast, plain = execute(direct, "cpu"), execute(c._replace(x=direct.x.contiguous()), "reference")
    assert torch.equal(fast.y, plain.y)
    for key, value in plain.grads.items():
        assert distance(fast.grads[key], value) < 1e-10, key


@pytest.mark.parametrize("shape", [(0, 3, 15), (4, 0, 15), (0, 0, 15), (3, 2, 0)])
def test_nothing_to_do(shape):
    for name in ("lif-soft", "adaptive-lif-hard"):
        c = case(*options(name, "float32"))
        parts = [torch.rand(shape[1:]) for _ in c.state]
        empty = c._replace(
            x=torch.rand(shape), gy=torch.rand(shape), state=type(c.state)(*parts), carries=type(c.state)(*parts)
        )
        fast, plain = execute(empty, "cpu"), execute(empty, "reference")
        assert fast.y.shape == plain.y.shape == shape
        assert all(map(torch.equal, fast.last, plain.last))
        assert all(torch.equal(fast.grads[key], value) for key, value in plain.grads.items())


@settings(max_examples=25, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    name=st.sampled_from(["lif-soft", "if-hard", "adaptive-lif-none", "refractory-soft", "bisnn"]),
    steps=st.integers(1, 12),
    batch=st.integers(0, 5),
    features=st.lists(st.integers(1, 7), max_size=3),
    low=st.floats(-0.5, 1.2),
    threads=st.integers(1, 3),
    seed=st.integers(0, 1000),
)
def test_shapes_and_constants_drawn_at_random(name, steps, batch, features, low, threads, seed):
    shape = (steps, batch, *features)
    c = case(*options(name, "float32"))
    source = torch.Generator().manual_seed(seed)
    p = type(c.constants)(*(low + torch.rand((), generator=source) for _ in c.constants))
    state = type(c.state)(*(torch.rand(shape[1:], generator=source) for _ in c.state))
    gy = torch.rand(shape, generator=source)
    c = c._replace(x=currents(name, shape, torch.float32, seed), state=state, constants=p, gy=gy, carries=state)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        fast, plain = execute(c, "cpu"), execute(c, "reference")
    finally:
        torch.set_num_threads(before)
    assert torch.equal(fast.y, plain.y)
    assert all(torch.equal(a.nan_to_num(7), b.nan_to_num(7)) for a, b in zip(fast.last, plain.last, strict=True))
    assert all(fast.grads[key].shape == wanted.shape for key, wanted in plain.grads.items())
    check_along_run(c, fast)


def test_threads_and_blocks_change_nothing():
    neuron, x = LIF(tau=3.0), currents("lif-soft", (9, 40, 301), torch.float32)
    neuron.back_end, before, seen = "cpu", torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            seen.append(neuron(x))
    finally:
        torch.set_num_threads(before)
    neuron.back_end = "reference"
    assert all(torch.equal(y, neuron(x)) for y in seen)


@pytest.mark.parametrize("name", ["exp", "expm1", "log1p"])
def test_functions_in_float32_are_within_two_units_in_the_last_place(name):
    recurrence = Recurrence(FUNCTION_STEPS[name], Nothing, None, lambda u: u)
    source = torch.Generator().manual_seed(0)
    wide = torch.rand(40_000, generator=source, dtype=torch.float64) * 192 - 104
    tiny = 10 ** (torch.rand(40_000, generator=source, dtype=torch.float64) * 83 - 45)
    x = torch.cat([wide, torch.randn(40_000, generator=source), tiny, -tiny, -1 + tiny.clamp(1e-7, 0.5)]).float()
    x = x[x > -1] if name == "log1p" else x
    y, _ = run(recurrence, x.view(1, -1), Nothing(torch.zeros_like(x)), (), "cpu")
    wanted = getattr(torch, name)(x.double())
    # The distance to the next float32: 2^-23 of the binade, no less than the smallest one.
    ulp = torch.exp2(wanted.abs().clamp(min=2.0**-126).log2().floor() - 23)
    inside = wanted.abs() < torch.finfo(torch.float32).max
    assert (((y[0] - wanted) / ulp).abs()[inside] <= 2).all()
    assert (y[0][~inside] == math.inf).all()
    edges = torch.tensor([[math.nan, math.inf, -math.inf, -1.0, 0.0, -2.0, 200.0, -200.0]])
    y, _ = run(recurrence, edges, Nothing(torch.zeros(8)), (), "cpu")
    assert torch.allclose(y, getattr(torch, name)(edges), rtol=1e-6, equal_nan=True)
