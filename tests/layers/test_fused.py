"""Scale, neurons and pooling in one pass: the same spikes and gradients as one after the other, and hooks that see."""

from __future__ import annotations

import copy
import pickle
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, stack_module_state, vmap

from bitspike.energy import OperationCounter
from bitspike.errors import BitspikeError
from bitspike.kernels import Recurrence, run
from bitspike.layers import ChannelScale, Fused, Stepwise
from bitspike.layers.fused import groups
from bitspike.models import feedforward
from bitspike.models.explain import explain_backend
from bitspike.neurons import LIF, AdaptiveLIF, Integrator, Neuron

SHAPE = (2, 9, 11)
LAYERS = ["4c3", "p2", "4c3", "p3", "6"]


def learned() -> LIF:
    return LIF(learn=("tau", "theta"), reset="hard")


def network(neuron: Callable[[], nn.Module] = learned, norm: str = "scale", **options: Any) -> Fused:
    """A net whose neurons fire."""
    model = feedforward(SHAPE, 3, LAYERS, neuron, norm, **options)
    source = torch.Generator().manual_seed(1)
    for part in model:
        if isinstance(part, ChannelScale):
            with torch.no_grad():
                part.weight.mul_(15 + 5 * torch.rand(part.weight.shape, generator=source))
                part.bias.copy_(0.1 * torch.randn(part.bias.shape, generator=source))
    assert isinstance(model, Fused)
    return model


def spikes(dtype: torch.dtype = torch.float32) -> Tensor:
    return (torch.rand(6, 3, *SHAPE, generator=torch.Generator().manual_seed(2)) < 0.4).to(dtype)


def results(model: nn.Module, x: Tensor) -> list[Tensor]:
    """Outputs and all gradients."""
    x = x.clone().requires_grad_()
    model.zero_grad()
    y = model(x)
    (y * torch.arange(y.numel()).view_as(y).sin()).sum().backward()
    return [y.detach(), x.grad, *(p.grad.clone() for p in model.parameters())]  # type: ignore[list-item]


def names(model: nn.Sequential) -> list[tuple[str, ...]]:
    return [part.names for part in groups(model) if len(part.names) > 1]


@pytest.mark.parametrize(
    ("neuron", "norm", "dtype"),
    [(learned, "scale", torch.float32), (AdaptiveLIF, "scale", torch.float64), (LIF, "batch", torch.float32)],
    ids=["lif", "adaptive", "behind-batch-norm"],
)
def test_outputs_and_gradients_are_those_of_one_after_the_other(
    neuron: Callable[[], Neuron], norm: str, dtype: torch.dtype
) -> None:
    model = network(neuron, norm).to(dtype)
    joined = [("norm_conv1", "spikes1", "pool2"), ("norm_conv3", "spikes3", "pool4"), ("norm_dense5", "spikes5")]
    assert names(model) == (joined if norm == "scale" else [n[1:] for n in joined[:2]])
    fired = []
    model.spikes3.register_forward_hook(lambda module, args, y: fired.append(float(y.detach().mean())))
    apart = results(nn.Sequential(*model), spikes(dtype))
    model.spikes3._forward_hooks.clear()
    together = results(model, spikes(dtype))
    assert 0.02 < fired[0] < 0.9
    assert torch.equal(together[0], apart[0])
    for found, wanted in zip(together[1:], apart[1:], strict=True):
        assert float((found - wanted).norm()) <= 1e-6 * float(wanted.norm())
        assert wanted.norm() > 0


def test_the_reference_gives_the_same() -> None:
    model, x = network(), spikes()
    wanted = model(x)
    for part in model:
        if isinstance(part, Neuron):
            part.back_end = "reference"
    assert torch.equal(model(x), wanted)


def test_the_first_largest_of_a_window_gets_the_gradient() -> None:
    """As torch's: of no spike at all, the first; rows and columns that fill no window get nothing."""
    neuron = LIF(tau=1e-3, theta=1.0)
    x = torch.zeros(1, 1, 1, 3, 5)
    x[0, 0, 0, :2, :4] = torch.tensor([[0.9, 0.9, 0.9, 0.9], [0.9, 0.9, 1.1, 1.1]])
    x.requires_grad_()
    y, _ = neuron.run_between(x, pool=2)
    assert y.tolist() == [[[[[0.0, 1.0]]]]]
    y.sum().backward()
    assert (x.grad[0, 0, 0] != 0).nonzero().tolist() == [[0, 0], [1, 2]]


