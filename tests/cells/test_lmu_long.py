"""Long runs of the LMU: chunks of steps and slices of the batch give what the plain loop gives."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from bitspike.cells import LMU, ParallelLMU
from bitspike.cells.lmu_chunks import serves
from bitspike.cells.lmu_slices import keep_bits, slices
from bitspike.neurons import at_step, redraw_carry

from . import lmu_cells
from .lmu_cells import gradients


@pytest.fixture(params=[1, 2])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def made(back_end: str, dtype: torch.dtype, hybrid: bool, **options: Any) -> LMU:
    """Feedback small enough to forget a rounding."""
    return lmu_cells.made(back_end, dtype, hybrid, own_leak=hybrid, spread=0.1, **options)


def drawn(steps: int, batch: int, dtype: torch.dtype) -> Tensor:
    return torch.randn(steps, batch, 3, generator=torch.Generator().manual_seed(0)).to(dtype)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("steps", [41, 48])
def test_chunks_of_a_static_memory_are_the_plain_loop(steps: int, dtype: torch.dtype, threads: int) -> None:
    x = drawn(steps, 13, dtype)
    plain, cell = made("reference", dtype, False), made("cpu", dtype, False)
    assert serves(cell._cell(x), steps, 13)
    for last in (1, 20, steps):
        fast, found = gradients(cell, x, last)
        torch.set_num_threads(1)
        y, expected = gradients(plain, x, last)
        torch.set_num_threads(threads)
        assert float((fast - y).norm() / y.norm()) < (2e-5 if dtype == torch.float32 else 1e-12)
        for a, b in zip(found, expected, strict=True):
            assert float((a - b).norm() / b.norm()) < (2e-5 if dtype == torch.float32 else 1e-12)
        plain.zero_grad(), cell.zero_grad()


def test_who_watches_a_static_memory_sees_the_plain_loops_states() -> None:
    x, seen = drawn(41, 13, torch.float64), []
    for back_end in ("reference", "cpu"):
        cell = made(back_end, torch.float64, False)
        cell.watchers.append(lambda x, m, h: seen.append((m, h)))
        y, state = cell.run(x, last=1)
        assert torch.allclose(state.m, seen[-1][0][-1])
        assert torch.equal(y[0], seen[-1][1][-1])
    (m, h), (found_m, found_h) = seen
    assert torch.allclose(found_m, m, atol=1e-12)
    assert torch.allclose(found_h, h, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("batch", [1, 6, 21])
def test_whole_numbers_do_not_depend_on_the_slices(batch: int, dtype: torch.dtype, threads: int) -> None:
    x = drawn(20, batch, dtype)
    y, expected = gradients(made("reference", dtype, True), x, 20)
    fast, found = gradients(made("cpu", dtype, True), x, 20)
    assert torch.equal(fast, y)
    for a, b in zip(found, expected, strict=True):
        assert float((a - b).norm() / b.norm()) < (2e-5 if dtype == torch.float32 else 1e-12)


def test_slices_cover_the_batch_and_a_trial_tells_whether_they_keep_its_bits(threads: int) -> None:
    for batch in (1, 3, 4, 5, 100, 101):
        cut = slices(batch)
        assert cut[0][0] == 0
        assert cut[-1][1] == batch
        assert all(a[1] == b[0] for a, b in itertools.pairwise(cut))
        assert len(cut) <= threads
        kept = keep_bits(batch, ((1, 24, 12), (2, 24, 1)), torch.float32)
        assert kept or len(cut) > 1, "a single slice is the whole"


@pytest.mark.parametrize("batch", [4, 16])
def test_bfloat16_products_are_near_in_steps_and_in_chunks(batch: int, threads: int) -> None:
    x = drawn(40, batch, torch.float32)
    y, expected = gradients(made("cpu", torch.float32, False), x, 40)
    near, found = gradients(made("cpu", torch.float32, False, products="fast"), x, 40)
    assert not torch.equal(y, near)
    assert float((y - near).abs().max()) < 0.02
    for a, b in zip(found, expected, strict=True):
        assert float((a - b).norm() / b.norm()) < 0.03


def test_without_steps_a_hybrid_keeps_its_limits() -> None:
    x = drawn(40, 16, torch.float64) * 3
    found = []
    for back_end in ("reference", "cpu"):
        cell = made(back_end, torch.float64, True)
        with at_step(cell, math.inf):
            redraw_carry(cell, 0, "static")
            found.append(gradients(cell, x, 40))
    (y, expected), (fast, gradient) = found
    assert torch.allclose(fast, y, atol=1e-12)
    for a, b in zip(gradient, expected, strict=True):
        assert torch.allclose(a, b, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("nonlinearity", ["tanh", "relu"])
@pytest.mark.parametrize(("inputs", "signals"), [(1, 1), (3, 2)])
def test_the_parallel_form_reads_a_memory_it_does_not_compute(
    inputs: int, signals: int, nonlinearity: str, dtype: torch.dtype, threads: int
) -> None:
    cell = ParallelLMU(inputs, 12, 16, 20.0, signals, nonlinearity).to(dtype)
    with torch.no_grad():
        for weight in (cell.from_memory.bias, cell.from_input.weight):
            weight.normal_(generator=torch.Generator().manual_seed(1))
    x = torch.randn(75, 8, inputs, dtype=dtype, generator=torch.Generator().manual_seed(2), requires_grad=True)
    trained = [x, *(p for p in cell.parameters() if p.requires_grad)]
    cell(x)  # sets the scale

    def results() -> list[Tensor]:
        y = cell(x)
        every = torch.autograd.grad((y * y.detach().cos()).sum(), trained, retain_graph=True)
        return [y.detach(), *every, *torch.autograd.grad(y.mean(0).square().sum(), trained)]

    assert cell._readable(x, 75)
    found = results()
    # Whoever listens to the layer gets it, with the states it is given.
    cell.from_memory.register_forward_hook(lambda *_: None)
    assert not cell._readable(x, 75)
    for a, b in zip(found, results(), strict=True):
        assert float((a - b).norm() / b.norm()) < (2e-5 if dtype == torch.float32 else 1e-12)
