"""The recurrence as a torch operator: gradcheck, vmap, compile, autocast, and errors."""

from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from bitspike.errors import BitspikeError
from bitspike.kernels import Recurrence, back_end_for, maximum, minimum, run, scan
from bitspike.neurons import LIF, Surrogate, lif_fire, with_reset
from bitspike.neurons.lif import LIFConstants, LIFState


class Smooth(NamedTuple):
    a: Any
    b: Any


class Gains(NamedTuple):
    k: Any
    c: Any


def smooth_step(x: Any, state: Smooth, p: Gains, spike: Any) -> tuple[Any, Smooth]:
    """Differentiable everywhere it is tried, so that finite differences can judge the adjoint."""
    a = p.k * state.a + x * state.b
    b = state.b / (1 + a * a) + p.c * x
    return a * b - maximum(a, 0.1), Smooth(a, b)


SMOOTH = Recurrence(smooth_step, Smooth, Gains, lambda u: u)
LIF_SOFT = Recurrence(with_reset(lif_fire, "soft"), LIFState, LIFConstants, Surrogate("fast-sigmoid"))


def draw(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def test_gradcheck_of_every_input() -> None:
    inputs = [draw(5, 2, 3), draw(2, 3, seed=1), draw(2, 3, seed=2), draw(3, seed=3), draw(1, seed=4)[0]]

    def function(x: Tensor, a: Tensor, b: Tensor, k: Tensor, c: Tensor) -> tuple[Tensor, ...]:
        y, last = run(SMOOTH, x, Smooth(a, b), Gains(k, c), "cpu")
        return y, *last

    assert torch.autograd.gradcheck(function, [i.requires_grad_() for i in inputs])


def test_a_bound_that_is_a_constant_gets_its_gradient() -> None:
    def bounded_step(x: Any, state: LIFState, p: LIFConstants, spike: Any) -> tuple[Any, LIFState]:
        v = minimum(maximum(p.beta * state.v + x, -p.theta), p.theta)
        return v, LIFState(v)

    recurrence = Recurrence(bounded_step, LIFState, LIFConstants, Surrogate())
    x = draw(6, 2, 3)
    found = []
    for back_end in ("cpu", "reference"):
        theta = torch.tensor(0.6, dtype=torch.float64, requires_grad=True)
        y, _ = run(recurrence, x, LIFState(torch.zeros_like(x[0])), LIFConstants(0.9, theta), back_end)
        found.append(torch.autograd.grad((y * x).sum(), theta)[0])
    assert torch.allclose(*found, rtol=1e-12)
    assert found[0] != 0


def test_only_what_is_asked_for_gets_a_gradient() -> None:
    x, state = draw(6, 2, 3), LIFState(torch.zeros(2, 3, dtype=torch.float64))
    theta = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    y, _ = run(LIF_SOFT, x, state, LIFConstants(0.8, theta), "cpu")
    y.sum().backward()
    found = theta.grad
    theta.grad = None
    reference, _ = scan(with_reset(lif_fire, "soft"), x, state, LIFConstants(0.8, theta), LIF_SOFT.spike)
    reference.sum().backward()
    assert torch.allclose(found, theta.grad, rtol=1e-12)


def test_gradient_of_the_final_state_alone() -> None:
    x = draw(6, 2, 3).requires_grad_()
    _, last = run(LIF_SOFT, x, LIFState(torch.zeros(2, 3, dtype=torch.float64)), LIFConstants(0.8, 1e9), "cpu")
    last.v.sum().backward()
    # Without a spike v_T = sum 0.8^(T - t) x_t.
    assert torch.allclose(x.grad[:, 0, 0], 0.8 ** torch.arange(5, -1, -1, dtype=torch.float64))


def test_vmap_over_clients_with_their_own_constants() -> None:
    x, v = draw(4, 7, 2, 3), draw(4, 2, 3, seed=1)
    beta, theta = torch.rand(4, 3, dtype=torch.float64), torch.rand(4, dtype=torch.float64)

    def loss(x: Tensor, v: Tensor, beta: Tensor, theta: Tensor) -> Tensor:
        y, last = run(LIF_SOFT, x, LIFState(v), LIFConstants(beta, theta), "cpu")
        return (y * x.detach()).sum() + last.v.square().sum()

    grads = torch.func.vmap(torch.func.grad(loss, argnums=(0, 1, 2, 3)))(x, v, beta, theta)
    for client in range(4):
        own = [t[client].clone().requires_grad_() for t in (x, v, beta, theta)]
        wanted = torch.autograd.grad(loss(*own), own)
        for found, want in zip(grads, wanted, strict=True):
            assert torch.allclose(found[client], want, rtol=1e-10, atol=1e-12)


def test_vmap_with_shared_constants_gives_each_client_its_gradient() -> None:
    x, beta = draw(3, 5, 2, 3), torch.tensor(0.6, dtype=torch.float64)

    def loss(x: Tensor, beta: Tensor) -> Tensor:
        y, _ = run(LIF_SOFT, x, LIFState(torch.zeros_like(x[0])), LIFConstants(beta, 0.5), "cpu")
        return (y * x.detach()).sum()

    found = torch.func.vmap(torch.func.grad(loss, argnums=1), in_dims=(0, None))(x, beta)
    for client in range(3):
        own = beta.clone().requires_grad_()
        assert torch.allclose(found[client], torch.autograd.grad(loss(x[client], own), own)[0], rtol=1e-10)


def test_the_operator_passes_torchs_own_checks() -> None:
    x = draw(4, 2, 3, dtype=torch.float32).requires_grad_()
    key = _key()
    arguments = (x, [torch.zeros(2, 3)], [torch.tensor(0.9), torch.tensor(1.0)], key, "cpu", [1, 1, 0, 0, 0])
    tests = ("test_schema", "test_faketensor")
    assert set(torch.library.opcheck(torch.ops.bitspike.scan, arguments, test_utils=tests).values()) == {"SUCCESS"}


def _key() -> str:
    from bitspike.kernels.operator import define

    return define(LIF_SOFT.traced)


# torch's own tracer instantiates every autograd.Function, which torch deprecates.
@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")
def test_compiles_without_a_graph_break() -> None:
    layer = LIF(learn=("tau", "theta"))
    x = draw(4, 2, 3, dtype=torch.float32).requires_grad_()
    compiled = torch.compile(layer, backend="aot_eager", fullgraph=True)
    layer(x).sum().backward()
    wanted = x.grad
    x.grad = None
    compiled(x).sum().backward()
    assert torch.equal(x.grad, wanted)


def test_a_second_derivative_is_refused_not_silently_zero() -> None:
    x = draw(4, 2, 3).requires_grad_()
    y, _ = run(LIF_SOFT, x, LIFState(torch.zeros(2, 3, dtype=torch.float64)), LIFConstants(0.8, 0.5), "cpu")
    with pytest.raises(BitspikeError, match=r"^gradient: got a derivative of a gradient"):
        torch.autograd.grad(y.square().sum(), x, create_graph=True)


def test_half_precision_is_computed_in_float32() -> None:
    x = draw(6, 2, 3, dtype=torch.float32)
    y = LIF()(x.bfloat16())
    assert y.dtype == torch.bfloat16
    assert torch.equal(y.float(), LIF()(x.bfloat16().float()))


def test_asked_for_or_an_error() -> None:
    x = torch.zeros(3, 2, 4)
    assert back_end_for(LIF_SOFT, x).back_end == "cpu"
    assert back_end_for(LIF_SOFT, x, "reference").back_end == "reference"
    with pytest.raises(BitspikeError, match=r"back end: got 'cuda'.*input is on cpu"):
        back_end_for(LIF_SOFT, x, "cuda")
    with pytest.raises(BitspikeError, match="back end: got 'gpu'"):
        back_end_for(LIF_SOFT, x, "gpu")


def test_a_step_that_calls_torch_runs_on_the_reference_and_says_why() -> None:
    def cosine_step(x: Any, state: LIFState, p: LIFConstants, spike: Any) -> tuple[Any, LIFState]:
        v = p.beta * state.v + torch.cos(x)
        return spike(v - p.theta), LIFState(v)

    recurrence = Recurrence(cosine_step, LIFState, LIFConstants, Surrogate())
    x = torch.zeros(3, 2, 4)
    choice = back_end_for(recurrence, x)
    assert choice.back_end == "reference"
    assert "cosine_step" in choice.reason
    with pytest.raises(BitspikeError, match=r"back end: got 'cpu'.*cosine_step"):
        run(recurrence, x, LIFState(x[0]), LIFConstants(0.9, 1.0), "cpu")
    y, _ = run(recurrence, x, LIFState(x[0]), LIFConstants(0.9, 1.0))
    assert y[:, 0, 0].tolist() == [1.0, 1.0, 1.0]


def test_a_branch_on_a_value_is_explained() -> None:
    def branching_step(x: Any, state: LIFState, p: LIFConstants, spike: Any) -> tuple[Any, LIFState]:
        return (x, state) if x > 0 else (-x, state)

    reason = Recurrence(branching_step, LIFState, LIFConstants, Surrogate()).untraceable
    assert reason is not None
    assert "choose" in reason


def test_shapes_that_do_not_fit() -> None:
    x = torch.zeros(3, 2, 4)
    with pytest.raises(BitspikeError, match="state"):
        run(LIF_SOFT, x, LIFState(torch.zeros(2, 5)), LIFConstants(0.9, 1.0))
    with pytest.raises(BitspikeError, match=r"constant: got \(5,\)"):
        run(LIF_SOFT, x, LIFState(x[0]), LIFConstants(torch.ones(5), 1.0))
