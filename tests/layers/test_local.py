"""Convolutions with weights of their own at every place."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from bitspike.errors import BitspikeError
from bitspike.layers import Local2d

DOUBLE = torch.float64


@pytest.mark.parametrize(("kernel", "stride", "padding"), [(3, 1, 1), (3, 2, 0), ((2, 3), (1, 2), (0, 1)), (1, 1, 0)])
def test_equal_weights_everywhere_are_a_convolution(kernel, stride, padding) -> None:
    torch.manual_seed(0)
    conv = nn.Conv2d(3, 5, kernel, stride, padding).double()
    local = Local2d(3, 5, (7, 6), kernel, stride, padding).double()
    x = torch.randn(4, 3, 7, 6, dtype=DOUBLE)
    with torch.no_grad():
        local.weight.copy_(conv.weight.permute(0, 2, 3, 1).expand_as(local.weight))
        local.bias.copy_(conv.bias.view(-1, 1, 1).expand_as(local.bias))
    assert torch.allclose(local(x), conv(x), atol=1e-12)
    last = x.to(memory_format=torch.channels_last)
    assert torch.allclose(local(last), conv(x), atol=1e-12)


def test_each_place_has_its_own_kernel() -> None:
    torch.manual_seed(0)
    local = Local2d(2, 3, 4, 3, padding=1).double()
    with torch.no_grad():
        local.bias.normal_()
    x = torch.randn(2, 2, 4, 4, dtype=DOUBLE)
    padded = nn.functional.pad(x, (1, 1, 1, 1))
    y = local(x)
    for i in range(4):
        for j in range(4):
            window = padded[:, :, i : i + 3, j : j + 3]
            want = torch.einsum("ncab,oabc->no", window, local.weight[i, j]) + local.bias[:, i, j]
            assert torch.allclose(y[:, :, i, j], want, atol=1e-12)


def test_gradients_and_start() -> None:
    local = Local2d(1, 2, 3, 2).double()
    x = torch.randn(2, 1, 3, 3, dtype=DOUBLE, requires_grad=True)
    assert torch.autograd.gradcheck(local, x)
    assert torch.autograd.gradgradcheck(local, x)
    assert local.weight.shape == (2, 2, 2, 2, 2, 1)
    assert local.weight.abs().max() <= 0.5
    one, other = Local2d(1, 2, 3, 2), Local2d(1, 2, 3, 2, bias=False)
    one.reset_parameters(torch.Generator().manual_seed(3))
    other.reset_parameters(torch.Generator().manual_seed(3))
    assert torch.equal(one.weight, other.weight)
    assert other.bias is None


def test_wrong_sizes_are_refused() -> None:
    with pytest.raises(BitspikeError, match=r"^Local2d kernel_size: got 5, wanted one that fits images of \(3, 3\)"):
        Local2d(1, 1, 3, 5)
    with pytest.raises(BitspikeError, match=r"^Local2d stride: got 0"):
        Local2d(1, 1, 3, 2, stride=0)
    with pytest.raises(BitspikeError, match=r"^Local2d input: got \(1, 1, 4, 4\), wanted \(B, 1, 3, 3\)"):
        Local2d(1, 1, 3, 2)(torch.zeros(1, 1, 4, 4))
