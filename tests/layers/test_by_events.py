"""Weight layers on few events: what is summed, when, and that changed weights are seen."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from bitspike.layers import FewBitConv2d, FewBitLinear, Local2d
from bitspike.layers.by_events import EventLayer
from bitspike.products.events import unavailable
from bitspike.weights import StraightThrough

from ..nearness import off

pytestmark = pytest.mark.skipif(unavailable() is not None, reason=str(unavailable()))

LAYERS = {
    "linear": (lambda: nn.Linear(400, 32), (400,)),
    "few-bit linear": (lambda: FewBitLinear(400, 32, bias=False), (400,)),
    "convolution": (lambda: nn.Conv2d(8, 32, (3, 5), 1, (1, 2)), (8, 9, 10)),
    "few-bit convolution": (lambda: FewBitConv2d(8, 16, 3, 2), (8, 9, 10)),
    "local": (lambda: Local2d(8, 16, (9, 10), 3, 1, 1), (8, 9, 10)),
}


def sparse(*shape: int, share: float = 0.1) -> Tensor:
    return torch.where(torch.rand(shape) < share, torch.rand(shape), torch.zeros(()))


def made(name: str) -> tuple[nn.Module, EventLayer, tuple[int, ...]]:
    torch.manual_seed(0)
    make, shape = LAYERS[name]
    layer = make()
    events = EventLayer.make(layer)
    assert events is not None
    return layer, events, shape


@pytest.mark.parametrize("name", LAYERS)
@torch.no_grad()
def test_it_gives_what_the_layer_gives(name: str) -> None:
    layer, events, shape = made(name)
    x = sparse(200, *shape)
    for rows in (x, x.contiguous(memory_format=torch.channels_last) if x.ndim == 4 else x.t().contiguous().t()):
        y = events(rows)
        assert y is not None
        assert events.used
        want = copy.deepcopy(layer).double()(rows.double())
        assert y.shape == want.shape
        assert off(y, want) < 1e-5


@pytest.mark.parametrize("name", LAYERS)
@torch.no_grad()
def test_weights_changed_in_any_way_are_seen_at_the_next_refresh(name: str) -> None:
    layer, events, shape = made(name)
    x = sparse(200, *shape)
    events(x)
    changes = [
        lambda: layer.weight.data.mul_(2),
        lambda: layer.load_state_dict({key: value + 1 for key, value in layer.state_dict().items()}),
        lambda: setattr(layer, "weight", nn.Parameter(layer.weight * 3)),
    ]
    if layer.bias is not None:
        changes.append(lambda: layer.bias.data.add_(5))
    for change in changes:
        change()
        events.refresh()
        y = events(x)
        assert y is not None
        assert off(y, copy.deepcopy(layer).double()(x.double())) < 1e-5


def test_where_there_are_many_events_or_somebody_watches_the_layer_itself_is_called() -> None:
    layer, events, shape = made("convolution")
    x = sparse(200, *shape)
    with torch.no_grad():
        assert events(sparse(200, *shape, share=0.5)) is None
        assert not events.used
        assert events(x.double()) is None
        assert events(x[:2]) is None  # too little to gain
        assert events(torch.zeros(0, *shape)) is None
        assert events(x[:, :, 0]) is None
        with torch.autocast("cpu", torch.bfloat16):
            assert events(x) is None
        handle = layer.register_forward_hook(lambda *a: None)
        assert events(x) is None
        handle.remove()
        handle = nn.modules.module.register_module_forward_hook(lambda *a: None)
        assert events(x) is None
        handle.remove()
        assert events(x) is not None
    # Somebody wants a gradient.
    assert events(x) is None


def test_layers_that_cannot_be_summed() -> None:
    signs = nn.Linear(400, 32)
    parametrize.register_parametrization(signs, "weight", StraightThrough())
    for layer in (
        nn.Conv2d(8, 16, 3, groups=2), nn.Conv2d(8, 16, 3, dilation=2), nn.Conv2d(8, 16, 3, padding="same"),
        nn.Conv2d(8, 16, 3, padding=1, padding_mode="reflect"), nn.Conv1d(8, 16, 3), nn.Identity(), signs,
        nn.Linear(400, 10),
    ):  # fmt: skip
        assert EventLayer.make(layer) is None


@torch.no_grad()
def test_a_copy_and_a_pickle_go_on() -> None:
    layer, events, shape = made("local")
    x = sparse(200, *shape)
    want = events(x)
    for other in (copy.deepcopy(events), pickle.loads(pickle.dumps(events))):
        assert other.layer is not layer
        assert torch.equal(other(x), want)
