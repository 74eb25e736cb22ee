"""VGG9 with batch normalisation through time, and the two ordinary networks beside it: counts, equations, gradients."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bitspike import registry
from bitspike.energy import OperationCounter
from bitspike.errors import BitspikeError
from bitspike.learners import BackpropLearner, Optimisation, Schedule
from bitspike.learners.optimisation import OptimiserChoice
from bitspike.models.setting import Setting
from bitspike.models.vgg9_state import load_published_state, published_state
from bitspike.run.recipe_files import load_recipe

from ..nearness import off

CHANNELS = (64, 64, 128, 128, 256, 256, 256, 1024)
MILLIONS = (1.77, 37.75, 18.87, 37.75, 18.87, 37.75, 37.75, 4.19, 0.01)


def build(kind: str = "vgg9", shape: tuple[int, ...] = (3, 32, 32), steps: int = 20, seed: int = 0, **options: Any):
    made = registry.options("model", kind).model_validate(options)
    return Setting(shape, 10, steps, seed=seed).build(made)


@pytest.fixture(scope="module")
def whole() -> nn.Module:
    return build()


def macs(model: nn.Module) -> list[float]:
    """Synapses of each layer, as published."""
    x = torch.zeros(1, 1, 3, 32, 32)
    with torch.no_grad(), OperationCounter(model.eval()) as counter, counter.presentation(1, True, x):
        model(x)
    # Norms of each step, too, fold into neurons: nothing is named as left out.
    assert counter.counts().uncounted == ()
    return [layer.connections for layer in counter.counts().layers]


def test_parameters_and_state_are_those_published(whole: nn.Module) -> None:
    sizes = {name: p.numel() for name, p in whole.named_parameters()}
    gains = sum(size for name, size in sizes.items() if name.startswith("norm"))
    assert (sum(sizes.values()) - gains, gains) == (5_938_880, 43_520)
    state = published_state(whole)
    assert len(state) == 649
    assert sum(1 for name in state if "bntt" in name) == 160 * 4
    assert 4 * sum(tensor.numel() for tensor in state.values()) / 1e6 == pytest.approx(24.3, abs=0.1)


def test_products_of_each_layer_are_those_published(whole: nn.Module) -> None:
    found = macs(whole)
    assert [mac / 1e6 for mac in found] == pytest.approx(MILLIONS, abs=0.01)
    assert sum(found) / 1e6 == pytest.approx(194.72, abs=0.01)


def test_the_ordinary_network_of_the_same_layers() -> None:
    ann = build(norm="batch", neuron={"kind": "relu"}, steps=1)
    assert sum(p.numel() for p in ann.parameters()) == 5_938_880 + 2 * sum(CHANNELS)
    assert not any(name.endswith("layer.bias") for name, _ in ann.named_parameters())
    assert macs(ann) == macs(build(steps=1))


def test_the_ordinary_network_of_the_papers_code() -> None:
    ann = build("vgg9-reference-ann", steps=1)
    assert sum(p.numel() for p in ann.parameters()) == 22_749_120
    assert sum(macs(ann)) / 1e6 == pytest.approx(91.20, abs=0.01)
    kinds = [type(part).__name__ for part in ann.children()]
    assert kinds.count("Dropout") == 5
    assert [part.p for part in ann.children() if hasattr(part, "p")] == pytest.approx([0.3] * 3 + [0.5] * 2)
    # No norm behind dense layers; Gaussian weights whose spread is that of what a convolution sends.
    assert kinds.count("TemporalBatchNorm") == 7
    assert float(ann.conv5.layer.weight.detach().std()) == pytest.approx(math.sqrt(2 / (9 * 128)), rel=0.02)
    assert float(ann.dense17.layer.weight.detach().std()) == pytest.approx(0.01, rel=0.02)


def test_weights_begin_by_xavier_with_gain_2(whole: nn.Module) -> None:
    for layer, fans in ((whole.conv2, 9 * (64 + 64)), (whole.conv4, 9 * (64 + 128)), (whole.dense11, 4096 + 1024)):
        weight, bound = layer.layer.weight.detach(), 2 * math.sqrt(6 / fans)
        assert 0.999 * bound < float(weight.abs().max()) <= bound
        assert float(weight.std()) == pytest.approx(bound / math.sqrt(3), rel=0.02)


def test_the_neuron_is_the_published_one(whole: nn.Module) -> None:
    neuron = whole.spikes1
    assert float(neuron.constants().beta) == pytest.approx(0.95, abs=1e-7)
    z = torch.tensor([0.0, 0.5, -0.5, 1.0, 2.0], requires_grad=True)
    spikes = neuron.spike(z)
    assert spikes.tolist() == [0, 1, 0, 1, 1]
    spikes.sum().backward()
    assert z.grad.tolist() == pytest.approx([0.3, 0.15, 0.15, 0, 0])
    # At the threshold it does not fire; past it, the threshold is taken off.
    fired, state = neuron.run(torch.tensor([1.0, 1.75]).view(1, 1, 2))
    assert fired.flatten().tolist() == [0, 1]
    assert state.v.flatten().tolist() == [1.0, 0.75]


class StepByStep(nn.Module):
    """The network as it is written down: a norm module for each step, one step after the other."""

    def __init__(self, width: int, steps: int, side: int, leak: float) -> None:
        super().__init__()
        self.steps, self.leak = steps, leak
        before = 3
        for number, channels in enumerate(CHANNELS[:7], 1):
            self.add_module(f"conv{number}", nn.Conv2d(before, channels // width, 3, padding=1, bias=False))
            self.add_module(f"bntt{number}", self.norms(nn.BatchNorm2d, channels // width))
            before = channels // width
        self.fc1 = nn.Linear(before * (side // 8) ** 2, 1024 // width, bias=False)
        self.bntt_fc = self.norms(nn.BatchNorm1d, 1024 // width)
        self.fc2 = nn.Linear(1024 // width, 10, bias=False)
        self.sent: list[Tensor] = []

    def norms(self, kind: Any, channels: int) -> nn.ModuleList:
        made = nn.ModuleList(kind(channels, eps=1e-4, momentum=0.1) for _ in range(self.steps))
        for each in made:
            each.bias = None
        return made

    def fire(self, u: Tensor, current: Tensor) -> tuple[Tensor, Tensor]:
        u = self.leak * u + current
        z = u - 1
        h = 0.3 * (1 - z.detach().abs()).clamp_min(0)
        spikes = (z > 0).to(u)
        return spikes + (u * h - (u * h).detach()), u - spikes

    def forward(self, x: Tensor) -> Tensor:
        membranes: dict[str, Any] = {}
        out: Any = 0
        for t in range(self.steps):
            o = x[t]
            sent = []
            for number in range(1, 8):
                y = getattr(self, f"bntt{number}")[t](getattr(self, f"conv{number}")(o))
                o, membranes[number] = self.fire(membranes.get(number, torch.zeros_like(y)), y)
                sent.append(o.detach().flatten())
                o = F.avg_pool2d(o, 2) if number in (2, 4, 7) else o
            y = self.bntt_fc[t](self.fc1(o.flatten(1)))
            o, membranes["fc"] = self.fire(membranes.get("fc", torch.zeros_like(y)), y)
            self.sent.append(torch.cat([*sent, o.detach().flatten()]))
            out = out + self.fc2(o)
        return out / self.steps


def test_layer_by_layer_is_step_by_step() -> None:
    """In float64: a sum that rounds otherwise decides about no spike there."""
    dtype, most = torch.float64, 1e-10
    steps, side, width = 4, 16, 16
    model = build(width=1 / width, shape=(3, side, side), steps=steps).to(dtype)
    leak = float(model.spikes1.constants().beta)
    plain = StepByStep(width, steps, side, leak).to(dtype)
    plain.load_state_dict(published_state(model), strict=True)
    source = torch.Generator().manual_seed(2)
    x = torch.randint(-1, 2, (steps, 6, 3, side, side), generator=source).to(dtype)
    y = torch.randint(0, 10, (6,), generator=source)
    sent: list[Tensor] = []
    handles = [
        part.register_forward_hook(lambda m, given, output: sent.append(output.detach().flatten(1)))
        for name, part in model.named_children()
        if name.startswith("spikes")
    ]
    ours, theirs = model(x).mean(0), plain(x)
    for handle in handles:
        handle.remove()
    assert torch.equal(torch.cat(sent, 1), torch.stack(plain.sent))
    assert all(0.01 < float(each.mean()) < 0.9 for each in sent)
    assert off(ours, theirs) < most
    F.cross_entropy(ours, y).backward()
    F.cross_entropy(theirs, y).backward()
    gradients = {name: p.grad for name, p in plain.named_parameters()}
    found = {name: p.grad for name, p in model.named_parameters()}
    assert off(found["readout.layer.weight"], gradients["fc2.weight"]) < most
    assert off(found["conv1.layer.weight"], gradients["conv1.weight"]) < most
    for name in ("conv5", "conv8"):
        number = {"conv5": 4, "conv8": 6}[name]
        assert off(found[f"{name}.layer.weight"], gradients[f"conv{number}.weight"]) < most
        each = torch.stack([gradients[f"bntt{number}.{t}.weight"] for t in range(steps)])
        assert off(found[f"norm_{name}.weight"], each) < most
    # Running statistics too, and what is answered by them.
    now = published_state(model)
    for name, tensor in plain.state_dict().items():
        if not name.endswith("num_batches_tracked"):
            assert off(now[name], tensor) < most, name
    with torch.no_grad():
        assert off(model.eval()(x).mean(0), plain.eval()(x)) < most


def test_fused_kernels_send_the_same_spikes() -> None:
    x = torch.randint(-1, 2, (3, 4, 3, 8, 8), generator=torch.Generator().manual_seed(3)).double()
    answers = []
    for back_end in ("cpu", "reference"):
        model = build(width=1 / 16, shape=(3, 8, 8), steps=3).double()
        for part in model.children():
            if hasattr(part, "back_end"):
                part.back_end = back_end
        answers.append(model(x))
    assert torch.equal(*answers)


def test_a_state_by_the_published_names_goes_and_comes_back() -> None:
    one, other = (build(width=1 / 16, shape=(3, 8, 8), steps=2, seed=seed) for seed in (0, 1))
    one(torch.randn(2, 5, 3, 8, 8))
    load_published_state(other, published_state(one))
    for name, tensor in published_state(other).items():
        assert torch.equal(tensor, published_state(one)[name])
    x = torch.randn(2, 5, 3, 8, 8)
    assert torch.equal(one.eval()(x), other.eval()(x))
    short = {name: tensor for name, tensor in published_state(one).items() if name != "fc2.weight"}
    for state, message in (
        (short, "published state: got no 'fc2.weight', wanted all names"),
        ({**published_state(one), "fc3.weight": torch.ones(1)}, "got 'fc3.weight', wanted a name of this network's"),
        ({**published_state(one), "fc2.weight": torch.ones(2)}, r"'fc2.weight': got \(2,\), wanted finite numbers"),
    ):
        with pytest.raises(BitspikeError, match=message):
            load_published_state(other, state)
    with pytest.raises(BitspikeError, match="got TemporalBatchNorm behind conv1, wanted a network with norm = 'bntt'"):
        published_state(build(width=1 / 16, norm="batch"))


def test_statistics_of_each_step_are_exchanged_and_received() -> None:
    def learner(seed: int) -> BackpropLearner:
        model = build(width=1 / 16, shape=(3, 8, 8), steps=3, seed=seed)
        choice = OptimiserChoice("SGD", 0.1, {"momentum": 0.9})
        return BackpropLearner(model, Optimisation(model, choice, None, Schedule(), 10))

    one, other = learner(0), learner(1)
    x, y = torch.randint(-1, 2, (3, 8, 3, 8, 8)).float(), torch.arange(8)
    one.fit_batch(x, y)
    sent = one.exchanged()
    assert len(sent["statistic"]) == 8
    assert sent["statistic"]["norm_conv5.running"].shape == (4, 3, 8)
    assert sent["real"]["norm_conv5.weight"].shape == (3, 8)
    assert sent["latent"] == {}
    other.receive(sent)
    again = other.exchanged()
    for role, some in sent.items():
        assert again[role].keys() == some.keys()
        for name, tensor in some.items():
            assert torch.equal(again[role][name], tensor), name
    assert torch.equal(one.predict(x), other.predict(x))


@pytest.mark.parametrize(
    ("kind", "options", "shape", "message"),
    [
        ("vgg9", {"width": 0.3}, (3, 32, 32), "model.width: got 0.3, wanted a share that leaves 64 channels a whole"),
        ("vgg9", {}, (3, 7, 32), r"model.kind: got 'vgg9' on inputs of shape \(3, 7, 32\), wanted images"),
        ("vgg9", {}, (64,), r"model.kind: got 'vgg9' on inputs of shape \(64,\), wanted images"),
        ("vgg9", {"neuron": {"kind": "relu"}}, (3, 32, 32), "model.norm: got 'bntt' with 'relu'"),
        ("vgg9-reference-ann", {}, (3, 8, 8), "wanted images .* of 16 x 16 or more"),
    ],
)
def test_what_cannot_be_is_one_line(kind: str, options: dict[str, Any], shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(BitspikeError, match=message):
        build(kind, shape, **options)


def test_a_width_that_no_memory_holds_is_refused_by_the_recipe() -> None:
    with pytest.raises(BitspikeError, match=r"model.width: got 16, input should be less than or equal to 4"):
        load_recipe("cifar10-vgg9-snn", ["model.width=16"])
