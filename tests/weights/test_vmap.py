"""Clients with few-bit weights of their own under one `torch.func.vmap`, each with its own draw."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch.func import functional_call, grad, stack_module_state, vmap

from bitspike.models import feedforward
from bitspike.neurons import LIF
from bitspike.weights import BayesianBinary, StraightThrough, quantise, redraw

PRECISIONS = {
    "straight-through": StraightThrough,
    "relaxed": BayesianBinary,
    "hard": lambda: BayesianBinary(relaxed=False, rule="straight-through"),
    "mean": lambda: BayesianBinary(relaxed=False, rule="mean"),
}


def client(number, make, norm):
    model = feedforward((1, 8, 8), 3, ["4c3p2", "12"], LIF, norm=norm, keys=(number,))
    quantise(model, make, number, start="draw")
    redraw(model, 0, "client", number)
    return model.train()


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("norm", ["scale", "batch"])
def test_gradients_of_clients_at_once_are_those_of_a_loop(precision, norm):
    clients = [client(number, PRECISIONS[precision], norm) for number in range(3)]
    source = torch.Generator().manual_seed(0)
    x = (torch.rand(3, 5, 6, 1, 8, 8, generator=source) < 0.3).float()
    y = torch.randint(0, 3, (3, 6), generator=source)
    each = []
    for model, events, targets in zip(clients, x, y, strict=True):
        alone = copy.deepcopy(model)
        loss = F.cross_entropy(alone(events).mean(0), targets)
        each.append(torch.autograd.grad(loss, list(alone.parameters())))
    parameters, buffers = stack_module_state(clients)
    skeleton = copy.deepcopy(clients[0]).to("meta")

    def loss_of(parameters, buffers, events, targets):
        return F.cross_entropy(functional_call(skeleton, (parameters, buffers), (events,)).mean(0), targets)

    found = vmap(grad(loss_of))(parameters, buffers, x, y)
    for number, name in enumerate(dict(clients[0].named_parameters())):
        wanted = torch.stack([gradients[number] for gradients in each])
        # Sums of batched products may end in other bits.
        assert torch.allclose(found[name], wanted, rtol=1e-4, atol=1e-6), name
        assert not torch.equal(wanted[0], wanted[1]) or not wanted.any()


def test_a_draw_is_mapped_and_stored_nowhere():
    model = client(0, BayesianBinary, "scale")
    assert not any("uniform" in name for name in model.state_dict())
    assert sum("uniform" in name for name in stack_module_state([model])[1]) == 3
    model.load_state_dict(client(1, BayesianBinary, "scale").state_dict())
