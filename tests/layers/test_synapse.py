"""Synaptic filters: exact responses, means kept, pieces and back ends, and their place before or behind weights."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from bitspike.errors import BitspikeError
from bitspike.layers import Stepwise, Synapse, SynapticLayer

from ..nearness import off

DOUBLE = torch.float64


def step_response(kind: str, t: Tensor, tau: float) -> Tensor:
    left = torch.exp(-t / tau)
    return 1 - left * (1 + t / tau) if kind == "alpha" else 1 - left


@pytest.mark.parametrize("kind", ["alpha", "first-order"])
@pytest.mark.parametrize("tau", [0.0004, 0.003, 0.05])
def test_the_response_to_a_step_is_the_exact_one_at_every_step(kind: str, tau: float) -> None:
    synapse = Synapse(kind, tau, 0.001)
    y = synapse(torch.ones(60, 1, 1, dtype=DOUBLE)).flatten()
    t = torch.arange(1, 61, dtype=DOUBLE) * 0.001
    assert torch.allclose(y, step_response(kind, t, tau), rtol=1e-12)


@pytest.mark.parametrize("kind", ["alpha", "first-order"])
def test_it_is_the_hold_discretisation_of_its_transfer_function(kind: str) -> None:
    from scipy.signal import cont2discrete, lfilter

    tau, dt = 0.005, 0.001
    filters = {"alpha": ([1.0], [tau**2, 2 * tau, 1.0]), "first-order": ([1.0], [tau, 1.0])}
    num, den, _ = cont2discrete(filters[kind], dt, "zoh")
    u = torch.rand(80, dtype=DOUBLE, generator=torch.Generator().manual_seed(1))
    # Held values reach the output one sample later in that convention: y_t is the value at the end of step t.
    want = lfilter(num.flatten(), den, [*u.tolist(), 0.0])[1:]
    y = Synapse(kind, tau, dt)(u.view(-1, 1, 1)).flatten()
    assert y.tolist() == pytest.approx(want, rel=1e-9)


@pytest.mark.parametrize("kind", ["alpha", "first-order"])
def test_a_spike_keeps_its_area_and_pieces_are_one_run(kind: str) -> None:
    synapse = Synapse(kind)
    x = torch.zeros(300, 2, 3, dtype=DOUBLE)
    x[4, 0, 1] = 1000.0
    y, last = synapse.run(x)
    assert y.sum().item() * 0.001 == pytest.approx(1, abs=1e-9)
    a, state = synapse.run(x[:7])
    b, end = synapse.run(x[7:], state)
    assert torch.equal(torch.cat([a, b]), y)
    assert all(torch.equal(one, other) for one, other in zip(last, end, strict=True))
    synapse.back_end = "reference"
    assert torch.equal(synapse(x), y)
    settled = torch.full((2, 3), 0.7, dtype=DOUBLE)
    constant, _ = synapse.run(settled.expand(5, 2, 3), synapse.settled(settled))
    assert torch.allclose(constant, settled.expand(5, 2, 3), rtol=1e-15)


@pytest.mark.parametrize("kind", ["alpha", "first-order"])
@pytest.mark.parametrize("constant", [False, True])
def test_before_or_behind_the_weights_is_the_same(kind: str, constant: bool) -> None:
    torch.manual_seed(0)
    x = torch.rand(1, 2, 3, 6, 6, dtype=DOUBLE).expand(20, -1, -1, -1, -1)
    x = x if constant else torch.rand(20, 2, 3, 6, 6, dtype=DOUBLE)
    for layer in (nn.Conv2d(3, 2, 3), nn.Conv2d(3, 9, 3, padding=1)):
        module = Stepwise(layer.double())
        want = module(Synapse(kind)(x))
        synaptic = SynapticLayer(module, Synapse(kind))
        got = torch.cat([synaptic(x[:8]), synaptic(x[8:])])
        assert torch.allclose(got, want, rtol=1e-9, atol=1e-12)
        fewer = layer.out_channels == 2
        assert synaptic.behind is (constant or fewer)
        synaptic.reset()
        assert torch.allclose(synaptic(x[:8]), want[:8], atol=1e-12)
        synaptic.keep(1)
        assert torch.allclose(synaptic(x[8:, :1]), want[8:, :1], atol=1e-12)


def test_images_that_keep_their_channels_last_are_filtered_alike() -> None:
    torch.manual_seed(0)
    conv = nn.Conv2d(3, 4, 3, padding=1)
    x = torch.rand(9, 2, 3, 5, 5)
    want = SynapticLayer(Stepwise(conv), Synapse())(x)
    last = Stepwise(conv.to(memory_format=torch.channels_last))
    moved = x.flatten(0, 1).to(memory_format=torch.channels_last).unflatten(0, (9, 2))
    synaptic = SynapticLayer(last, Synapse())
    assert off(torch.cat([synaptic(moved[:4]), synaptic(x[4:])]), want) < 1e-5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("beta",), "synapse: got 'beta', wanted one of first-order, alpha"),
        (("alpha", 0.0), "synapse tau: got 0.0"),
        (("alpha", 0.005, math.nan), "synapse dt: got nan"),
    ],
)
def test_wrong_settings_are_refused(arguments: tuple[object, ...], message: str) -> None:
    with pytest.raises(BitspikeError, match=f"^{message}"):
        Synapse(*arguments)  # type: ignore[arg-type]
