"""ReLU networks run as spikes: folding, rates, pools, sums, curves, copies, refusals."""

from __future__ import annotations

import copy
import pickle
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bitspike.convert import RateNetwork, accuracy_curve, relu_to_spiking
from bitspike.convert.relu.rate_units import MaxUnit, Setting
from bitspike.data import load
from bitspike.errors import BitspikeError
from bitspike.models import feedforward
from bitspike.neurons import Static
from bitspike.neurons.rate_if import RateIF

from ..nearness import off

sys.path.insert(0, str(Path(__file__).parent))
from networks import images, seeded


class Residual(nn.Module):
    """Batch norms before, behind and without a layer; functions and modules; a sum of branches; pools."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(1, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6)
        self.branch, self.norm2 = nn.Conv2d(6, 6, 3, padding=1), nn.BatchNorm2d(6)
        self.pool, self.loose = nn.MaxPool2d(2), nn.BatchNorm2d(6)
        self.dense, self.norm3 = nn.Linear(6 * 4, 12), nn.BatchNorm1d(12)
        self.act, self.drop, self.out = nn.ReLU(inplace=True), nn.Dropout(0.3), nn.Linear(12, 4)
        source = torch.Generator().manual_seed(3)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
                module.weight.data.uniform_(0.5, 1.5, generator=source)
                module.bias.data.normal_(0.1, 0.3, generator=source)
                module.running_mean.normal_(0, 0.3, generator=source)
                module.running_var.uniform_(0.3, 2.0, generator=source)

    def forward(self, x: Tensor) -> Tensor:
        h = self.act(self.norm(self.stem(x)))
        h = F.relu(self.norm2(self.branch(h)) + h)
        h = F.avg_pool2d(self.loose(self.pool(h)), 2)
        h = self.act(self.norm3(self.dense(torch.flatten(h, 1))))
        return F.log_softmax(self.out(self.drop(h)), 1)


class Block(nn.Module):
    """Calls `work` on the output of a first ReLU layer."""

    def __init__(self, work: Callable[..., Tensor], **parts: nn.Module) -> None:
        super().__init__()
        self.first = nn.Linear(64, 8)
        self.inner = nn.ModuleDict(parts)
        self.work = work

    def forward(self, x: Tensor) -> Tensor:
        return self.work(self.inner, F.relu(self.first(x.flatten(1))))


def converted(model: nn.Module, **options: Any) -> RateNetwork:
    return relu_to_spiking(model, images(60), **options)


def test_folding_gives_what_the_network_gives_in_evaluation() -> None:
    model = seeded(Residual)
    before = copy.deepcopy(model.state_dict())
    net = converted(model)
    x = images(9)
    assert off(net.end(net.ann(x)), model(x)) < 1e-5
    assert not any(isinstance(m, nn.BatchNorm2d) for name, m in net.named_modules() if not name.endswith("loose"))
    assert net.unfolded == ("loose",)
    assert list(net.units()) == ["act", "relu", "act_2"]
    # The model is in training again, and as it was.
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert off(converted(model.train()).ann(x), net.ann(x)) < 1e-6
    assert model.training


@pytest.mark.parametrize(("start", "share"), [(0.5, 0.5), (0.0, 1.0), (1.0, 1.0), (0.25, 0.75)])
def test_a_rate_is_its_activation_to_one_spike_in_the_time(start: float, share: float) -> None:
    x = torch.linspace(-1.0, 4.0, 501, dtype=torch.float64).unsqueeze(0)
    theta = torch.linspace(0.5, 3.0, 501).double()
    neurons = RateIF(theta, start)
    spikes = neurons(x.expand(300, *x.shape))
    neurons.back_end = "reference"
    assert torch.equal(spikes, neurons(x.expand(300, *x.shape)))
    steps = torch.arange(1, 301, dtype=torch.float64).view(-1, 1, 1)
    want = x.clamp_min(0).minimum(theta)
    assert ((spikes.cumsum(0) / steps - want).abs() <= share * theta / steps + 1e-6).all()
    assert ((spikes == 0) | (spikes == theta)).all()


def test_half_a_threshold_rounds_and_none_cuts_off() -> None:
    x = torch.tensor([[0.26, 0.24, 0.99]])
    for start, counts in ((0.5, [1.0, 0.0, 2.0]), (0.0, [0.0, 0.0, 1.0])):
        assert RateIF(1.0, start)(x.expand(2, 1, 3)).sum(0).tolist() == [counts]


@pytest.mark.parametrize("scale", ["layer", "channel"])
def test_read_outs_come_to_the_limit_as_one_over_time(scale: str) -> None:
    net = converted(seeded(Residual), scale=scale)
    x = images(9)
    limit = net.ann(x, limit=True)
    means = net.running_mean(x, 1024)
    errors = (means - limit).abs().amax((1, 2))
    assert errors[1023] < 0.02 * limit.abs().max()
    assert errors[1023] < errors[63] / 8
    sizes = {name: tuple(unit.neuron.theta.shape) for name, unit in net.units().items()}
    wanted = {"act": (6, 1, 1), "relu": (6, 1, 1), "act_2": (12,)}
    assert sizes == (wanted if scale == "channel" else dict.fromkeys(wanted, ()))


def test_with_the_largest_activation_nothing_is_cut_off() -> None:
    x = images(60)
    net = relu_to_spiking(seeded(Residual), x.split(20), percentile=1)
    assert torch.equal(net.ann(x), net.ann(x, limit=True))
    low = relu_to_spiking(seeded(Residual), x, percentile=0.5)
    assert not torch.allclose(low.ann(x), low.ann(x, limit=True), atol=1e-2)
    assert (low(x, 400) - low.ann(x, limit=True)).abs().max() < 0.1


def test_a_sum_of_branches_is_the_current_of_the_neuron_behind_it() -> None:
    # Rates 0.3 and 1.2 behind thresholds of 1 and 4: their sum is 1.5, whatever the scales.
    class Two(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return F.relu(F.relu(x[:, :1]) + F.relu(x[:, 1:]))

    data = torch.tensor([[1.0, 4.0], [0.5, 2.0]])
    net = relu_to_spiking(Two(), data, percentile=1)
    assert [float(unit.neuron.theta) for unit in net.units().values()] == [1.0, 4.0, 5.0]
    x = torch.tensor([[0.3, 1.2], [0.7, -3.0]])
    means = net.running_mean(x, 2000)
    assert means[-1].flatten().tolist() == pytest.approx([1.5, 0.7], abs=5.0 / 2000 + 5e-3)
    error = (means - torch.tensor([[1.5], [0.7]])).abs().amax((1, 2))
    assert (error * torch.arange(1, 2001) <= 10).all()


@pytest.mark.parametrize(
    "pool",
    [
        nn.MaxPool2d(2), nn.MaxPool2d(3), nn.MaxPool2d(3, 2, 1), nn.MaxPool2d((1, 2)), nn.MaxPool2d(2, ceil_mode=True),
        nn.MaxPool2d(5), nn.MaxPool2d(2, dilation=2), nn.AdaptiveMaxPool2d(2),
    ],
)  # fmt: skip
@pytest.mark.parametrize("spikes", [True, False])
def test_an_exact_pool_has_passed_the_largest_sum_at_every_step(pool: nn.Module, spikes: bool) -> None:
    source = torch.Generator().manual_seed(4)
    if spikes:
        x = 0.7 * (torch.rand(40, 2, 3, 7, 7, generator=source) < 0.3).float()
    else:
        x = torch.randn(40, 2, 3, 7, 7, generator=source)
    unit = MaxUnit("pool", Setting(), pool, None)
    y = torch.cat([unit.over_time(part) for part in x.split((1, 13, 26))])
    want = torch.stack([pool(total) for total in x.double().cumsum(0)])
    assert torch.allclose(y.double().cumsum(0), want, atol=1e-4)
    if spikes:
        assert torch.allclose(y, 0.7 * (y > 0.35), atol=1e-5)


def test_max_pools_exact_or_swapped_with_a_warning() -> None:
    model, x = seeded(Residual), images(9)
    with pytest.warns(UserWarning, match=r"means stand for the max pools pool: "):
        swapped = converted(model, pools="average")
    assert swapped.average_pools == ("pool",)
    assert off(swapped.end(swapped.ann(x)), model(x)) < 1e-5
    model.pool = nn.AvgPool2d(2)
    assert off(swapped.ann(x, limit=True), converted(model).ann(x, limit=True)) < 1e-5
    assert (swapped(x, 1024) - swapped.ann(x, limit=True)).abs().max() < 0.03


def test_chunks_do_not_matter_and_every_call_begins_at_rest() -> None:
    net, x = converted(seeded(Residual)), images(5)
    whole = torch.cat(list(net.readouts(x, 50, chunk=50)))
    for chunk in (1, 7, 49):
        assert torch.allclose(torch.cat(list(net.readouts(x, 50, chunk))), whole, atol=1e-4)
    next(iter(net.readouts(x, 50, 3)))
    assert torch.allclose(net(x, 50), whole.mean(0), atol=1e-4)
    assert torch.allclose(torch.cat([net(x[:2], 50), net(x[2:], 50)]), whole.mean(0), atol=1e-4)
    for twin in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        assert torch.allclose(twin(x, 50), whole.mean(0), atol=1e-4)
    other = converted(seeded(Residual), start=0.0)
    other.load_state_dict(net.state_dict())
    assert torch.equal(other.ann(x, limit=True), net.ann(x, limit=True))


class Sized(nn.Module):
    """Asks the image for its batch; weighs it; meets the image again behind the spikes; a branch is cut in two."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(1, 4, 3), nn.Conv2d(4, 4, 1)
        self.skip, self.out = nn.Conv2d(1, 4, 3), nn.Linear(4 * 36, 4)

    def forward(self, x: Tensor) -> Tensor:
        batch = x.shape[0]
        h = nn.functional.relu6(self.first((x - 0.5) / 0.25))
        left, right = self.second(h).chunk(2, 1)
        h = torch.relu(torch.cat([right, left * 0.5], 1) + self.skip(x) * x.mean((1, 2, 3), keepdim=True))
        return self.out(h.view(batch, -1))


