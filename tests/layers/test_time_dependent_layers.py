"""Feedback through weights, batch normalisation through time, and recomputation, against plain loops."""

import pytest
import torch
from torch import Tensor, nn

from bitspike.errors import BitspikeError
from bitspike.layers import BNTT, ChannelScale, Recomputed, Recurrent, Stepwise, TemporalBatchNorm
from bitspike.neurons import LIF, BiSNN
from bitspike.weights import StraightThrough, quantise

from ..nearness import off


def spikes(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return (torch.rand(shape, generator=torch.Generator().manual_seed(1)) < 0.3).to(dtype)


@pytest.mark.parametrize("neuron", [LIF(learn=("tau", "theta"), reset="hard"), BiSNN()], ids=["lif", "bisnn"])
def test_feedback_equals_the_plain_loop(neuron: nn.Module) -> None:
    torch.manual_seed(0)
    layer = Recurrent(6, neuron).double()
    x = torch.randn(9, 2, 6, dtype=torch.float64, requires_grad=True)
    found = []
    for back_end in ("cpu", "reference"):
        neuron.back_end = back_end
        layer.zero_grad()
        x.grad = None
        # Half, then half: the state handed on carries gradient as well.
        first, state = layer.run(x[:5])
        second, (_, last) = layer.run(x[5:], state)
        loss = (torch.cat([first, second]) * x.detach()).sum() + sum(s.sum() for s in last)
        loss.backward()
        gradients = [p.grad for p in layer.parameters() if p.grad is not None]
        found.append([first, second, *last, x.grad, *gradients])
    assert len(found[0]) == len(found[1])
    for fast, plain in zip(*found, strict=True):
        assert torch.allclose(fast, plain, rtol=1e-10, atol=1e-12)
    assert found[0][0].sum() > 0


def test_feedback_by_hand() -> None:
    """Two neurons; neuron 0 fires at step 0 and drives neuron 1 over threshold at step 1."""
    layer = Recurrent(2, LIF(tau=1e9, theta=1.0))
    with torch.no_grad():
        layer.feedback.weight.copy_(torch.tensor([[0.0, 0.0], [1.5, 0.0]]))
    x = torch.zeros(3, 1, 2)
    x[0, 0, 0] = 1.0
    assert layer(x)[:, 0].tolist() == [[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]]


def test_feedback_weights_can_be_binary() -> None:
    layer = quantise(Recurrent(4, LIF()), StraightThrough, 0)
    layer(spikes(5, 2, 4)).sum().backward()
    assert set(layer.feedback.weight.unique().tolist()) <= {-1.0, 1.0}
    assert layer.feedback.parametrizations.weight.original.grad is not None


def test_feedback_refuses_another_width() -> None:
    with pytest.raises(BitspikeError, match=r"recurrent input: got \(5, 2, 3\)"):
        Recurrent(4, LIF())(torch.zeros(5, 2, 3))


def test_bntt_normalises_each_step_by_itself() -> None:
    torch.manual_seed(0)
    x = torch.randn(3, 16, 2, 4, 4) * torch.tensor([1.0, 5.0, 0.1]).view(3, 1, 1, 1, 1) + 2
    layer = BNTT(2, steps=3, momentum=1.0)
    y = layer(x)
    assert torch.allclose(y.mean((1, 3, 4)), torch.zeros(3, 2), atol=1e-5)
    expected = x.var((1, 3, 4), correction=0) / (x.var((1, 3, 4), correction=0) + 1e-4)
    assert torch.allclose(y.var((1, 3, 4), correction=0), expected, atol=1e-4)
    assert torch.allclose(layer.running_mean, x.mean((1, 3, 4)), atol=1e-5)
    layer.eval()
    n = 16 * 16
    assert torch.allclose(layer(x), y * ((n - 1) / n) ** 0.5, atol=1e-2)
    assert layer(x[:2]).shape == (2, 16, 2, 4, 4)
    with pytest.raises(BitspikeError, match="1 to 3 steps"):
        layer(torch.zeros(4, 2, 2))


@pytest.mark.parametrize("segment", [None, 1, 5, 100])
def test_recomputation_changes_nothing_but_memory(segment: int | None) -> None:
    torch.manual_seed(0)
    product, neuron = Stepwise(nn.Linear(7, 6)).double(), LIF(learn=("tau", "theta")).double()
    x = spikes(13, 2, 7, dtype=torch.float64).requires_grad_()
    parameters = [*product.parameters(), *neuron.parameters()]
    found = []
    for layer in (lambda x: neuron.run(product(x)), Recomputed(product, neuron, segment).run):
        y, last = layer(x)
        loss = (y * torch.arange(13).view(13, 1, 1)).sum() + last.v.square().sum()
        found.append([y, last.v, *torch.autograd.grad(loss, [x, *parameters])])
    for plain, again in zip(*found, strict=True):
        assert torch.allclose(plain, again, rtol=1e-12, atol=1e-14)


def saved_bytes(layer: nn.Module, x: Tensor) -> int:
    """Bytes autograd keeps for the backward pass, shared storages counted once, parameters left out."""
    owned = {p.untyped_storage().data_ptr() for p in layer.parameters()}
    storages: dict[int, int] = {}

    def keep(t: Tensor) -> Tensor:
        if t.untyped_storage().data_ptr() not in owned:
            storages[t.untyped_storage().data_ptr()] = t.untyped_storage().nbytes()
        return t

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
        y = layer(x)
    del y
    return sum(storages.values())


def test_memory_kept_for_the_backward_pass() -> None:
    x = torch.randn(100, 4, 50, requires_grad=True)
    # LIF keeps its membrane; BiSNN's traces are linear, so of its four states only U is kept.
    for neuron in (LIF(), BiSNN()):
        assert saved_bytes(neuron, x) <= 4.2 * x.numel()
    pair = Recomputed(Stepwise(nn.Linear(64, 64)), LIF())
    x = spikes(1000, 2, 64)
    assert saved_bytes(pair, x) <= 0.5 * x.numel()


def test_recomputation_refuses_batch_statistics_over_time() -> None:
    with pytest.raises(BitspikeError, match="TemporalBatchNorm"):
        Recomputed(nn.Sequential(Stepwise(nn.Linear(3, 3)), TemporalBatchNorm(3)), LIF())


def test_a_scale_is_one_gain_and_offset_per_channel() -> None:
    layer = ChannelScale(3, start=2.0)
    with torch.no_grad():
        layer.bias.copy_(torch.tensor([0.0, 1.0, -1.0]))
    x = torch.randn(4, 2, 3, 5, 5, requires_grad=True)
    y = layer(x)
    assert torch.equal(y, x * 2 + torch.tensor([0.0, 1.0, -1.0]).view(3, 1, 1))
    (y * x.detach()).sum().backward()
    assert torch.equal(x.grad, 2 * x.detach())
    assert off(layer.weight.grad, x.detach().double().square().sum((0, 1, 3, 4))) < 1e-5
    assert off(layer.bias.grad, x.detach().double().sum((0, 1, 3, 4)), least=10.0) < 1e-5


def test_a_scale_keeps_a_constant_input_constant() -> None:
    layer = ChannelScale(3)
    x = torch.randn(1, 2, 3).expand(5, 2, 3)
    y = layer(x)
    assert y.stride(0) == 0
    y.sum().backward()
    assert off(layer.weight.grad, x.double().sum((0, 1)), least=1.0) < 1e-5
