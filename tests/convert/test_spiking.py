"""Networks of soft rates run as spikes: rates, synapses, chunks, streams, windows, refusals."""

from __future__ import annotations

import copy
import itertools

import pytest
import torch
from torch import Tensor, nn

from bitspike.convert import Spiking, present_all, spiking
from bitspike.convert.fold import fold_chains
from bitspike.convert.soft.plain import plain
from bitspike.errors import BitspikeError
from bitspike.layers import ChannelScale, Fused, Local2d, Stepwise, TemporalBatchNorm
from bitspike.models import feedforward
from bitspike.neurons import LIF, ExactIF, SoftIF, SoftLIF, SoftNeuron, Static
from bitspike.weights import StraightThrough, quantise

DOUBLE = torch.float64
# Almost LIF itself, so that a long run must reach the very output.
SHARP = SoftLIF(tau_ref=0.002, tau_rc=0.02, gamma=1e-4, amplitude=0.02, gain=2.0)


def network(rate: SoftLIF = SHARP, layers: tuple[str, ...] = ("6c3", "a3s2", "8l3", "d0.3", "20")) -> nn.Module:
    model = feedforward((2, 8, 8), 4, layers, lambda: SoftNeuron(rate, "gaussian"), norm="bias", keys=(3, "init"))
    with torch.no_grad():
        for name, weights in model.named_parameters():
            if name.endswith("bias"):
                weights.normal_(0.3, 0.3, generator=torch.Generator().manual_seed(1))
            else:
                weights.mul_(2.5)
    return model.double().eval()


def images(count: int, seed: int = 0) -> Tensor:
    return torch.randn(count, 2, 8, 8, dtype=DOUBLE, generator=torch.Generator().manual_seed(seed))


def rate_output(model: nn.Module, x: Tensor) -> Tensor:
    with torch.no_grad():
        y: Tensor = model(x.unsqueeze(0))[0]
    return y


@pytest.mark.parametrize("norm", ["batch", "scale"])
def test_norms_are_folded_into_the_layers_before_them(norm: str) -> None:
    layers = ("6c3", "a3s2", "8l3", "20")
    model = feedforward((2, 8, 8), 4, layers, lambda: SoftNeuron(SHARP, "gaussian"), norm=norm).double()
    source = torch.Generator().manual_seed(5)
    for name, value in (*model.named_parameters(), *model.named_buffers()):
        if "norm" in name and "map" not in name:
            value.data.uniform_(0.5, 1.5, generator=source)
    model.eval()
    x = images(3)
    net = fold_chains(model)
    assert not any(isinstance(module, TemporalBatchNorm | ChannelScale) for module in net.modules())
    assert torch.allclose(net(x.unsqueeze(0)), model(x.unsqueeze(0)), rtol=1e-12, atol=1e-14)
    # The model is what it was, and units keep their names.
    assert any(isinstance(module, TemporalBatchNorm | ChannelScale) for module in model.modules())
    assert list(spiking(model).units()) == [name for name, m in model.named_modules() if isinstance(m, SoftNeuron)]
    got, want = spiking(model).present(x, 0.05), spiking(net).present(x, 0.05)
    assert torch.equal(got, want)
    assert not torch.equal(got, torch.zeros_like(got))


def test_layers_that_stand_at_two_places_of_a_chain_stay_at_both() -> None:
    def norm(offset: float) -> TemporalBatchNorm:
        found = TemporalBatchNorm(4)
        torch.nn.init.constant_(found.bias, offset)
        return found

    torch.manual_seed(0)
    layer, unit = nn.Linear(4, 4), Static()
    chain = Fused(layer, norm(0.5), unit, layer, norm(-0.2), unit, layer).double().eval()
    x = torch.randn(3, 2, 4, dtype=DOUBLE)
    net = fold_chains(chain)
    assert [type(module) for module in net._modules.values()] == [nn.Linear, Static, nn.Linear, Static, nn.Linear]
    assert torch.allclose(net(x), chain(x), rtol=1e-12, atol=1e-14)
    assert torch.allclose(plain(chain).eval()(x[0]), chain(x)[0], rtol=1e-12, atol=1e-14)


def test_few_bit_weights_are_not_folded() -> None:
    model = nn.Sequential(
        Stepwise(quantise(nn.Sequential(nn.Linear(3, 4, bias=False)), StraightThrough)[0]), TemporalBatchNorm(4)
    )
    assert fold_chains(model)[1] is model[1]


