"""What `quantise` makes binary, from what it starts, and what it refuses by name."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bitspike.cells import LMU
from bitspike.errors import BitspikeError
from bitspike.layers import BNTT, ChannelScale, Local2d, TemporalBatchNorm
from bitspike.models import feedforward, local_network
from bitspike.neurons import LIF
from bitspike.weights import BayesianBinary, StraightThrough, binary_parametrizations, quantise, redraw, stored_dtype


def signs_of(weight: Tensor) -> Tensor:
    return torch.where(weight >= 0, 1.0, -1.0)


@pytest.mark.parametrize(
    "make", [StraightThrough, BayesianBinary, lambda: BayesianBinary(prior=0.9, init_at_ends=True)]
)
def test_trained_signs_are_where_it_starts(make: Any) -> None:
    net = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 8)).eval()
    with torch.no_grad():
        net[0].weight[0, 0] = 0.0
    wanted = [signs_of(layer.weight.detach()) for layer in (net[0], net[2])]
    quantise(net, make, 0)
    for layer, want in zip((net[0], net[2]), wanted, strict=True):
        assert torch.equal(layer.weight.detach(), want)
    # The sizes are those of the draw: latents are neither all alike nor those of the weights.
    latent = dict(net.named_parameters())["0.parametrizations.weight.original"]
    assert float(latent.detach().abs().max()) <= 1.0


def test_drawn_latents_are_a_choice_and_named_by_their_keys() -> None:
    def latents(start: Any) -> Tensor:
        torch.manual_seed(0)
        net = quantise(nn.Linear(40, 40), StraightThrough, 3, start=start)
        return next(latent for _, _, latent in binary_parametrizations(net)).detach()

    drawn, kept = latents("draw"), latents("signs")
    assert torch.equal(drawn.abs(), kept.abs())
    assert 0.4 < float((drawn.sign() == kept.sign()).float().mean()) < 0.6
    with pytest.raises(BitspikeError, match="quantise start: got 'same', wanted 'signs' or 'draw'"):
        latents("same")


@pytest.mark.parametrize(
    ("layer", "tensors"),
    [
        (nn.Linear(3, 2), 1),
        (nn.Bilinear(2, 3, 2), 1),
        (nn.Conv3d(2, 2, 3), 1),
        (nn.ConvTranspose2d(3, 4, 3), 1),
        (Local2d(2, 3, 6, 3), 1),
        (nn.LSTMCell(3, 2), 2),
        (nn.GRUCell(3, 2), 2),
    ],
)
def test_every_layer_it_takes_becomes_binary(layer: nn.Module, tensors: int) -> None:
    net = quantise(nn.Sequential(layer, nn.BatchNorm2d(3), nn.PReLU(), BNTT(3, 4)), BayesianBinary, 0)
    redraw(net, 0)
    found = list(binary_parametrizations(net))
    assert len(found) == tensors
    for name, precision, latent in found:
        assert set(net.eval().get_parameter(name.replace("0.", "0.parametrizations.") + ".original").shape) == set(
            latent.shape
        )
        assert set(precision.eval()(latent).detach().unique().tolist()) <= {-1.0, 1.0}


@pytest.mark.parametrize(
    ("layer", "name"),
    [
        (nn.LSTM(4, 3), "LSTM with weight_ih_l0, weight_hh_l0"),
        (nn.GRU(4, 3), "GRU"),
        (nn.RNN(4, 3), "RNN"),
        (nn.Embedding(5, 3), "Embedding with weight"),
        (nn.MultiheadAttention(4, 2), "MultiheadAttention with in_proj_weight"),
        (LMU(2, 3, 4, 8.0), "LMU with e_x"),
    ],
)
def test_weights_it_does_not_know_are_refused_by_name_before_anything_changes(layer: nn.Module, name: str) -> None:
    net = nn.Sequential(nn.Linear(3, 3), layer)
    with pytest.raises(BitspikeError, match=rf"^quantise 1: got {name}.*or its name in leave="):
        quantise(net, StraightThrough, 0)
    assert not list(binary_parametrizations(net))
    assert len(list(binary_parametrizations(quantise(net, StraightThrough, 0, leave=["1"])))) == 1


def test_a_model_in_which_nothing_became_binary_is_refused() -> None:
    with pytest.raises(BitspikeError, match="quantise model: got Sequential without a layer to make binary"):
        quantise(nn.Sequential(nn.ReLU(), TemporalBatchNorm(3), ChannelScale(3), LIF()), StraightThrough, 0)
    with pytest.raises(BitspikeError, match=r"quantise leave: got \['9'\], wanted names of modules"):
        quantise(nn.Sequential(nn.Linear(3, 3)), StraightThrough, 0, leave=["9"])
    with pytest.raises(BitspikeError, match=r"0\.weight: got a tensor that already has a precision"):
        quantise(nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(3, 3))), StraightThrough, 0)


def test_a_weight_without_a_sign_is_refused() -> None:
    layer = nn.Linear(3, 3)
    layer.weight.data[1, 1] = torch.nan
    with pytest.raises(BitspikeError, match=r"^0\.weight: got values that are not finite, wanted numbers"):
        quantise(nn.Sequential(layer), StraightThrough, 0)


def test_local_layers_of_a_network_are_binary() -> None:
    net = quantise(feedforward((2, 6, 6), 3, ["4l3", "8"], LIF), StraightThrough, 0).eval()
    names = [name for name, _, _ in binary_parametrizations(net)]
    assert len(names) == 3
    local = next(m for m in net.modules() if isinstance(m, Local2d))
    assert set(local.weight.detach().unique().tolist()) == {-1.0, 1.0}
    assert net(torch.rand(4, 2, 2, 6, 6)).shape == (4, 2, 3)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("make", [StraightThrough, BayesianBinary])
def test_binary_weights_in_half_precision(make: Any, dtype: torch.dtype) -> None:
    net = quantise(nn.Linear(30, 20), make, 0).to(dtype)
    redraw(net, 0)
    net(torch.randn(4, 30, dtype=dtype)).sum().backward()
    latent = next(p for _, _, p in binary_parametrizations(net))
    assert latent.grad is not None
    assert latent.grad.dtype == dtype
    assert bool(latent.grad.isfinite().all())


def test_a_layers_dtype_is_known_without_making_its_weight(monkeypatch: Any) -> None:
    made: list[int] = []
    forward = BayesianBinary.forward
    monkeypatch.setattr(BayesianBinary, "forward", lambda self, latent: made.append(1) or forward(self, latent))
    layer = quantise(nn.Linear(3, 2).double(), lambda: BayesianBinary(), "test")
    redraw(layer, "a")
    made.clear()
    assert stored_dtype(layer) == torch.float64
    assert stored_dtype(nn.Linear(3, 2)) == torch.float32
    assert not made
    # One step of the online rule makes each weight once.
    network = quantise(local_network((4,), 2, ["3", "3"]), lambda: BayesianBinary(), "test")
    redraw(network, "a")
    made.clear()
    network(torch.ones(5, 4), network.initial(5))
    assert len(made) == len(network.layers)