def test_pooling_is_what_a_recurrence_says_on_every_back_end() -> None:
    neuron, x = LIF(learn=("theta",)).double(), torch.randn(5, 2, 3, 4, 7, dtype=torch.float64)
    state, p = neuron.initial(x[0]), neuron.constants()
    recurrence = Recurrence(neuron.step, type(state), type(p), neuron.spike, 3)
    found = []
    for back_end in ("cpu", "reference"):
        leaf = x.clone().requires_grad_()
        y, last = run(recurrence, leaf, state, p, back_end)
        loss = (y * torch.arange(2.0)).sum() + last.v.square().sum()
        found.append([y, *last, *torch.autograd.grad(loss, [leaf, neuron.theta], retain_graph=True)])
    assert found[0][0].shape == (5, 2, 3, 1, 2)
    for fast, plain in zip(*found, strict=True):
        assert torch.allclose(fast, plain, rtol=1e-12, atol=1e-14)
    with pytest.raises(BitspikeError, match=r"pooled neurons: got \(5, 2, 3, 2, 7\)"):
        run(recurrence, x[..., :2, :], LIF().initial(x[0, ..., :2, :]), p)


def test_whoever_watches_a_module_sees_it() -> None:
    model, x = network(), spikes()
    wanted, seen = model(x), []
    handles = [
        model.norm_conv1.register_forward_hook(lambda module, args, y: seen.append(("scale", y.shape))),
        model.pool4.layer.register_forward_pre_hook(lambda module, args: seen.append(("pool", args[0].shape))),
        model.spikes5.register_forward_hook(lambda module, args, y: seen.append(("spikes", y.shape))),
    ]
    assert torch.equal(model(x), wanted)
    assert seen == [("scale", (6, 3, 4, 9, 11)), ("pool", (18, 4, 4, 5)), ("spikes", (6, 3, 6))]
    assert names(model) == [("spikes1", "pool2"), ("norm_conv3", "spikes3")]
    for handle in handles:
        handle.remove()
    handle = nn.modules.module.register_module_forward_hook(lambda module, args, y: seen.append(type(module)))
    assert torch.equal(model(x), wanted)
    handle.remove()
    assert {LIF, ChannelScale, nn.MaxPool2d} < set(seen[3:])
    with OperationCounter(model) as counter:
        model(x)
        counter.add_examples(3)
    assert [neuron.name for neuron in counter.counts().neurons] == ["spikes1", "spikes3", "spikes5"]


def test_what_is_not_plain_runs_by_itself() -> None:
    class Doubled(LIF):
        def forward(self, x: Tensor) -> Tensor:
            return 2 * super().forward(x)

    pool = Stepwise(nn.MaxPool2d(2))
    assert names(Fused(ChannelScale(3), LIF(), pool)) == [("0", "1", "2")]
    assert names(Fused(ChannelScale(3), Doubled(), pool)) == []
    # Values other than 0 and 1 are pooled by torch; so are windows that overlap.
    assert names(Fused(ChannelScale(3), Integrator(), pool)) == [("0", "1")]
    assert names(Fused(LIF(), Stepwise(nn.MaxPool2d(3, 2)))) == []
    assert names(Fused(LIF(), Stepwise(nn.AvgPool2d(2)))) == []


def test_copies_and_pickles_and_names_of_tensors() -> None:
    model, x = network(), spikes()
    wanted = model(x)
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert torch.equal(other(x), wanted)
    plain = nn.Sequential(OrderedDict(copy.deepcopy(model).named_children()))
    assert list(model.state_dict()) == list(plain.state_dict())
    assert isinstance(model[:3], Fused)


def test_a_current_that_does_not_change_stays_a_view() -> None:
    model = Fused(ChannelScale(3), LIF(), Stepwise(nn.MaxPool2d(2)))
    x = torch.rand(1, 2, 3, 4, 4).expand(5, 2, 3, 4, 4)
    assert torch.equal(model(x), nn.Sequential(*model)(x.contiguous()))


# torch's own tracer instantiates every autograd.Function, which torch deprecates.
@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")
def test_compiles_without_a_graph_break() -> None:
    model, x = network(), spikes()
    wanted = results(model, x)
    found = results(torch.compile(model, backend="aot_eager", fullgraph=True), x)
    assert all(map(torch.equal, found, wanted))


def test_vmap_over_networks() -> None:
    models, x = [network(keys=(k, "init")) for k in range(2)], spikes()
    params, buffers = stack_module_state(models)

    def loss(params: Any, buffers: Any) -> Tensor:
        y: Tensor = functional_call(models[0], (params, buffers), (x,))
        return y.square().sum()

    found = vmap(grad(loss))(params, buffers)
    for number, model in enumerate(models):
        model.zero_grad()
        model(x).square().sum().backward()
        for name, p in model.named_parameters():
            torch.testing.assert_close(found[name][number], p.grad, rtol=1e-4, atol=1e-5)


def test_what_is_joined_is_explained() -> None:
    rows = {row.layer: row for row in explain_backend(network(), spikes())}
    assert rows["spikes1"].why.endswith("; fused with norm_conv1, pool2")
    assert rows["spikes5"].why.endswith("; fused with norm_dense5")
