"""Operations between ReLUs: what is linear or clips converts, and comes to the ReLU network's answer as 1 / T."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bitspike.convert import accuracy_curve, hybridise, relu_to_spiking
from bitspike.errors import BitspikeError


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


X = torch.rand(8, 3, 6, 6, generator=torch.Generator().manual_seed(0))


class Net(nn.Module):
    """`work` on the ReLUs of a convolution; `inner` and `weights` are there for it to use."""

    def __init__(self, work: Callable[..., Tensor], inner: nn.Module | None = None) -> None:
        super().__init__()
        self.first, self.work = nn.Conv2d(3, 8, 3, padding=1), work
        self.inner = nn.Identity() if inner is None else inner
        self.norm = nn.BatchNorm2d(8)
        self.weights, self.level = nn.Parameter(0.2 * torch.randn(8, 4, 2, 2)), nn.Parameter(torch.tensor(0.2))
        self.register_buffer("nothing", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        return self.work(self, F.relu(self.first(x))).flatten(1)


def made(work: Callable[..., Tensor], inner: Callable[[], nn.Module] | None = None) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = Net(work, None if inner is None else inner())
        for module in net.modules():
            if isinstance(module, nn.BatchNorm2d | nn.BatchNorm3d):
                nn.init.normal_(module.running_mean, 0, 0.2)  # type: ignore[arg-type]
                nn.init.uniform_(module.running_var, 0.5, 2)  # type: ignore[arg-type]
    return net.eval()


def through(net: Net, h: Tensor) -> Tensor:
    y: Tensor = net.inner(h)
    return y


LINEAR: dict[str, tuple[Any, ...]] = {
    "transposed": (through, lambda: nn.ConvTranspose2d(8, 4, 2, 2)),
    "transposed, norm": (through, lambda: nn.Sequential(nn.ConvTranspose2d(8, 4, 3, 2, 1, 1), nn.BatchNorm2d(4))),
    "transposed groups, norm": (
        through, lambda: nn.Sequential(nn.ConvTranspose2d(8, 4, 3, groups=2), nn.BatchNorm2d(4)),
    ),
    "transposed function": (lambda m, h: F.conv_transpose2d(h, m.weights, stride=2),),
    "three dimensions": (
        lambda m, h: m.inner(h.unsqueeze(1)),
        lambda: nn.Sequential(nn.Conv3d(1, 2, 3), nn.BatchNorm3d(2), nn.ReLU(), nn.MaxPool3d(2), nn.AvgPool3d(1)),
    ),
    "nearest": (through, lambda: nn.Upsample(scale_factor=2)),
    "bilinear": (lambda m, h: F.interpolate(h, size=(9, 5), mode="bilinear"),),
    "reflect": (through, lambda: nn.ReflectionPad2d(1)),
    "replicate": (lambda m, h: F.pad(h, (1, 0, 2, 1), mode="replicate"),),
    "constant": (through, lambda: nn.ConstantPad2d(1, 0.5)),
    "circular": (through, lambda: nn.Conv2d(8, 2, 3, padding=1, padding_mode="circular")),
    "shuffle": (through, lambda: nn.Sequential(nn.PixelShuffle(2), nn.PixelUnshuffle(2), nn.ChannelShuffle(2))),
    "unfold, fold": (lambda m, h: F.fold(F.unfold(h, 2), (6, 6), 2),),
    "adaptive": (lambda m, h: F.adaptive_avg_pool2d(h, 4),),
    "roll, flip": (lambda m, h: h.roll((1, 2), (2, 3)).flip(1),),
    "shapes": (lambda m, h: h.movedim(1, 3).split([3, 5], 3)[1].view(h.size(0), -1, 5)[:, 1::2].mT,),
    "sums": (lambda m, h: torch.stack([h.mean((2, 3)), h.sum((-1, -2)), h.cumsum(1)[..., 0, 0]], 1),),
    "scales": (lambda m, h: (1 - h * 0.5 / 2) * m.level + h.masked_fill(torch.eye(6).bool(), 0.1),),
    "einsum": (lambda m, h: torch.einsum("bchw,co->bohw", h, m.weights[:, :, 0, 0]),),
    "norm function": (
        lambda m, h: F.batch_norm(h, m.norm.running_mean, m.norm.running_var, m.norm.weight, m.norm.bias),
    ),
}  # fmt: skip
CONV = lambda: nn.Conv2d(8, 4, 3)  # noqa: E731
CLIPS: dict[str, tuple[Any, ...]] = {
    "clamp": (lambda m, h: m.inner(h).clamp(0, 0.1), CONV),
    "clamp from below 0": (lambda m, h: torch.clamp(m.inner(h), -0.2, 0.1), CONV),
    "clamp_": (lambda m, h: m.inner(h).clamp_(min=0), CONV),
    "clamp_min": (lambda m, h: torch.clamp_min(m.inner(h), 0.0), CONV),
    "clip from above": (lambda m, h: m.inner(h).clip(max=0.1), CONV),
    "relu, clamp_max": (lambda m, h: F.relu(m.inner(h)).clamp_max(0.1), CONV),
    "hardtanh": (lambda m, h: F.hardtanh(m.inner(h), 0, 0.1), CONV),
    "Hardtanh": (through, lambda: nn.Sequential(CONV(), nn.Hardtanh(-0.1, 0.2))),
    "ReLU6": (lambda m, h: F.relu6(30 * m.inner(h)), CONV),
    "Hardsigmoid": (through, lambda: nn.Sequential(CONV(), nn.Hardsigmoid())),
    "Threshold": (through, lambda: nn.Sequential(CONV(), nn.Threshold(0.1, 0.1))),
    "maximum": (lambda m, h: torch.maximum((y := m.inner(h)), torch.zeros_like(y)), CONV),
    "max with a buffer": (lambda m, h: torch.max(m.nothing, m.inner(h)), CONV),
    "minimum": (lambda m, h: m.inner(h).minimum(m.level), CONV),
    "the larger of two": (lambda m, h: torch.maximum(m.inner(h)[:, :2], m.inner(h)[:, 2:]), CONV),
}  # fmt: skip


@pytest.mark.parametrize("name", [*LINEAR, *CLIPS])
def test_it_converts_and_its_error_falls_as_one_over_time(name: str) -> None:
    model = made(*(LINEAR | CLIPS)[name])
    net = relu_to_spiking(model, X, percentile=1)
    want = model(X).detach()
    size = want.abs().max()
    assert (net.ann(X) - want).abs().max() < 1e-5 * size
    error = (net.running_mean(X, 512) - want).abs().amax((1, 2)) / size
    assert error[511] < 0.01
    assert (error[127::128] * torch.arange(128, 513, 128)).max() < 5
    assert len(net.units()) == (2 if name in CLIPS or name == "three dimensions" else 1)


@pytest.mark.parametrize(("name", "ceiling"), [("clamp", 0.1), ("clamp from below 0", 0.3), ("hardtanh", 0.1)])
def test_a_rate_stays_below_its_clip(name: str, ceiling: float) -> None:
    net = relu_to_spiking(made(*CLIPS[name]), X, percentile=1)
    unit = list(net.units().values())[1]
    assert float(unit.neuron.theta) <= ceiling + 1e-6
    loud = 50 * X
    assert (net(loud, 200) - net.ann(loud, limit=True)).abs().max() < 3 * ceiling / 200 + 1e-5


WRONG: list[tuple[Any, str]] = [
    (lambda m, h: h.roll(1), "model: got an answer that depends on the other images of its batch"),
    (lambda m, h: h - h.mean(0, keepdim=True), "model: got an answer that depends on the other images of its batch"),
    (lambda m, h: h.flip(0), "model: got an answer that depends on the other images of its batch"),
    (lambda m, h: h.reshape(2, 4, 8, 6, 6).flatten(0, 1), "model: got code for batches of one size"),
    (lambda m, h: (h.mT.transpose(0, 1) * 2).transpose(0, 1), r"transpose: got a value of shape \(8, 4, 6, 6\)"),
    (lambda m, h: h.half(), "half: got a call of half"),
    (lambda m, h: h.to(torch.float16), "to: got a cast to torch.float16"),
    (lambda m, h: torch.where(h > 0, h, -h), "gt: got a call of gt"),
    (lambda m, h: h.amax(1), "amax: got a call of amax"),
    (lambda m, h: F.threshold(h, 0.1, 0.0), "_threshold: got a threshold at 0.1 with values of 0.0 below it"),
    (lambda m, h: h.clamp(0.3, 0.1), "clamp: got a clip from 0.3 to 0.1"),
    (lambda m, h: h @ h.mT, "matmul: got a product of two spiking activations"),
    (lambda m, h: F.batch_norm(h, None, None, training=True), "batch_norm: got batch_norm with the statistics of the"),
]


@pytest.mark.parametrize(("work", "message"), WRONG)
def test_what_looks_across_the_batch_or_is_not_linear_is_named(work: Any, message: str) -> None:
    with pytest.raises(BitspikeError, match=f"^relu_to_spiking {message}") as error:
        relu_to_spiking(made(work), X)
    assert "\n" not in str(error.value)


def test_a_clip_of_the_image_stays_real() -> None:
    class Bounded(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Conv2d(3, 4, 1)

        def forward(self, x: Tensor) -> Tensor:
            return F.relu(self.layer(x.clamp(0.2, 0.7))).mean((2, 3))

    model = Bounded().eval()
    net = relu_to_spiking(model, X)
    assert list(net.units()) == ["relu"]
    assert torch.allclose(net.ann(X), model(X))


class Dead(nn.Module):
    """A branch that never answers beside one that does."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.d, self.o = nn.Linear(12, 8), nn.Linear(8, 8), nn.Linear(8, 3)
        nn.init.constant_(self.d.bias, -100.0)

    def forward(self, x: Tensor) -> Tensor:
        h = F.relu(self.a(x))
        y: Tensor = self.o(h + F.relu(self.d(h)))
        return y


