"""The LMU, real-valued and hybrid: its loop without a graph is the plain one, its errors stay bounded."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from bitspike.cells import LMU
from bitspike.cells.calibration import sizes_of
from bitspike.cells.legendre import all_states, discrete
from bitspike.energy import LevelCollector
from bitspike.errors import BitspikeError
from bitspike.neurons import TemporalQuantiser, redraw_carry, set_step
from bitspike.neurons.quantiser import QuantiserState

from ..nearness import FEW, off
from .lmu_cells import gradients, made


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize(("hybrid", "own_leak"), [(False, False), (True, False), (True, True)])
def test_the_loop_without_a_graph_is_the_plain_loop(hybrid: bool, own_leak: bool, dtype: torch.dtype) -> None:
    x = torch.randn(25, 4, 3, generator=torch.Generator().manual_seed(0)).to(dtype)
    for last in (1, 6, 25):
        y, expected = gradients(made("reference", dtype, hybrid, own_leak), x, last)
        fast, found = gradients(made("cpu", dtype, hybrid, own_leak), x, last)
        if hybrid:
            # Gradients run along these numbers, which float64 may round otherwise: the plain loop's own are the truth.
            assert torch.equal(fast, y), "whole numbers must be equal"
        else:
            exact = gradients(made("reference", dtype, hybrid, own_leak).double(), x.double(), last)
            assert off(fast, exact[0]) < FEW[dtype]
            expected = exact[1]
        assert len(found) == len(expected) == 8
        for a, b in zip(found, expected, strict=True):
            assert off(a, b) < FEW[dtype]


def test_gradients_are_those_of_finite_differences_where_nothing_is_quantised() -> None:
    cell = made("cpu", torch.float64, False)
    x = torch.randn(5, 2, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1), requires_grad=True)
    weights = tuple(p.detach().clone().requires_grad_() for p in cell.weights())

    def outputs(x: Tensor, *weights: Tensor) -> Tensor:
        for name, weight in zip(("e_x", "e_h", "e_m", "w_x", "w_h", "w_m", "bias"), weights, strict=True):
            del cell._parameters[name]
            cell._parameters[name] = weight  # type: ignore[assignment]
        return cell.run(x, last=2)[0]

    assert torch.autograd.gradcheck(outputs, (x, *weights))


def test_long_sequences_of_another_dtype_run_in_inference_mode() -> None:
    cell = made("cpu", torch.float32, False)
    x = torch.randn(200, 4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(8))
    with torch.inference_mode():
        found = cell(x)
    assert torch.equal(found, cell(x))


def test_a_static_memory_is_the_legendre_memory_of_its_signal() -> None:
    cell = LMU(1, 4, 8, 20.0)
    x = torch.rand(40, 3, 1, generator=torch.Generator().manual_seed(2))
    _, state = cell.run(x)
    assert off(state.m, all_states(x, 8, 20.0)[-1].flatten(1)) < 1e-4


def test_weights_of_the_paper_size_are_as_many_as_published() -> None:
    cell = LMU(1, 212, 256, 784.0)
    trained = sum(p.numel() for p in cell.parameters() if p.requires_grad) + 212 * 10 + 10
    assert trained == 102_027
    assert trained + cell.a.numel() + cell.b.numel() == 167_819
    with_bias = LMU(1, 212, 256, 784.0, bias=True)
    assert sum(p.numel() for p in with_bias.parameters() if p.requires_grad) + 2130 == 102_239
    assert bool((cell.e_x == 1).all())
    assert all(bool((w == 0).all()) for w in (cell.e_h, cell.e_m, cell.w_x, cell.w_h))


@pytest.mark.parametrize(("hybrid", "steps"), [(True, 12), (False, 12), (False, 300)])
def test_gradients_pass_through_the_state_from_slice_to_slice(hybrid: bool, steps: int) -> None:
    """Of 300 steps, where the loop without a graph takes chunks of them."""
    source = torch.Generator().manual_seed(6)
    x = torch.randn(steps, 3, 3, dtype=torch.float64, generator=source)
    found = []
    for back_end in ("reference", "cpu"):
        cell = made(back_end, torch.float64, hybrid, hybrid)
        given, start = x.clone().requires_grad_(), cell.initial(x[0])
        h, m = (part.clone().requires_grad_() for part in (start.h, start.m))
        state = start._replace(h=h, m=m)
        for piece in given.split(steps // 2):
            y, state = cell.run(piece, state, last=1)
        (y.square().sum() + state.m.square().sum() + state.h.sum()).backward()
        found.append([h.grad, m.grad, given.grad, cell.w_h.grad, cell.w_m.grad, cell.e_x.grad])
    for a, b in zip(*found, strict=True):
        assert a is not None
        assert b is not None
        assert off(b, a) < FEW[torch.float64] * steps / 12  # as many more roundings in a row


@pytest.mark.parametrize("back_end", ["reference", "cpu"])
def test_a_state_of_other_units_or_another_mode_is_refused(back_end: str) -> None:
    cell, x = made(back_end, torch.float32, True), torch.zeros(4, 3, 3)
    whole, state = cell.run(x)
    for part, wrong, message in (
        ("h", state.h[:1], r"lmu state h: got \(1, 12\), wanted \(3, 12\)"),
        ("memory", QuantiserState(state.memory.v[:1]), r"lmu state memory: got \(1, 16\), wanted \(3, 16\)"),
        ("hidden", QuantiserState(state.hidden.v[:, :2]), r"lmu state hidden: got \(3, 2\), wanted \(3, 12\)"),
        ("memory", None, "lmu state memory: got NoneType, wanted QuantiserState"),
    ):
        with pytest.raises(BitspikeError, match=message):
            cell.run(x, state._replace(**{part: wrong}))
    begin = cell.initial(x[0])
    wide = begin._replace(
        memory=QuantiserState(begin.memory.v.double()), hidden=QuantiserState(begin.hidden.v.double())
    )
    assert torch.equal(cell.run(x, wide)[0], whole)


def test_pieces_of_a_sequence_are_the_whole() -> None:
    for back_end in ("reference", "cpu"):
        cell = made(back_end, torch.float64, True, True)
        x = torch.randn(20, 2, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
        whole, end = cell.run(x)
        first, state = cell.run(x[:7])
        second, last = cell.run(x[7:], state)
        assert torch.equal(torch.cat([first, second]), whole)
        assert torch.equal(end.m, last.m)


def test_every_state_of_a_hybrid_is_a_whole_number_of_steps_within_its_limit() -> None:
    cell = made("cpu", torch.float32, True).eval()
    x = torch.randn(60, 8, 3, generator=torch.Generator().manual_seed(6)) * 3
    with LevelCollector(cell, cell.fan_out()) as collector, torch.no_grad():
        cell.run(x, last=1)
    levels = collector.levels()
    assert levels.layers["memory"].largest == 6
    assert levels.layers["spikes"].largest == 2
    assert levels.layers["memory"].most_levels <= 13
    assert levels.layers["spikes"].most_levels <= 5
    assert levels.layers["memory"].values == 60 * 8 * 16
    assert levels.total.adds is not None
    assert levels.total.adds > 0


def test_rounding_without_carry_drifts_and_with_carry_does_not() -> None:
    """The ablation: the same recurrent memory, the residual thrown away at every step."""
    steps, order = 400, 16
    x = torch.rand(steps, 32, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    exact = all_states(x, order, 100.0).flatten(2)
    dt = 6 / exact.square().mean((0, 1)).sqrt()

    def error(mode: str, own_leak: bool) -> Tensor:
        memory = TemporalQuantiser(dt, mode=mode, keys=(2, mode))
        cell = LMU(1, 2, order, 100.0, memory=memory, own_leak=own_leak, back_end="reference").double().eval()
        memory.final = dt
        state, m = None, []
        for x_t in x.split(1):
            _, state = cell.run(x_t, state)
            m.append(state.m)
        # Relative to each unit, over the second half; averaged over 20 steps, which leaves what accumulates.
        off = ((torch.stack(m) - exact) * dt / 6)[steps // 2 :]
        return off.unflatten(0, (-1, 20)).mean(1).square().mean().sqrt()

    carried, thrown, own = error("carry", False), error("stochastic", False), error("carry", True)
    assert thrown > 3 * carried
    assert own < carried


def test_calibration_puts_the_limit_at_the_range_asked_for_and_happens_once() -> None:
    memory = TemporalQuantiser(torch.full((8,), 2.0), limit=8)
    cell = LMU(1, 4, 8, 20.0, memory=memory, memory_range=4.0).train()
    set_step(cell, 16.0)
    x = torch.rand(50, 10, 1, generator=torch.Generator().manual_seed(0))
    cell(x)
    size = all_states(x, 8, 20.0).flatten(2).square().mean((0, 1)).sqrt()
    assert torch.allclose(memory.final, 8 / (4 * size), rtol=1e-4)
    assert torch.allclose(memory.dt, 16 * memory.final, rtol=1e-6), "the schedule's factor is kept"
    before = memory.final.clone()
    cell(2 * x)
    assert torch.equal(memory.final, before)
    other = LMU(1, 4, 8, 20.0, memory=TemporalQuantiser(torch.full((8,), 2.0), limit=8), memory_range=4.0)
    other.load_state_dict(cell.state_dict())
    assert bool(other.calibrated)
    assert other.memory is not None
    assert torch.equal(other.memory.final, before)


def test_a_signal_that_is_silent_at_first_gets_the_size_of_the_others() -> None:
    source = torch.Generator().manual_seed(0)
    states = torch.randn(40, 6, 3, 5, generator=source)
    states[:, :, 1] = 0
    sizes = sizes_of(states).view(3, 5)
    own = states.double().square().mean((0, 1)).sqrt()
    assert torch.allclose(sizes[[0, 2]], own[[0, 2]], rtol=1e-12)
    assert torch.equal(sizes[1], sizes[[0, 2]].median(0).values)
    assert torch.equal(sizes_of(torch.zeros(4, 2, 3, 5)), torch.ones(15, dtype=torch.float64))


@pytest.mark.parametrize("back_end", ["reference", "cpu"])
def test_a_normalised_memory_is_the_same_network_with_its_factors_in_the_weights(back_end: str) -> None:
    torch.manual_seed(0)
    cell = LMU(1, 6, 8, 20.0, normalise=True, back_end=back_end).train()
    with torch.no_grad():
        cell.e_m.normal_(0, 0.1)
        cell.w_h.normal_(0, 0.1)
    x = torch.rand(50, 10, 1, generator=torch.Generator().manual_seed(0))
    found = cell(x)
    size = all_states(x, 8, 20.0).flatten(2).square().mean((0, 1)).sqrt()
    assert torch.allclose(cell.scale, 1 / size, rtol=1e-4)
    plain = LMU(1, 6, 8, 20.0, back_end=back_end)
    plain.load_state_dict(cell.state_dict())
    with torch.no_grad():
        plain.w_m.mul_(cell.scale)
        plain.e_m.mul_(cell.scale)
    plain.scale.fill_(1.0)
    assert off(plain(x), found) < 1e-4


@pytest.mark.parametrize("hybrid", [False, True])
def test_training_without_feedback_is_the_cell_whose_feedback_is_zero(hybrid: bool) -> None:
    """Real-valued: the same numbers. Hybrid: the same up to the drawn carries, here made as fine as real numbers."""
    fast, plain = (made("cpu", torch.float64, hybrid, own_leak=hybrid) for _ in range(2))
    for cell in (fast, plain):
        cell.a, cell.b = discrete(8, 10.0)
        if hybrid:
            set_step(cell, 1e6)
        with torch.no_grad():
            for weight in (cell.e_h, cell.e_m, cell.w_h):
                weight.zero_()
    fast.feed_forward = True
    x = torch.randn(30, 4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(7)) / 40
    for last in (1, 5):
        y, expected = gradients(plain, x, last)
        found, grads = gradients(fast, x, last)
        assert torch.allclose(found, y, atol=1e-4 if hybrid else 1e-12)
        # Weights of feedback get no gradient at all: an optimiser leaves them alone.
        assert fast.e_h.grad is fast.e_m.grad is fast.w_h.grad is None
        kept = [e for e, p in zip(expected[1:], plain.parameters(), strict=True)
                if not any(p is w for w in (plain.e_h, plain.e_m, plain.w_h))]  # fmt: skip
        for a, b in zip(grads, [expected[0], *kept], strict=True):
            assert torch.allclose(a, b, atol=1e-3 if hybrid else 1e-10)
        for cell in (fast, plain):
            cell.zero_grad()
    fast.eval()
    assert torch.equal(fast.run(x)[0], plain.eval().run(x)[0]), "evaluation runs the loop"


def test_draws_have_names() -> None:
    cell = made("cpu", torch.float32, True)
    x = torch.randn(10, 2, 3, generator=torch.Generator().manual_seed(0))
    redraw_carry(cell, 0, "carry", 1)
    first = cell(x)
    redraw_carry(cell, 0, "carry", 2)
    other = cell(x)
    redraw_carry(cell, 0, "carry", 1)
    assert torch.equal(cell(x), first)
    assert not torch.equal(first, other)


def test_bfloat16_products_train_and_never_reach_evaluation() -> None:
    x = torch.randn(30, 4, 3, generator=torch.Generator().manual_seed(0))
    exact, fast = made("cpu", torch.float32, False), made("cpu", torch.float32, False, products="fast")
    y, expected = gradients(exact, x, 1)
    near, found = gradients(fast, x, 1)
    assert not torch.equal(y, near)
    assert float((y - near).abs().max()) < 0.05
    for a, b in zip(found, expected, strict=True):
        assert float((a - b).norm() / b.norm()) < 0.15
    assert torch.equal(exact.eval()(x), fast.eval()(x))


def test_what_cannot_be_is_refused_in_one_line() -> None:
    for call in (
        lambda: LMU(0),
        lambda: LMU(1, back_end="cuda"),
        lambda: LMU(1, spikes=TemporalQuantiser(1.0, "relu")),
        lambda: LMU(1, memory=TemporalQuantiser(1.0, "tanh")),
        lambda: LMU(1, memory=TemporalQuantiser(1.0), memory_range=4.0),
        lambda: LMU(1, 4, 4, 5.0)(torch.zeros(3, 2, 2)),
        lambda: LMU(1, 4, 4, 5.0).run(torch.zeros(3, 2, 1), last=4),
        lambda: LMU(1, 4, 4, 5.0, memory=TemporalQuantiser(1.0, mode="poisson"), back_end="cpu")(torch.zeros(3, 2, 1)),
    ):
        with pytest.raises(BitspikeError, match=r"got .*, wanted"):
            call()
