"""torch.compile and torch.func give what eager PyTorch gives, whatever was run before and in every gradient mode."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bitspike.cells import LMU
from bitspike.layers import ChannelScale, FewBitConv2d, Fused, Local2d, Recurrent, Stepwise
from bitspike.models.sequence import Gated
from bitspike.neurons import LIF, SoftIF, SoftNeuron, Surrogate
from bitspike.weights import BayesianBinary, StraightThrough, quantise, redraw

# torch's own, while it traces an autograd function.
pytestmark = pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")
FRAMES = torch.randint(0, 2, (7, 3, 5), generator=torch.Generator().manual_seed(0)).float()
NETS: dict[str, Callable[[], nn.Module]] = {
    "lif": LIF,
    "learned": lambda: nn.Sequential(nn.Linear(5, 4), LIF(learn=("tau",)), nn.Linear(4, 2)),
    "one pass": lambda: Fused(Stepwise(nn.Linear(5, 4)), ChannelScale(4), LIF()),
    "soft": lambda: SoftNeuron(SoftIF()),
    "recurrent": lambda: Recurrent(5, LIF()),
    "binary": lambda: quantise(nn.Sequential(nn.Linear(5, 4), LIF(), nn.Linear(4, 2)), StraightThrough, 0),
}
MODES = {"grad": torch.enable_grad, "no grad": torch.no_grad, "inference": torch.inference_mode}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", NETS)
def test_compiled_is_eager(name: str, mode: str) -> None:
    torch._dynamo.reset()
    net, twin = NETS[name](), NETS[name]()
    twin.load_state_dict(net.state_dict())
    with MODES[mode]():
        compiled = torch.compile(net, backend="eager", fullgraph=True)
        assert torch.equal(compiled(FRAMES), twin(FRAMES))
        net(FRAMES)
        assert torch.equal(compiled(FRAMES), twin(FRAMES))


def test_a_neuron_changed_behind_a_compiled_one_is_seen() -> None:
    torch._dynamo.reset()
    neuron = LIF(learn=("tau",))
    compiled = torch.compile(neuron, backend="eager", fullgraph=True)
    x = FRAMES.clone().requires_grad_()

    def gradient(run: Any) -> Tensor:
        return torch.autograd.grad(run(x).sum(), x)[0]

    first = gradient(compiled)
    assert torch.equal(first, gradient(neuron))
    neuron.spike = Surrogate("boxcar", 2.0)
    assert torch.equal(gradient(compiled), gradient(neuron))
    assert not torch.equal(gradient(compiled), first)


def binary(make: Any, local: bool = False) -> nn.Module:
    layers = (FewBitConv2d(1, 3, 3), nn.Flatten(), nn.Tanh(), nn.Linear(27, 2))
    net = nn.Sequential(Local2d(1, 3, 5, 3) if local else layers[0], *layers[1:])
    redraw(quantise(net, make, 0), 1)
    return net


@pytest.mark.parametrize("local", [False, True])
@pytest.mark.parametrize("make", [StraightThrough, lambda: StraightThrough(clip=0.5), BayesianBinary])
def test_gradients_of_each_example_of_a_binary_network(make: Any, local: bool) -> None:
    net = binary(make, local)
    images = torch.randn(4, 1, 5, 5, generator=torch.Generator().manual_seed(0))
    named = dict(net.named_parameters())

    def loss(parameters: dict[str, Tensor], image: Tensor) -> Tensor:
        answer: Tensor = torch.func.functional_call(net, parameters, (image[None],))
        return answer.square().sum()

    found = torch.func.vmap(torch.func.grad(loss), (None, 0))(named, images)
    for number, image in enumerate(images):
        wanted = torch.autograd.grad(net(image[None]).square().sum(), list(named.values()))
        for (name, gradients), one in zip(found.items(), wanted, strict=True):
            assert torch.allclose(gradients[number], one, rtol=1e-4, atol=1e-5), name


@pytest.mark.parametrize("back_end", ["auto", "reference"])
def test_the_gradient_of_a_mapped_run_is_not_lost(back_end: str) -> None:
    """Inside vmap a tensor does not say that a gradient is wanted outside."""
    neuron = LIF(learn=("tau", "theta"))
    neuron.back_end = back_end
    clients = torch.rand(3, *FRAMES.shape, generator=torch.Generator().manual_seed(0))

    def mapped(x: Tensor) -> Tensor:
        return torch.func.vmap(lambda client: neuron(client).sum())(x).sum()

    leaf = clients.clone().requires_grad_()
    wanted = torch.autograd.grad(neuron(leaf.movedim(0, 1)).sum(), [leaf, *neuron.parameters()])
    assert torch.allclose(torch.func.grad(mapped)(clients), wanted[0], atol=1e-6)
    for found, want in zip(torch.autograd.grad(mapped(leaf), [leaf, *neuron.parameters()]), wanted, strict=True):
        assert torch.allclose(found, want, rtol=1e-4)


@pytest.mark.parametrize("made", [lambda: LMU(5, 4, 3, 6.0), lambda: Gated("gru", 5, 4), lambda: Recurrent(5, LIF())])
def test_loops_without_a_graph_give_way_to_transforms(made: Callable[[], nn.Module]) -> None:
    cell = made()
    x = FRAMES.clone().requires_grad_()
    (wanted,) = torch.autograd.grad(cell(x).square().sum(), x)
    assert torch.allclose(torch.func.grad(lambda z: cell(z).square().sum())(FRAMES), wanted, atol=1e-5)