@pytest.mark.parametrize("scale", ["layer", "channel"])
def test_a_branch_that_never_answers_is_silent_and_named(scale: str) -> None:
    model, x = Dead().eval(), torch.randn(32, 12)
    net = relu_to_spiking(model, x, scale=scale)
    assert net.silent == ("relu_2",)
    assert (net(x, 512) - net.ann(x, limit=True)).abs().max() < 0.02
    units = net.units()
    assert units["relu_2"].spikes == 0
    assert units["relu"].spikes > 0
    assert float(units["relu_2"].neuron.theta.max()) > 0
    hybrid = hybridise(model, 16.0, data=x, scale=scale)
    assert hybrid.silent == ("relu_2",)
    assert torch.isfinite(hybrid(x)).all()
    assert (hybrid(x) - model(x)).abs().max() < 0.2


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32_and_given_back(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(12, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 3)).eval().to(dtype)
    x = torch.randn(64, 12).to(dtype)
    whole = copy.deepcopy(model).float()
    close = 4 * torch.finfo(dtype).eps
    net, twin = relu_to_spiking(model, x), relu_to_spiking(whole, x.float())
    for found, want in (
        (net(x, 64), twin(x.float(), 64)),
        (net.ann(x), twin.ann(x.float())),
        (net.running_mean(x, 9), twin.running_mean(x.float(), 9)),
        (hybridise(model, 16.0, data=x)(x), hybridise(whole, 16.0, data=x.float())(x.float())),
    ):
        assert found.dtype == dtype
        assert torch.allclose(found.float(), want, atol=close, rtol=close)
    # Half in a network of float32, numbers of any kind, and autocast around it.
    assert torch.equal(twin(x, 8), twin(x.float(), 8).to(dtype))
    assert torch.equal(twin((x > 0), 8), twin((x > 0).float(), 8))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(twin(x.float(), 8), net(x.float(), 8))
    assert next(model.parameters()).dtype == dtype


