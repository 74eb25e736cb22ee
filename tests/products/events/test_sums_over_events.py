"""Sums over the entries that are not zero, against torch in float64: convolutions, local and linear layers."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from bitspike.layers import Local2d
from bitspike.products.events import pack, product, unavailable
from bitspike.products.events.product import lanes_for

from ...nearness import off

pytestmark = pytest.mark.skipif(unavailable() is not None, reason=str(unavailable()))


def events(*shape: int, share: float = 0.2) -> Tensor:
    """Pooled spikes and reals of both signs, few of them not zero; a place and an example without any."""
    x = torch.where(torch.rand(shape) < share, torch.randn(shape), torch.zeros(()))
    x[0] = 0
    x[:, 1, 1] = 0
    return x


@pytest.mark.parametrize(("kernel", "stride", "padding"), [
    ((3, 3), (1, 1), (1, 1)), ((5, 5), (1, 1), (2, 2)), ((3, 2), (2, 1), (0, 1)), ((1, 1), (1, 1), (0, 0)),
    ((2, 2), (2, 2), (0, 0)), ((3, 3), (3, 2), (2, 2)),
])  # fmt: skip
@pytest.mark.parametrize("outputs", [16, 32, 112])
def test_a_convolution(kernel, stride, padding, outputs) -> None:
    torch.manual_seed(0)
    x, w, b = events(70, 7, 6, 5), torch.randn(outputs, 5, *kernel), torch.randn(outputs)
    packed = pack("shared", w.permute(0, 2, 3, 1).flatten(1, 2)[None], b[None], kernel, stride, padding)
    got = product(x, packed).permute(0, 3, 1, 2)
    want = F.conv2d(x.permute(0, 3, 1, 2).double(), w.double(), b.double(), stride, padding)
    assert got.shape == want.shape
    assert off(got, want) < 5e-6


@pytest.mark.parametrize(("stride", "padding"), [(1, 1), (2, 0)])
def test_a_local_layer(stride, padding) -> None:
    torch.manual_seed(0)
    layer = Local2d(5, 32, (7, 6), 3, stride, padding)
    torch.nn.init.normal_(layer.bias)
    x = events(70, 7, 6, 5)
    shaped, start = layer.weight.flatten(3, 4).flatten(0, 1), layer.bias.flatten(1).t()
    packed = pack("own", shaped, start, (3, 3), (stride, stride), (padding, padding))
    want = layer.double()(x.permute(0, 3, 1, 2).double())
    assert off(product(x, packed).permute(0, 3, 1, 2), want) < 5e-6


@pytest.mark.parametrize("bias", [True, False])
def test_a_linear_layer(bias) -> None:
    torch.manual_seed(0)
    x, w, b = events(130, 2, 2, 75).view(130, 1, 1, 300), torch.randn(80, 300), torch.randn(80) if bias else None
    packed = pack("own", w.view(1, 80, 1, 300), None if b is None else b[None])
    want = F.linear(x.view(130, 300).double(), w.double(), None if b is None else b.double())
    assert off(product(x, packed).view(130, 80), want) < 5e-6


def test_whole_numbers_are_exact_and_threads_change_nothing() -> None:
    torch.manual_seed(0)
    x = torch.randint(0, 3, (200, 6, 6, 8)).float()
    w = torch.randint(-8, 9, (16, 8, 3, 3)).float()
    packed = pack("shared", w.permute(0, 2, 3, 1).flatten(1, 2)[None], None, (3, 3), (1, 1), (1, 1))
    got, threads = [], torch.get_num_threads()
    try:
        for number in (1, 3):
            torch.set_num_threads(number)
            got.append(product(x, packed))
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(got[0], got[1])
    assert torch.equal(got[0].permute(0, 3, 1, 2), F.conv2d(x.permute(0, 3, 1, 2), w, padding=1))


def test_a_value_that_is_not_a_number_is_an_event() -> None:
    x = torch.zeros(2, 1, 1, 4)
    x[1, 0, 0, 2] = torch.nan
    packed = pack("own", torch.ones(1, 16, 1, 4), None)
    y = product(x, packed)
    assert y[0].abs().max() == 0
    assert y[1].isnan().all()


def test_outputs_are_summed_in_whole_vectors() -> None:
    assert [lanes_for(n) for n in (16, 64, 96, 128, 2000, 112, 10, 24)] == [16, 64, 96, 64, 80, 16, None, None]
    with pytest.raises(ValueError, match="10 outputs are no whole vectors"):
        pack("own", torch.ones(1, 10, 1, 4), None)


def test_weights_of_other_places_or_channels_are_not_read_beyond_their_end() -> None:
    packed = pack("own", torch.ones(4, 16, 1, 3), None)
    for shape in ((2, 3, 2, 3), (2, 2, 2, 4)):
        with pytest.raises(ValueError, match="places and"):
            product(torch.ones(shape), packed)