class InPlace(nn.Module):
    """Reads a tensor after a ReLU has changed it."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.act = nn.Linear(64, 8), nn.Linear(8, 8), nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        h = self.first(x.flatten(1))
        y = self.second(self.act(h))
        h += y
        return h


@pytest.mark.parametrize("make", [Sized, InPlace])
def test_code_of_other_styles(make: type[nn.Module]) -> None:
    model, x = seeded(make), images(7)
    net = converted(model, percentile=1)
    assert off(net.ann(x), model(x)) < 1e-5
    assert (net(x, 800) - net.ann(x, limit=True)).abs().max() < 0.02


def test_a_static_network_of_ours_converts_as_it_is() -> None:
    model = feedforward((1, 8, 8), 4, ["6c3p2", "8c3p2", "d0.2", "12"], lambda: Static("relu"), norm="batch").eval()
    x = images(60)
    net = relu_to_spiking(model, x)
    with torch.no_grad():
        assert off(net.ann(x), model(x.unsqueeze(0))[0]) < 1e-5
    assert list(net.units()) == ["spikes1", "spikes2", "spikes4"]
    assert net.unfolded == ()


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (nn.Sequential(nn.Flatten(), nn.Linear(64, 4), nn.LeakyReLU()), "relu_to_spiking 2: got LeakyReLU"),
        (Block(lambda m, h: m["act"](h), act=nn.Sequential(nn.Linear(8, 8), nn.GELU())), "relu_to_spiking inner.act.1"),
        (Block(lambda m, h: m["rnn"](h)[0], rnn=nn.LSTM(8, 8)), "relu_to_spiking inner.rnn: got LSTM, wanted ReLU, "),
        (
            Block(lambda m, h: m["out"](h.softmax(1)), out=nn.Linear(8, 4)),
            "relu_to_spiking softmax: got a call of soft",
        ),
        (Block(lambda m, h: torch.tanh(h)), "relu_to_spiking tanh: got tanh"),
        (Block(lambda m, h: torch.fft.rfft(h)), "relu_to_spiking fft_rfft: got a call of fft_rfft"),
        (Block(lambda m, h: m["norm"](h), norm=nn.LayerNorm(8)), "relu_to_spiking inner.norm: got LayerNorm"),
        (Block(lambda m, h: h * h), "relu_to_spiking mul: got a product of two spiking activations"),
        (Block(lambda m, h: 1 / (h + 1)), "relu_to_spiking truediv: got a division by a spiking activation"),
        (Block(lambda m, h: h // 2), "relu_to_spiking floordiv: got a division that rounds"),
        (Block(lambda m, h: h.t()), "relu_to_spiking t: got a call of t"),
        (Block(lambda m, h: h if h.sum() > 0 else -h), "relu_to_spiking model: got Block, which cannot be traced"),
        (
            Block(lambda m, h: m["norm"](h), norm=nn.BatchNorm1d(8, track_running_stats=False)),
            "relu_to_spiking inner.norm: got BatchNorm1d without running statistics",
        ),
        (Block(lambda m, h: F.dropout(m["out"](h)), out=nn.Linear(8, 4)), "relu_to_spiking model: got read-outs"),
        (nn.Sequential(nn.Flatten(), nn.Linear(64, 4)), "relu_to_spiking model: got Sequential without a ReLU"),
        (
            nn.Sequential(nn.Conv2d(1, 2, 1), nn.ReLU(), nn.MaxPool2d(2, return_indices=True)),
            "relu_to_spiking 2: got a max pool that returns indices",
        ),
        (
            nn.Sequential(nn.Linear(5, 4), nn.ReLU()),
            "relu_to_spiking data: got images \\(60, 1, 8, 8\\) that",
        ),
    ],
)
def test_what_cannot_be_a_rate_is_named(model: nn.Module, message: str) -> None:
    with pytest.raises(BitspikeError, match=f"^{message}"):
        converted(model)


def test_settings_are_checked() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 4), nn.ReLU())
    net = converted(model)
    bad, spoiled = images(2), copy.deepcopy(model)
    bad[1, 0, 3, 4], spoiled[1].weight.data[2, 5] = torch.inf, torch.nan
    cases: list[tuple[Callable[[], Any], str]] = [
        (lambda: converted(model, scale="row"), "relu_to_spiking scale: got 'row', wanted 'layer' or 'channel'"),
        (lambda: converted(model, pools="min"), "relu_to_spiking pools: got 'min'"),
        (lambda: converted(model, percentile=99.9), "relu_to_spiking percentile: got 99.9"),
        (lambda: converted(model, start=2.0), "relu_to_spiking start: got 2.0"),
        (lambda: relu_to_spiking(model, []), "relu_to_spiking data: got no batch"),
        (lambda: relu_to_spiking(model, [1]), "relu_to_spiking data: got int"),
        (lambda: relu_to_spiking(lambda: 3, images(4)), "relu_to_spiking model: got int"),
        (lambda: net(images(2), 0), "spiking steps: got 0"),
        (lambda: net(images(0), 3), "spiking input: got"),
        (lambda: accuracy_curve(net, [], 3), "curve data: got no image"),
        (lambda: accuracy_curve(net, [(images(2), torch.zeros(3))], 3), "curve data: got 2 images and 3 targets"),
        (lambda: accuracy_curve(net, [], 0), "curve steps: got 0"),
        (lambda: accuracy_curve(net, [images(2)], 3), "curve data: got a batch that is a Tensor, wanted batches of"),
        (lambda: converted(spoiled), r"relu_to_spiking model 1.weight: got nan at \(2, 5\), wanted finite values"),
        (lambda: relu_to_spiking(model, bad), r"relu_to_spiking data: got inf at \(1, 0, 3, 4\), wanted finite"),
        (lambda: net(bad, 3), r"spiking input: got inf at \(1, 0, 3, 4\), wanted finite values"),
    ]
    for call, message in cases:
        with pytest.raises(BitspikeError, match=f"^{message}"):
            call()
    dead = nn.Sequential(nn.Flatten(), nn.Linear(64, 4), nn.ReLU())
    nn.init.constant_(dead[1].bias, -1e3)
    with pytest.raises(BitspikeError, match=r"^relu_to_spiking 2: got activations that are all 0"):
        converted(dead)


def test_weights_from_a_file(tmp_path: Path) -> None:
    model, x = seeded(Residual), images(5)
    path = tmp_path / "net.pt"
    want = converted(model).ann(x)
    state = model.state_dict()
    for saved in (state, {"state_dict": state, "epoch": 3}, {f"module.{key}": value for key, value in state.items()}):
        torch.save(saved, path)
        assert torch.equal(relu_to_spiking(Residual, images(60), state=path).ann(x), want)
    from safetensors.torch import save_file

    save_file(state, tmp_path / "net.safetensors")
    fresh = Residual()
    assert torch.equal(converted(fresh, state=tmp_path / "net.safetensors").ann(x), want)
    assert torch.equal(converted(fresh, state=state).ann(x), want)
    assert not torch.equal(fresh.stem.weight, model.stem.weight)


def test_a_state_dict_that_does_not_fit_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "net.pt"
    state = dict(Residual().state_dict())
    short = {key: value for key, value in state.items() if not key.startswith("norm2")}
    (tmp_path / "text.pt").write_text("not weights")
    (tmp_path / "text.safetensors").write_text("not weights, and long enough for a header")

    def tried(saved: Any) -> str:
        torch.save(saved, path)
        with pytest.raises(BitspikeError) as error:
            converted(Residual(), state=path)
        assert "\n" not in str(error.value)
        return str(error.value).replace(str(path), "FILE")

    first = "'norm2.weight', 'norm2.bias', 'norm2.running_mean' and 1 more"
    assert tried(short) == f"'FILE': got no {first}, wanted the keys of Residual"
    assert tried({**state, "head.weight": torch.zeros(1)}) == (
        "'FILE': got unknown 'head.weight', wanted the keys of Residual"
    )
    assert tried({**state, "out.bias": torch.zeros(5)}) == "'FILE' 'out.bias': got shape (5,), wanted (4,)"
    assert "more than tensors" in tried({"lr": 0.1})
    assert "more than tensors" in tried([1, 2])
    assert tried({**state, "out.bias": torch.tensor([0, 0, torch.nan, 0])}) == (
        "'FILE' 'out.bias': got nan at (2,), wanted finite values"
    )
    assert tried(Residual()) == (
        "'FILE': got a pickle of other objects than tensors (a whole module?), wanted that of a state_dict"
    )
    for name, message in (("text.pt", "cannot be read"), ("text.safetensors", "damaged"), ("none.pt", "no such file")):
        with pytest.raises(BitspikeError, match=message):
            converted(Residual(), state=tmp_path / name)


@pytest.fixture(scope="module")
def trained() -> nn.Module:
    digits = load("digits")
    model = seeded(
        lambda: nn.Sequential(
            nn.Conv2d(1, 12, 3, padding=1), nn.BatchNorm2d(12), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(12, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.Flatten(), nn.Linear(256, 10),
        )
    )  # fmt: skip
    model.train()
    optimiser = torch.optim.Adam(model.parameters(), 3e-3)
    source = torch.Generator().manual_seed(0)
    for _ in range(6):
        for rows in torch.randperm(len(digits.train), generator=source).split(64):
            optimiser.zero_grad()
            F.cross_entropy(model(digits.train.x[rows]), digits.train.y[rows]).backward()
            optimiser.step()
    return model.eval()


def test_the_curve_comes_within_a_point_of_the_network(trained: nn.Module) -> None:
    digits = load("digits")
    net = relu_to_spiking(trained, digits.train.x[:300])
    test = (digits.test.x, digits.test.y)
    curve = accuracy_curve(net, [test], 64)
    with torch.no_grad():
        assert curve.ann == pytest.approx(float((trained(test[0]).argmax(1) == test[1]).double().mean()))
    assert curve.ann > 0.95
    assert curve.accuracy[-1] > curve.ann - 0.01
    assert curve.accuracy[0] < curve.accuracy[-1]
    reached = curve.reached(0.01)
    assert reached is not None
    assert all(found >= curve.ann - 0.01 for found in curve.accuracy[reached - 1 :])
    assert reached == 1 or curve.accuracy[reached - 2] < curve.ann - 0.01
    assert curve.reached(-1.0) is None
    # A hundred of ten thousand images are a point, whatever the binary digits say.
    edge = replace(curve, accuracy=(0.3, 0.4906, 0.4906), ann=0.5006)
    assert 0.5006 - 0.01 > 0.4906
    assert edge.reached(0.01) == 2
    assert edge.reached(0.009) is None
    # The same by hand.
    means = net.running_mean(test[0], 64)
    assert list(curve.accuracy) == pytest.approx(((means.argmax(2) == test[1]).double().mean(1)).tolist(), abs=0.003)
    assert curve.neurons == {"2": 12 * 64, "6": 16 * 16}
    total = sum(curve.spikes.values())
    assert curve.spikes_per_neuron == pytest.approx(total / sum(curve.neurons.values()))
    assert all(0 < rate < 1 for rate in curve.rates.values())
    # Batches of a loader, of any size, give the same curve.
    again = accuracy_curve(net, zip(test[0].split(37), test[1].split(37), strict=True), 64)
    assert again.accuracy == pytest.approx(curve.accuracy, abs=0.003)
    assert again.spikes["2"] == pytest.approx(curve.spikes["2"], rel=1e-3)
    assert len(curve.to_dict()["accuracy"]) == 64


def test_sums_over_spikes_are_the_dense_products(trained: nn.Module) -> None:
    digits = load("digits")
    test = (digits.test.x, digits.test.y)
    for scale in ("layer", "channel"):
        net = relu_to_spiking(trained, digits.train.x[:300], scale=scale)
        few = accuracy_curve(net, [test], 24)
        assert [path for path, layer in net._events.items() if layer.used] == ["4"]
        other = pickle.loads(pickle.dumps(net))
        other.products = "dense"
        dense = accuracy_curve(other, [test], 24)
        assert not any(layer.used for layer in other._events.values())
        assert few.accuracy == pytest.approx(dense.accuracy, abs=0.006)
        assert few.spikes == pytest.approx(dense.spikes, rel=1e-3)


def test_spikes_are_counted(trained: nn.Module) -> None:
    x = load("digits").test.x[:8]
    net = relu_to_spiking(trained, x)
    seen: list[Tensor] = []
    unit = net.units()["2"]
    over_time = unit.over_time
    unit.over_time = lambda current: seen.append(over_time(current)) or seen[-1]  # type: ignore[func-returns-value,method-assign]
    net(x, 30)
    assert unit.spikes == int((torch.cat(seen) > 0).sum())
    assert unit.updates == 30 * 8 * 768
