"""Average pools of our own against PyTorch's, and when they are PyTorch's."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from bitspike.errors import BitspikeError
from bitspike.layers import AveragePool
from bitspike.layers.average import _Average


def both(pool: nn.Module, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    x = x.clone(memory_format=torch.preserve_format).requires_grad_()
    y = pool(x)
    source = torch.Generator().manual_seed(1)
    y.backward(torch.randn(y.shape, generator=source, dtype=y.dtype))
    assert x.grad is not None
    return y.detach(), x.grad


@settings(max_examples=40, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 5), st.integers(1, 4), st.integers(2, 19), st.integers(2, 19)),
    dtype=st.sampled_from([torch.float32, torch.float64]),
)
def test_values_and_gradients_are_pytorchs_bit_for_bit(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=dtype)
    for mine, theirs in zip(both(AveragePool(2), x), both(nn.AvgPool2d(2), x), strict=True):
        assert torch.equal(mine, theirs)


def test_what_is_not_in_one_piece_and_a_thread_or_two() -> None:
    x = torch.randn(64, 9, 33, 40, generator=torch.Generator().manual_seed(0))
    before = torch.get_num_threads()
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            for part in (x, x.transpose(2, 3), x[:, ::2], x.expand(64, 9, 33, 40)[:0]):
                for mine, theirs in zip(both(AveragePool(2), part), both(nn.AvgPool2d(2), part), strict=True):
                    assert torch.equal(mine, theirs)
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("pool", "shape", "own"),
    [
        (AveragePool(2), (2, 3, 8, 8), True),
        (AveragePool((2, 2), stride=2), (2, 3, 7, 9), True),
        (AveragePool(3), (2, 3, 9, 9), False),
        (AveragePool(2, stride=1), (2, 3, 8, 8), False),
        (AveragePool(2, padding=1), (2, 3, 8, 8), False),
        (AveragePool(2, ceil_mode=True), (2, 3, 7, 7), False),
        (AveragePool(2), (3, 8, 8), False),
    ],
)
def test_windows_of_other_kinds_are_left_to_pytorch(pool: AveragePool, shape: tuple[int, ...], own: bool) -> None:
    x = torch.randn(shape, requires_grad=True)
    y = pool(x)
    assert (type(y.grad_fn) is type(_Average.apply(torch.randn(1, 1, 2, 2, requires_grad=True)).grad_fn)) == own
    plain = nn.AvgPool2d(pool.kernel_size, pool.stride, pool.padding, pool.ceil_mode)
    assert torch.equal(y, plain(x))
    with torch.no_grad():
        assert torch.equal(pool(x), plain(x))


def test_vmap_and_second_derivatives_are_pytorchs_or_refused() -> None:
    pool, x = AveragePool(2), torch.randn(4, 2, 3, 8, 8)
    gradient = torch.func.grad(lambda part: pool(part).square().sum())
    wanted = torch.func.grad(lambda part: nn.AvgPool2d(2)(part).square().sum())
    assert torch.equal(torch.func.vmap(gradient)(x), torch.func.vmap(wanted)(x))
    one = x[0].requires_grad_()
    with pytest.raises(BitspikeError, match=r"^gradient: got a derivative of a gradient"):
        torch.autograd.grad(pool(one).square().sum(), one, create_graph=True)


def test_a_single_row_is_refused_as_by_pytorch() -> None:
    with pytest.raises(RuntimeError, match="too small"):
        AveragePool(2)(torch.randn(1, 1, 1, 8, requires_grad=True))