def test_a_half_hybrid_still_trains_its_model() -> None:
    model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2)).to(torch.bfloat16).train()
    before = model[1].running_mean.clone()
    hybridise(model, 8.0, steps=2)(torch.randn(16, 4).bfloat16()).sum().backward()
    grads = [p.grad for p in model.parameters()]
    assert all(g is not None and g.dtype == torch.bfloat16 and bool(g.abs().sum() > 0) for g in (grads[0], grads[-1]))
    assert not torch.equal(before, model[1].running_mean)


def test_wrappers_are_taken_off_and_scripts_refused() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(108, 4), nn.ReLU()).eval()
    want = relu_to_spiking(model, X)(X, 8)
    for wrapped in (torch.compile(model, backend="eager"), nn.DataParallel(model)):
        assert torch.equal(relu_to_spiking(wrapped, X)(X, 8), want)
        assert torch.allclose(hybridise(wrapped, 8.0)(X), hybridise(model, 8.0)(X))
    tied = nn.utils.parametrizations.weight_norm(nn.Linear(108, 4))
    relu_to_spiking(nn.Sequential(nn.Flatten(), tied, nn.ReLU()).eval(), X)
    for door in (relu_to_spiking, hybridise):
        with pytest.raises(BitspikeError, match=r"model: got a file 'net\.pt', wanted a module"):
            door("net.pt", data=X)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scripted: Any = torch.jit.script(model)
    for door in (relu_to_spiking, hybridise):
        with pytest.raises(BitspikeError, match="model: got a TorchScript module, whose code cannot be looked into"):
            door(scripted, data=X)


def test_channels_that_lie_last_may_be_viewed() -> None:
    class Viewed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.out = nn.Conv2d(3, 4, 3), nn.Linear(64, 2)

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.out(F.relu(self.layer(x)).view(x.shape[0], -1))
            return y

    model = Viewed().eval()
    net = relu_to_spiking(model, X, percentile=1)
    assert (net(X, 512) - model(X)).abs().max() < 0.02


def test_what_a_threshold_cuts_off_and_what_never_answered_is_said() -> None:
    model, x = Dead().eval(), torch.randn(40, 12)
    y = model(x).argmax(1)
    low = accuracy_curve(relu_to_spiking(model, x, percentile=0.6), [(x, y)], 8)
    h = F.relu(model.a(x)).flatten()
    assert low.cut["relu"] == pytest.approx(float((h > relu_theta(model, x)).double().mean()))
    assert low.cut["relu"] > 0.3
    assert low.cut["relu_2"] == 0
    assert low.notes[0] == "relu_2 never answered on the data that set the thresholds"
    assert low.notes[1].startswith(f"relu: {100 * low.cut['relu']:.2g} % of the activations are above the threshold")
    assert low.to_dict()["notes"] == list(low.notes)
    whole = accuracy_curve(relu_to_spiking(model, x, percentile=1), [(x, y)], 8)
    assert whole.cut == {"relu": 0.0, "relu_2": 0.0}
    assert len(whole.notes) == 1


def relu_theta(model: nn.Module, x: Tensor) -> float:
    return float(relu_to_spiking(model, x, percentile=0.6).units()["relu"].neuron.theta)