@pytest.mark.parametrize("synapse", ["alpha", "first-order", None])
@pytest.mark.parametrize("rate", [SHARP, SoftIF(0.002, 0.02, 1e-4, 0.02, 2.0)], ids=["lif", "if"])
def test_a_long_run_gives_what_the_rates_give(rate: SoftLIF, synapse: str | None) -> None:
    model = network(rate, ("12", "10"))
    x = images(3)
    want = rate_output(model, x)
    got = spiking(model, synapse=synapse, chunk=500).present(x, 6.0, [(1.0, 6.0)])[0]
    error = (got - want).abs().max() / want.abs().max()
    # What a later layer sees still varies by single spikes behind a first-order synapse, and is nothing else without
    # one: its rate is then not that of the mean current.
    assert error < {"alpha": 0.02, "first-order": 0.1, None: 0.6}[synapse]


def test_rates_of_single_neurons() -> None:
    for rate, constants in ((SoftLIF, (0.002, 0.022)), (SoftIF, (0.002, 0.02))):
        unit = SoftNeuron(rate(*constants, gamma=1e-5, amplitude=1.0, gain=1.0))
        model = nn.Sequential(nn.Linear(4, 4, bias=False), unit).double()
        with torch.no_grad():
            model[0].weight.copy_(torch.eye(4))
        z = torch.tensor([[0.2, 1.0, 4.0, 9.0]], dtype=DOUBLE)
        net = spiking(model, synapse=None, chunk=1000)
        got = net.present(z, 20.0, [(0.0, 20.0)])[0]
        assert got.flatten().tolist() == pytest.approx(unit.rate(z).flatten().tolist(), abs=0.12)
        found = net.units()["1"]
        assert found.spikes == round(float(got.sum()) * 20)
        assert (found.neurons, found.updates) == (4, 80_000)
    assert isinstance(net.units()["1"].neuron, ExactIF)


def test_pieces_chunks_and_calls_are_one_run() -> None:
    model, x = network(), images(2)
    whole = spiking(model, chunk=60)(x.expand(60, *x.shape))
    for chunk in (1, 7):
        assert torch.allclose(spiking(model, chunk=chunk)(x.expand(60, *x.shape)), whole, atol=1e-9)
    net = spiking(model)
    parts = [net(x.expand(n, *x.shape)) for n in (13, 1, 46)]
    assert torch.allclose(torch.cat(parts), whole, atol=1e-9)
    means = spiking(model, chunk=7).present(x, 0.06, [(0.0, 0.06), (0.013, 0.04)])
    assert torch.allclose(means[0], whole.mean(0), atol=1e-9)
    assert torch.allclose(means[1], whole[13:40].mean(0), atol=1e-9)


def test_back_to_back_or_from_rest() -> None:
    model, first, second = network(), images(2), images(2, 1)
    both = torch.cat([first.expand(30, *first.shape), second.expand(30, *second.shape)])
    whole = spiking(model)(both)
    net = spiking(model)
    net.present(first, 0.03)
    assert torch.allclose(net.present(second, 0.03, [(0.0, 0.03)])[0], whole[30:].mean(0), atol=1e-9)
    fresh = spiking(model, reset=True)
    fresh.present(first, 0.03)
    again = fresh.present(second, 0.03, [(0.0, 0.03)])[0]
    assert torch.allclose(again, spiking(model)(both[30:]).mean(0), atol=1e-9)
    assert not torch.allclose(again, whole[30:].mean(0), atol=1e-3)


@pytest.mark.parametrize("streams", [1, 3, 7, None])
@pytest.mark.parametrize("reset", [False, True])
def test_streams_show_every_image_in_order(streams: int | None, reset: bool) -> None:
    model, x = network(), images(7)
    net = spiking(model, reset=reset)
    shown = present_all(net, lambda rows: x[rows], 7, 0.02, [(0.005, 0.02)], streams)
    size = shown.streams
    assert size == (streams or 7)
    starts = {3: [0, 3, 5, 7], 1: [0, 7], 7: list(range(8))}[size]
    total = 0.0
    for start, end in itertools.pairwise(starts):
        alone = spiking(model, reset=reset)
        for number in range(start, end):
            want = alone.present(x[number : number + 1], 0.02, [(0.005, 0.02)])[0, 0]
            assert torch.allclose(shown.outputs[0, number], want, atol=1e-9)
        total += sum(unit.spikes for unit in alone.units().values())
    assert sum(shown.spikes.values()) * 7 == pytest.approx(total)
    assert shown.neurons == {"spikes1": 384, "spikes3": 128, "spikes5": 20}
    assert shown.rates["spikes3"] == pytest.approx(shown.spikes["spikes3"] / 128 / 0.02)
    assert shown.mean_rate == pytest.approx(sum(shown.spikes.values()) / 532 / 0.02)


