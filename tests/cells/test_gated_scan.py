"""LSTM and GRU without a graph over time: PyTorch's layers, in value and gradient; states keep their precision."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from bitspike.cells.gated_scan import gated_scan

from ..nearness import FEW, off

LAYERS = {"lstm": nn.LSTM, "gru": nn.GRU}


def weights(layer: nn.Module) -> tuple[Tensor, ...]:
    return tuple(layer.get_parameter(f"{name}_l0") for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))


def layer(kind: str, inputs: int, hidden: int, dtype: torch.dtype) -> nn.Module:
    made: nn.Module = LAYERS[kind](inputs, hidden)
    draw = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in made.parameters():
            weight.normal_(0, 0.4, generator=draw)
    return made.to(dtype)


@pytest.mark.parametrize("kind", list(LAYERS))
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("last", [1, 4, 20])
def test_values_and_gradients_are_those_of_pytorch(kind: str, dtype: torch.dtype, last: int) -> None:
    made = layer(kind, 3, 7, dtype)
    draw = torch.Generator().manual_seed(1)
    x = torch.randn(20, 5, 3, dtype=dtype, generator=draw).requires_grad_()
    exact = copy.deepcopy(made).double()
    same = x.detach().double().requires_grad_()
    wanted = exact(same)[0][-last:]
    found = gated_scan(kind, x, weights(made), last, dtype)
    assert off(found, wanted) < FEW[dtype]
    onto = torch.randn(wanted.shape, dtype=dtype, generator=draw)
    for a, b in zip(
        torch.autograd.grad((found * onto).sum(), (x, *weights(made))),
        torch.autograd.grad((wanted * onto.double()).sum(), (same, *weights(exact))),
        strict=True,
    ):
        assert a.dtype == dtype
        assert off(a, b) < FEW[dtype]


@pytest.mark.parametrize("kind", list(LAYERS))
def test_a_second_backward_pass_gives_the_same(kind: str) -> None:
    made = layer(kind, 2, 5, torch.float64)
    x = torch.randn(6, 3, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    y = gated_scan(kind, x, weights(made), 6, torch.float64).square().sum()
    one = torch.autograd.grad(y, weights(made), retain_graph=True)
    for a, b in zip(one, torch.autograd.grad(y, weights(made)), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("kind", list(LAYERS))
def test_bfloat16_products_keep_what_a_slow_leak_gathers(kind: str) -> None:
    """Every step adds a thousandth of what is missing: lost at once where the state itself has 8 bits."""
    made = LAYERS[kind](1, 4)
    with torch.no_grad():
        for weight in made.parameters():
            weight.zero_()
        bias = made.bias_ih_l0
        if kind == "lstm":
            bias.copy_(torch.tensor([-6.9, 20.0, 20.0, 20.0]).repeat_interleave(4))
        else:
            bias.copy_(torch.tensor([0.0, 6.9, 20.0]).repeat_interleave(4))
    x = torch.ones(784, 2, 1)
    wanted = made(x)[0][-1]
    found = gated_scan(kind, x, weights(made), 1, torch.bfloat16)[-1]
    assert torch.allclose(found, wanted, rtol=1e-3)
    assert wanted.min() > 0.5


@pytest.mark.parametrize("kind", list(LAYERS))
def test_gradients_with_bfloat16_products_are_close(kind: str) -> None:
    made = layer(kind, 2, 24, torch.float32)
    x = torch.randn(30, 16, 2, generator=torch.Generator().manual_seed(3))
    exact, fast = (
        torch.autograd.grad(gated_scan(kind, x, weights(made), 1, low).sum(), weights(made))
        for low in (torch.float32, torch.bfloat16)
    )
    for a, b in zip(exact, fast, strict=True):
        assert (a - b).norm() < 0.05 * a.norm()
