"""A surrogate's width and height are constants of the step: a new value is no new kernel, and rounds as if written."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch.func import vmap

from bitspike.kernels import Recurrence, operator, run
from bitspike.kernels.functions import threshold
from bitspike.kernels.trace import trace
from bitspike.layers.recurrent import Recurrent
from bitspike.neurons import LIF, Surrogate
from bitspike.registry import names

VALUES = ((0.7, 1.0), (1.0, 1.3), (0.37, 2.1))


def recurrence(spike):
    neuron = LIF(surrogate=spike)
    state, constants = neuron.initial(torch.zeros(1, 1)), neuron.constants()
    return Recurrence(neuron.step, type(state), type(constants), neuron.spike), neuron


def written(spike):
    """The step with the surrogate's numbers in it, as source."""
    from bitspike.kernels.cpu.source import Layout, backward_source
    from bitspike.kernels.recurrence import variant

    found, _ = recurrence(spike)
    traced = trace(found.step, found.state, found.constants, found.spike, written=True)
    return backward_source(variant(traced, (), True, True, tuple(traced.state)), Layout(), "float32")


@pytest.mark.parametrize("name", names("surrogate"))
def test_values_share_one_kernel(name):
    keys = {}
    for width, height in (*VALUES, (0.11, 0.5), (3.0, 1.0), (1.0, 4.0)):
        keys.setdefault((width == 1.0, height == 1.0), set()).add(
            recurrence(Surrogate(name, width, height))[0].traced.key()
        )
    assert all(len(found) == 1 for found in keys.values())
    assert len(set.union(*keys.values())) == 3
    # Where both are 1 nothing is multiplied or divided by them.
    found, _ = recurrence(Surrogate(name))
    assert found.traced.settings == ()
    assert written(Surrogate(name, 0.7)) != written(Surrogate(name, 0.37))


def trained(neuron, x, back_end):
    neuron.back_end = back_end
    x = x.clone().requires_grad_()
    y = neuron(x)
    (y * torch.arange(len(y), dtype=y.dtype).view(-1, *(1,) * (y.ndim - 1))).sum().backward()
    return y.detach(), x.grad


@pytest.mark.parametrize("width", [0.7, 1.9])
def test_gradients_are_those_of_the_plain_loop(width):
    x = torch.randn(7, 3, 11, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 2
    for height in (1.0, 1.3):
        spike = Surrogate("triangle", width, height)
        fast, plain = (trained(LIF(surrogate=spike), x, back_end) for back_end in ("cpu", "reference"))
        assert torch.equal(fast[0], plain[0])
        assert torch.allclose(fast[1], plain[1], rtol=1e-12)
        assert fast[1].abs().sum() > 0
        recurrent = [Recurrent(11, LIF(surrogate=spike)).double() for _ in range(2)]
        recurrent[1].load_state_dict(recurrent[0].state_dict())
        recurrent[1].neuron.back_end = "reference"
        loops = []
        for layer in recurrent:
            y = layer(x.clone())
            loops.append(torch.autograd.grad(y.square().sum(), list(layer.parameters())))
        assert all(torch.allclose(a, b, rtol=1e-9) for a, b in zip(*loops, strict=True))
    many = torch.stack([x, 2 * x])
    neuron = LIF(surrogate=Surrogate("triangle", width))
    together = torch.func.grad(lambda x: vmap(neuron)(x).cumsum(1).sum())(many)
    apart = torch.stack([torch.func.grad(lambda x: neuron(x).cumsum(0).sum())(each) for each in many])
    assert torch.equal(together, apart)


@dataclass(frozen=True)
class Stepped:
    """A spike function of one's own that decides by its number, which no constant could."""

    width: float

    def __call__(self, u):
        from bitspike.kernels.functions import setting

        def derivative(u):
            width = setting("width", self.width, u)
            return (u * 0 + 1) / width if width > 0.5 else u * 0

        return threshold(u, derivative)


def test_a_number_that_is_decided_by_is_written_in_the_step():
    wide, narrow = (recurrence(Stepped(width))[0] for width in (0.7, 0.3))
    assert wide.traced.settings == ()
    assert wide.traced.key() != narrow.traced.key()
    found, neuron = recurrence(Stepped(0.7))
    x = torch.rand(4, 2, 3)
    y, _ = run(found, x, neuron.initial(x[0]), neuron.constants(), "cpu")
    assert torch.equal(y, run(found, x, neuron.initial(x[0]), neuron.constants(), "reference")[0])
    assert found.traced.key() in operator.TABLE