def test_the_model_stays_as_it_was_and_shares_its_weights() -> None:
    model, x = network(), images(2)
    before = rate_output(model, x)
    net = spiking(model)
    net.present(x, 0.02)
    assert torch.equal(rate_output(model, x), before)
    assert {id(p) for p in net.parameters()} == {id(p) for p in model.parameters()}
    twin = copy.deepcopy(net)
    assert torch.allclose(twin.present(x, 0.02), spiking(model).present(x, 0.02))
    moved = copy.deepcopy(model).float().to(memory_format=torch.channels_last)
    plain = copy.deepcopy(model).float()
    one, other = (spiking(m).present(x.float(), 0.1) for m in (moved, plain))
    assert torch.allclose(one, other, atol=0.1)


class Residual(nn.Module):
    """A block with a shortcut, whose code is its own."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = Stepwise(nn.Conv2d(2, 2, 3, padding=1))
        self.unit = SoftNeuron(SHARP)
        self.out = nn.Linear(128, 4)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.out((self.unit(self.conv(x)) + x).flatten(2))
        return y


def test_models_with_code_of_their_own_run_too() -> None:
    model, x = Residual().double(), images(2)
    got = spiking(model, chunk=300).present(x, 3.0, [(0.5, 3.0)])[0]
    assert torch.allclose(got, rate_output(model, x), rtol=0.02, atol=0.01)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (nn.Sequential(nn.Linear(3, 2)), "spiking model: got Sequential without soft rates"),
        (nn.Sequential(SoftNeuron(), nn.ReLU()), "spiking 1: got ReLU, wanted units of soft rates"),
        (nn.Sequential(nn.Sequential(Static("relu"))), "spiking 0.0: got Static"),
        (nn.Sequential(LIF()), "spiking 0: got LIF"),
        (nn.Sequential(nn.Conv2d(1, 1, 1), SoftNeuron()), "spiking 0: got Conv2d, wanted .*Stepwise around it"),
        (nn.Sequential(Local2d(1, 1, 3, 1), SoftNeuron()), "spiking 0: got Local2d, wanted .*Stepwise around it"),
        (nn.Sequential(Stepwise(nn.Sequential(nn.Linear(2, 2)))), "spiking 0: got a Stepwise around Sequential"),
    ],
)
def test_what_cannot_be_run_as_spikes_is_named(model: nn.Module, message: str) -> None:
    with pytest.raises(BitspikeError, match=f"^{message}"):
        spiking(model)


def test_a_pool_before_the_units_may_take_the_largest() -> None:
    model = feedforward((2, 8, 8), 4, ["4c3p2", "8"], SoftNeuron, norm="scale").double()
    assert spiking(model).present(images(2), 0.02).shape == (1, 2, 4)


def test_settings_and_windows_are_checked() -> None:
    model = network()
    net: Spiking = spiking(model)
    bad = images(2)
    bad[1, 0, 3, 4] = torch.nan
    cases = [
        (lambda: spiking(model, synapse="box"), "synapse: got 'box'"),
        (lambda: spiking(model, dt=0.0), "spiking dt: got 0"),
        (lambda: spiking(model, chunk=0), "spiking chunk: got 0"),
        (lambda: net.present(images(1), 0.0005), "spiking time: got 0.0005 s, wanted a whole number of steps of 0.001"),
        (lambda: net.present(images(1), 0.02, [(0.01, 0.03)]), "spiking window: got 0.01 to 0.03 s, wanted a span"),
        (lambda: net.present(images(1), 0.02, [(0.02, 0.02)]), "spiking window: got 0.02 to 0.02 s"),
        (lambda: net.present(images(1), float("inf")), "spiking time: got inf s, wanted a whole number of steps"),
        (lambda: net.present(bad, 0.02), r"spiking images: got nan at \(1, 0, 3, 4\), wanted finite values"),
        (lambda: net(bad.expand(3, *bad.shape)), r"spiking input: got nan at \(0, 1, 0, 3, 4\), wanted finite values"),
        (lambda: present_all(net, images, 0, 0.02, [(0.0, 0.02)]), "spiking images: got 0"),
        (lambda: present_all(net, images, 3, 0.02, [(0.0, 0.02)], 0), "spiking streams: got 0"),
    ]
    for call, message in cases:
        with pytest.raises(BitspikeError, match=f"^({message})"):
            call()


def test_in_float32_one_kernel_runs_synapse_and_neurons_and_gives_the_same_spikes() -> None:
    model = network(SoftLIF(tau_ref=0.002, tau_rc=0.03, gamma=0.02, amplitude=0.02, gain=2.0)).float()
    x = images(3).float()
    for synapse, tau_s in (("alpha", 0.005), ("first-order", 0.005), (None, 0.0)):
        plain = spiking(copy.deepcopy(model).double(), synapse=synapse, tau_s=tau_s)
        want = plain.present(x.double(), 0.1, [(0.0, 0.1), (0.05, 0.1)])
        counts = [unit.spikes for unit in plain.units().values()]
        for chunk in (7, 100):
            net = spiking(model, synapse=synapse, tau_s=tau_s, chunk=chunk)
            got = net.present(x, 0.1, [(0.0, 0.1), (0.05, 0.1)])
            assert [unit.spikes for unit in net.units().values()] == pytest.approx(counts, rel=2e-3)
            assert torch.allclose(got.double(), want, atol=0.02 * float(want.abs().max()))
    # Whoever watches a layer sees what it is: filtered, of the same spikes.
    net, watched = (spiking(model) for _ in range(2))
    seen: list[Tensor] = []
    watched.net.conv1.register_forward_hook(lambda module, given, y: seen.append(y))
    assert torch.allclose(watched.present(x, 0.05), net.present(x, 0.05), atol=0.05)
    assert float(seen[0][0].abs().max()) < float(seen[-1][-1].abs().max())
    # In a network of one unit nothing is close: spike for spike.
    unit = nn.Sequential(nn.Linear(40, 30), SoftNeuron(SHARP))
    signal = torch.randn(50, 2, 40)
    assert torch.equal(spiking(unit)(signal) > 0, spiking(copy.deepcopy(unit).double())(signal.double()) > 0)


def test_sums_over_spikes_are_the_dense_products_and_follow_the_weights() -> None:
    torch.manual_seed(3)
    layers = ["16c3", "a2", "32c3", "16l3", "48"]
    model = feedforward((3, 12, 12), 4, layers, lambda: SoftNeuron(SHARP), norm="bias").eval()
    x = torch.rand(40, 3, 12, 12)
    few, dense = spiking(model), spiking(model, products="dense")
    means = [net.present(x, 0.2, [(0.1, 0.2)])[0] for net in (few, dense)]
    # The image is a current that does not change, and four read-outs are no vector.
    assert few.by_events() == ["conv3", "local4", "dense5"]
    assert dense.by_events() == []
    assert torch.allclose(*means, atol=0.02 * float(means[1].abs().max()))
    rates = [[unit.spikes for unit in net.units().values()] for net in (few, dense)]
    assert rates[0] == pytest.approx(rates[1], rel=2e-3)
    # Whoever trains the model on and shows images again gets what it is then.
    with torch.no_grad():
        model.local4.layer.weight.data *= -1
    for net in (few, dense):
        net.reset()
    after = [net.present(x, 0.2, [(0.1, 0.2)])[0] for net in (few, dense)]
    assert not torch.allclose(after[0], means[0], atol=0.02)
    assert torch.allclose(*after, atol=0.02 * float(after[1].abs().max()))


def test_bfloat16_products_round_weights_and_keep_the_answer_close() -> None:
    model, x = network(SHARP).float(), images(4).float()
    exact, rounded = spiking(model), spiking(model, products="bfloat16")
    want, got = exact.present(x, 0.4, [(0.2, 0.4)])[0], rounded.present(x, 0.4, [(0.2, 0.4)])[0]
    assert not torch.equal(want, got)
    assert float((want - got).abs().max()) < 0.05 * float(want.abs().max())
    with pytest.raises(BitspikeError, match=r"^spiking products: got 'int8', wanted one of float32, dense, bfloat16"):
        spiking(model, products="int8")  # type: ignore[arg-type]
