"""Whatever dtype frames come in: computed in float32 at least, answered in the input's floating dtype."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bitspike.cells import LMU, ParallelLMU
from bitspike.coding import BernoulliRate, DirectCurrent, Latency, PixelSequence, PopulationCode, Sequence
from bitspike.errors import BitspikeError
from bitspike.layers import (
    BNTT,
    ChannelScale,
    Dropout,
    FewBitConv2d,
    FewBitLinear,
    Fused,
    Local2d,
    Recomputed,
    Recurrent,
    Stepwise,
    Synapse,
    TemporalBatchNorm,
)
from bitspike.models import local_network
from bitspike.models.sequence import Gated
from bitspike.neurons import (
    IF,
    LIF,
    AdaptiveLIF,
    BiSNN,
    CurrentLIF,
    ExactIF,
    ExactLIF,
    Integrator,
    Noise,
    SoftIF,
    SoftLIF,
    SoftNeuron,
    Static,
    TemporalQuantiser,
)
from bitspike.neurons.rate_if import RateIF

UNITS = 7


def each(value: float) -> Tensor:
    return torch.linspace(value, 1.4 * value, UNITS)


NEURONS: dict[str, Callable[[], nn.Module]] = {
    "lif": lambda: LIF(each(3.0), each(0.7)),
    "lif learned": lambda: LIF(3.0, 0.7, learn=("tau", "theta"), shape=(UNITS,)),
    "lif refractory": lambda: LIF(each(3.0), each(0.7), refractory=2),
    "if": lambda: IF(each(0.7)),
    "adaptive": lambda: AdaptiveLIF(each(3.0), theta=each(0.7), strength=each(0.3)),
    "current": lambda: CurrentLIF(each(3.0), each(2.0), each(0.7)),
    "bisnn": BiSNN,
    "integrator": lambda: Integrator(each(3.0)),
    "exact lif": lambda: ExactLIF(tau_rc=each(0.02), amplitude=each(0.06)),
    "exact if": lambda: ExactIF(tau_rc=each(0.02)),
    "rate": lambda: RateIF(each(0.7)),
    "quantiser": lambda: TemporalQuantiser(each(0.7), "tanh"),
    "quantiser limit": lambda: TemporalQuantiser(each(2.3), limit=2),
    "quantiser drawn": lambda: TemporalQuantiser(each(0.7), mode="stochastic"),
    "soft lif": lambda: SoftNeuron(SoftLIF(), Noise("gaussian")),
    "soft if": lambda: SoftNeuron(SoftIF()),
    "synapse": Synapse,
    "relu": lambda: Static("relu"),
    "tanh": lambda: Static("tanh"),
}
LAYERS: dict[str, Callable[[], nn.Module]] = {
    **NEURONS,
    "scale": lambda: ChannelScale(UNITS, 0.3),
    "norm": lambda: TemporalBatchNorm(UNITS),
    "bntt": lambda: BNTT(UNITS, 20),
    "dropout": Dropout,
    "one pass": lambda: Fused(ChannelScale(UNITS, 0.7), LIF(each(3.0))),
    "recurrent": lambda: Recurrent(UNITS, LIF(each(3.0), each(0.7))),
    "recomputed": lambda: Recomputed(Stepwise(FewBitLinear(UNITS, 5, x_kind="spikes")), LIF(theta=0.2)),
    "lmu": lambda: LMU(UNITS, 6, 4, 10.0, normalise=True),
    "lmu hybrid": lambda: LMU(UNITS, 6, 4, 10.0, memory=TemporalQuantiser(2.0), spikes=TemporalQuantiser(2.0, "tanh")),
    "lmu parallel": lambda: ParallelLMU(UNITS, 6, 4, 10.0),
    "lstm": lambda: Gated("lstm", UNITS, 5),
    "gru": lambda: Gated("gru", UNITS, 5),
}


def frames(most: int = 2) -> Tensor:
    return torch.randint(0, most, (20, 4, UNITS), generator=torch.Generator().manual_seed(0))


def made(name: str) -> nn.Module:
    torch.manual_seed(0)
    return LAYERS[name]()


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.int64, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", LAYERS)
def test_frames_of_any_dtype_are_those_as_float(name: str, dtype: torch.dtype) -> None:
    x = frames()
    want, found = made(name)(x.float()), made(name)(x.to(dtype))
    given = dtype if dtype.is_floating_point else torch.float32
    assert found.dtype == given
    # Frames are exact in each dtype, so the arithmetic is that of float32: bit for bit but for the last rounding.
    assert torch.equal(found, want.to(given))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", LAYERS)
def test_a_network_in_half_precision_answers_in_it_and_has_gradients_in_it(name: str, dtype: torch.dtype) -> None:
    x = (0.5 * frames(4)).to(dtype).requires_grad_()
    y = made(name).to(dtype)(x)
    assert y.dtype == dtype
    assert bool(y.isfinite().all())
    want = made(name).to(dtype).float()(x.detach().float())
    assert float((y.float() - want).detach().abs().mean()) < 0.02 * (1 + float(want.detach().abs().mean()))
    y.sum().backward()
    assert x.grad is not None
    assert x.grad.dtype == dtype
    assert bool(x.grad.isfinite().all())


@pytest.mark.parametrize("name", LAYERS)
def test_under_autocast_states_keep_their_digits(name: str) -> None:
    x = 0.37 * frames(3)
    want = made(name)(x)
    with torch.autocast("cpu", torch.bfloat16):
        found = made(name)(x)
        half = made(name)(x.bfloat16())
    if name != "recomputed":  # the layer in it is torch's
        assert found.dtype == torch.float32
        assert torch.equal(found, want)
    assert half.dtype == torch.bfloat16


@pytest.mark.parametrize("name", LAYERS)
def test_no_examples_give_nothing_of_the_right_shape_and_a_gradient(name: str) -> None:
    x = torch.zeros(20, 0, UNITS, requires_grad=True)
    y = made(name)(x)
    assert y.shape == (20, 0, *made(name)(torch.zeros(20, 2, UNITS)).shape[2:])
    y.sum().backward()
    for parameter in made(name).parameters():
        assert bool(parameter.isfinite().all())


def test_statistics_of_no_examples_or_one_value() -> None:
    norm = TemporalBatchNorm(3)
    norm(torch.zeros(4, 0, 3))
    assert norm.running_mean.tolist() == [0.0, 0.0, 0.0]
    assert norm.running_var.tolist() == [1.0, 1.0, 1.0]
    with pytest.raises(BitspikeError, match=r"normalisation input: got \(1, 3\) in training, wanted two values"):
        norm(torch.zeros(1, 1, 3))
    half = TemporalBatchNorm(3).bfloat16()
    half(torch.ones(4, 2, 3))
    assert half.running_mean.dtype == torch.bfloat16
    assert half.running_mean.tolist() == pytest.approx([0.1] * 3, rel=0.01)


@pytest.mark.parametrize("name", LAYERS)
def test_complex_numbers_are_refused_by_name(name: str) -> None:
    with pytest.raises(BitspikeError, match=r"input dtype: got torch.complex64, wanted real numbers"):
        made(name)(frames().to(torch.complex64))


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.int64, torch.float16])
def test_products_of_frames_of_any_dtype(dtype: torch.dtype) -> None:
    rows, images = frames().flatten(0, 1), torch.randint(0, 2, (4, 2, 6, 6))
    torch.manual_seed(0)
    pairs: list[tuple[Any, Tensor]] = [
        (FewBitLinear(UNITS, 5), rows),
        (FewBitConv2d(2, 3, 3), images),
        (FewBitConv2d(2, 3, 3, padding=1, padding_mode="reflect"), images),
        (Local2d(2, 3, 6, 3), images),
    ]
    for layer, x in pairs:
        want, found = layer(x.float()), layer(x.to(dtype))
        assert found.dtype == (dtype if dtype.is_floating_point else torch.float32)
        assert torch.allclose(found.float(), want, atol=2e-3 if dtype.is_floating_point else 1e-6)


def test_encoders_of_integers_and_halves() -> None:
    x, numbers = torch.tensor([[0, 1, 1], [1, 0, 1]]), torch.arange(2)
    encoders: list[Any] = [BernoulliRate(5), Latency(5), DirectCurrent(5), PopulationCode(5, 3), PixelSequence((3,))]
    for encoder in encoders:
        want = encoder(x.float(), numbers, 0)
        for dtype in (torch.bool, torch.uint8, torch.int64):
            found = encoder(x.to(dtype), numbers, 0)
            assert found.dtype == torch.float32
            assert torch.equal(found, want)
        assert encoder(x.half(), numbers, 0).dtype == torch.float16
        assert encoder(x.float()[:0], numbers[:0], 0).shape == (want.shape[0], 0, *want.shape[2:])
    assert Sequence(3)(x, numbers).dtype == torch.float32
    with pytest.raises(BitspikeError, match="rate encoder examples: got 1 numbers, wanted one for each of the 2"):
        BernoulliRate(5)(x.float(), numbers[:1], 0)


def test_layers_at_every_step_take_integers_and_do_not_answer_in_them() -> None:
    frames_of_images = torch.randint(0, 3, (3, 2, 1, 4, 4))
    torch.manual_seed(0)
    for layer in (nn.AvgPool2d(2), nn.MaxPool2d(2), nn.Conv2d(1, 2, 3), nn.AdaptiveAvgPool2d(2)):
        for dtype in (torch.bool, torch.uint8, torch.int64):
            x = frames_of_images.to(dtype)
            assert torch.equal(Stepwise(layer)(x), Stepwise(layer)(x.float()))


def test_the_local_network_takes_any_frames_and_half_precision() -> None:
    net = local_network((UNITS,), 3, ["6", "5"])
    states = net.initial(4)
    for x in frames():
        want, _, after = net(x.float(), states)
        found, _, again = net(x.bool(), states)
        assert torch.equal(found[-1], want[-1])
        assert torch.equal(after[0].traces.P, again[0].traces.P)
        states = after
    half = net.bfloat16()
    logits, spikes, states = half(frames()[0].bfloat16(), half.initial(4))
    assert logits[0].dtype == spikes[0].dtype == torch.bfloat16
    assert states[0].traces.P.dtype == torch.float32


def test_values_that_are_none_are_not_silence() -> None:
    with pytest.raises(BitspikeError, match="population encoder input: got values that are not finite"):
        PopulationCode(5, 3)(torch.tensor([[torch.nan]]), torch.arange(1))


def test_a_still_input_stays_a_view() -> None:
    still = torch.ones(3, UNITS, dtype=torch.uint8).expand(20, 3, UNITS)
    assert ChannelScale(UNITS)(still).stride(0) == 0
    assert Static("relu")(still).stride(0) == 0


def test_a_state_of_another_dtype_is_brought_to_the_computing_one() -> None:
    x = frames().float()
    for back_end in ("reference", "auto"):
        neuron = LIF()
        neuron.back_end = back_end
        _, state = neuron.run(x)
        y, end = neuron.run(x, type(state)(*(part.double() for part in state)))
        assert y.dtype == end.v.dtype == torch.float32
        y, end = neuron.run(x.bfloat16(), state)
        assert y.dtype == torch.bfloat16
        assert end.v.dtype == torch.float32
