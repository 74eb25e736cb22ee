"""What the account counts as spikes, as uses of a layer, and what it names: by origin, never by values."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import bitspike
from bitspike.convert import relu_to_spiking
from bitspike.energy import OperationCounter
from bitspike.errors import BitspikeError
from bitspike.neurons import LIF


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def test_a_picture_of_zeros_and_ones_is_no_train_of_spikes() -> None:
    x = (torch.rand(3, 1, 6, 6) < 0.5).float()
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(32, 2))
    with torch.no_grad():
        # Whole numbers throughout: weights of 1.
        for p in model.parameters():
            p.copy_(torch.randint(1, 4, p.shape))
    found = bitspike.estimate_energy(model, x)
    reads = F.conv2d(x, torch.ones(2, 1, 3, 3)).sum() / 3
    assert found.counts.layers[0].mac == pytest.approx(float(reads))
    assert [layer.events for layer in found.counts.layers] == [0, 0]
    assert found.network.ac == 0
    # Shown as a constant current to spiking neurons, too.
    over = nn.Sequential(nn.Linear(36, 5), LIF(), nn.Linear(5, 2))
    flat = x.flatten(1)
    constant, frames = (bitspike.estimate_energy(over, z) for z in (flat.expand(4, 3, 36), flat.repeat(4, 1, 1)))
    assert (constant.counts.layers[0].events, frames.counts.layers[0].graded) == (0, 0)
    assert constant.counts.layers[0].graded == frames.counts.layers[0].events == float(flat.sum()) * 4 * 5 / 3
    rates = relu_to_spiking(nn.Sequential(nn.Linear(36, 5), nn.ReLU(), nn.Linear(5, 2)), flat)
    first, second = bitspike.estimate_energy(rates, flat, steps=7).counts.layers
    assert (first.events, first.rows) == (0, 1)
    assert second.graded == 0


class Behind(nn.Module):
    """Spikes, `work`, and the layer that gets what it made of them."""

    def __init__(self, work: Callable[[Any, Tensor], Tensor], reads: int = 6) -> None:
        super().__init__()
        self.first, self.neurons, self.last = nn.Linear(6, 6), LIF(), nn.Linear(reads, 3)
        self.work, self.gain = work, nn.Parameter(torch.full((6,), 0.37))
        self.register_buffer("place", torch.tensor([5, 0, 3, 3, 1, 2]))
        self.spikes = torch.zeros(0)

    def forward(self, x: Tensor) -> Tensor:
        s = self.neurons(3 * self.first(x))
        self.spikes = s.clone()
        y: Tensor = self.last(self.work(self, s))
        return y


SAME = 1.0
# The work, how many inputs the layer behind it has, and how many of its events there are for a spike (None: no spikes).
WORKS: dict[str, tuple[Any, int, float | None]] = {
    "gain": (lambda m, s: s * m.gain, 6, SAME),
    "gain of numbers": (lambda m, s: -(2.5 * s) / 3, 6, SAME),
    "gain in place": (lambda m, s: s.mul_(0.3), 6, SAME),
    "gain made of weights": (lambda m, s: s * (m.gain.sigmoid() + 1).view(1, 1, -1), 6, SAME),
    "gain and offset": (lambda m, s: (s * m.gain + 0.1).flatten(0, 1).unflatten(0, s.shape[:2]), 6, SAME),
    "copies": (lambda m, s: s.clone().double().float().contiguous().detach(), 6, SAME),
    "shapes": (lambda m, s: s.permute(2, 0, 1).roll(1, 0).movedim(0, -1).flip(2), 6, SAME),
    "pieces": (lambda m, s: torch.cat(s.split([2, 4], 2)[::-1], 2), 6, SAME),
    "index": (lambda m, s: torch.cat([s[..., :3], s[..., 3:]], -1)[:, :, torch.arange(6)], 6, SAME),
    "norm": (lambda m, s: F.batch_norm(s.flatten(0, 1), 0.1 * m.gain, m.gain.abs()).unflatten(0, s.shape[:2]), 6, SAME),
    "dropout": (lambda m, s: F.dropout(s, 0.0, training=True), 6, SAME),
    "relu": (lambda m, s: F.relu(s).clamp(0, 1), 6, SAME),
    "sum of two": (lambda m, s: s + s.roll(1, 2), 6, 2.0),
    "average pool": (lambda m, s: F.avg_pool1d(s, 2), 3, SAME),
    "adaptive pool": (lambda m, s: F.adaptive_avg_pool1d(s, 3), 3, SAME),
    "mean": (lambda m, s: torch.stack([s.mean(2), s.sum(-1)], 2), 2, 2.0),
    "nearest": (lambda m, s: F.interpolate(s, scale_factor=2), 12, 2.0),
    "comparison": (lambda m, s: (s > 0.5).float(), 6, SAME),
    "mask of its own": (lambda m, s: s * torch.sigmoid(s + s.mean()), 6, None),
    "sigmoid": (lambda m, s: torch.sigmoid(s), 6, None),
    "less its mean": (lambda m, s: s - s.mean(), 6, None),
    "changed": (lambda m, s: s.index_put_((torch.tensor(0),), torch.tensor(0.5)), 6, None),
}


@pytest.mark.parametrize("name", WORKS)
def test_spikes_are_followed_to_the_weights_they_meet(name: str) -> None:
    work, reads, share = WORKS[name]
    model = Behind(work, reads)
    found = bitspike.estimate_energy(model, (torch.rand(5, 2, 6) < 0.7).float())
    last = found.counts.layers[-1]
    spikes = float(model.spikes.sum()) / 2
    assert spikes > 0
    if share is None:
        assert last.events == 0
        assert last.mac == last.graded > 0
    else:
        assert last.graded == last.mac == 0
        assert last.events == pytest.approx(share * 3 * spikes)


def test_a_spike_has_any_height() -> None:
    class Tall(nn.Module):
        is_spiking = True

        def forward(self, x: Tensor) -> Tensor:
            self.seen = (x > 0.3).float()
            return 0.7 * self.seen

    model = nn.Sequential(Tall(), nn.Linear(6, 3))
    last = bitspike.estimate_energy(model, torch.rand(5, 2, 6)).counts.layers[0]
    assert (last.events, last.graded) == (float(model[0].seen.sum()) * 3 / 2, 0)


LAYERS: list[tuple[nn.Module, tuple[int, ...], float]] = [
    (nn.ConvTranspose2d(4, 1, 3), (4, 6, 6), 4 * 36 * 9),
    (nn.ConvTranspose2d(4, 6, 3, stride=2, padding=1, output_padding=1, groups=2), (4, 3, 3), 4 * 3 * (3 * 3 - 1) ** 2),
    (nn.ConvTranspose1d(2, 3, 2, stride=2), (2, 5), 2 * 3 * 2 * 5),
    (nn.Conv3d(1, 2, 3), (1, 4, 4, 4), 2 * 8 * 27),
    (nn.Linear(3, 4), (7, 3), 7 * 12),
]


@pytest.mark.parametrize(("layer", "shape", "products"), LAYERS)
def test_layers_of_every_kind_by_hand(layer: nn.Module, shape: tuple[int, ...], products: float) -> None:
    found = bitspike.estimate_energy(layer, torch.rand(2, *shape) + 0.1)
    assert found.network.mac == found.twin.mac == products
    assert found.counts.uncounted == ()
    assert str(found).splitlines()[1].split()[0] == "multiply-adds"


class Functions(nn.Module):
    """Products that are calls of functions."""

    def __init__(self) -> None:
        super().__init__()
        self.kernel, self.matrix = nn.Parameter(torch.randn(4, 1, 3, 3)), nn.Parameter(torch.randn(16, 3))
        self.dense = nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        h = F.conv2d(x, self.kernel).flatten(2)  # (B, 4, 16)
        one = F.linear(h[:, 0], self.dense.weight, self.dense.bias)
        parts = (h @ self.matrix, one, h @ h.mT, self.matrix.T @ h[0, 0])
        return torch.stack([part.sum() for part in parts])


def test_products_that_are_functions_are_layers() -> None:
    found = bitspike.estimate_energy(Functions(), torch.rand(2, 1, 6, 6) + 0.1)
    assert {layer.name: layer.dense for layer in found.counts.layers} == {
        "kernel (conv2d)": 4 * 16 * 9,
        "dense.weight (linear)": 16 * 5,
        "matrix (matmul)": 4 * 16 * 3 + 16 * 3 / 2,
        "matmul of activations": 4 * 4 * 16,
    }
    assert found.network.mac == found.twin.mac
    assert found.counts.uncounted == ()


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attend, self.norm, self.words = nn.MultiheadAttention(4, 2), nn.LayerNorm(4), nn.Embedding(9, 4)

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm(self.words(x))
        y = torch.einsum("btf,bsf->bts", h, F.scaled_dot_product_attention(h, h, h))
        return y.sum() + self.attend(h, h, h)[0]


def test_what_is_not_counted_is_named_first() -> None:
    found = bitspike.estimate_energy(Attention(), torch.randint(9, (2, 5)))
    names = [
        "attend (MultiheadAttention)", "norm (LayerNorm)", "words (Embedding)",
        "scaled_dot_product_attention (a function)", "einsum (a function)",
    ]  # fmt: skip
    line = f"not counted: {', '.join(names)}"
    assert str(found).splitlines()[0] == line
    assert found.assumptions[0] == line
    assert found.to_dict()["assumptions"][0] == line
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        script: nn.Module = torch.jit.script(nn.Linear(4, 2))
    mixed = bitspike.estimate_energy(nn.Sequential(nn.Linear(3, 4), script), torch.rand(2, 3))
    assert str(mixed).startswith("not counted: 1 (TorchScript)\n")


class Stepping(nn.Module):
    def __init__(self, kind: type[nn.Module]) -> None:
        super().__init__()
        self.cell, self.out = kind(4, 6), nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        state: Any = None
        for row in x.unbind(1):
            state = self.cell(row, state)
        y: Tensor = self.out(state[0] if isinstance(state, tuple) else state)
        return y


@pytest.mark.parametrize(("kind", "gates"), [(nn.RNNCell, 1), (nn.GRUCell, 3), (nn.LSTMCell, 4)])
def test_cells_are_counted_at_every_step(kind: type[nn.Module], gates: int) -> None:
    found = bitspike.estimate_energy(Stepping(kind), torch.rand(2, 5, 4) + 0.1)
    assert {layer.name: layer.dense for layer in found.counts.layers} == {
        "cell.input": 5 * gates * 4 * 6, "cell.feedback": 5 * gates * 6 * 6, "out": 12,
    }  # fmt: skip
    # The first state is zeros, which cost nothing.
    assert found.network.mac == gates * (5 * 24 + 4 * 36) + 12


def test_every_layer_of_a_recurrent_module_is_counted() -> None:
    x = torch.rand(2, 5, 4) + 0.1
    found = bitspike.estimate_energy(nn.LSTM(4, 6, 2, bidirectional=True, batch_first=True), x)
    # Two directions of two layers: the second gets both directions of the first.
    assert found.twin.mac == 5 * 2 * 4 * (4 * 6 + 6 * 6 + 12 * 6 + 6 * 6)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        projected = bitspike.estimate_energy(nn.LSTM(4, 6, proj_size=3, batch_first=True), x)
    assert projected.twin.mac == 5 * (4 * (4 * 6 + 3 * 6) + 6 * 3)
    one = bitspike.estimate_energy(nn.GRU(4, 6), x.transpose(0, 1), time_first=True)
    assert one.twin.mac == 5 * 3 * (4 * 6 + 6 * 6)


class Shared(nn.Module):
    """One layer and one ReLU in place, both used twice, and a layer that meets two sizes."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.act, self.conv = nn.Linear(6, 6), nn.ReLU(inplace=True), nn.Conv1d(1, 2, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = self.act(self.layer(self.act(self.layer(x))))
        return self.conv(x.unsqueeze(-2)).sum(-1) + self.conv(y[..., :4].unsqueeze(-2)).sum(-1)


def test_a_layer_that_is_used_twice_is_two_of_a_network_that_runs_once() -> None:
    found = bitspike.estimate_energy(Shared(), torch.rand(2, 6))
    assert {layer.name: layer.dense for layer in found.counts.layers} == {"layer": 72, "conv": 24 + 12}
    assert [(unit.name, unit.neurons) for unit in found.counts.units] == [("act", 12)]
    assert found.twin.mac >= found.network.mac

    # Steps of a loop over time are one use.
    class Loop(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.neurons = nn.Linear(6, 4), LIF()

        def forward(self, x: Tensor) -> Tensor:
            return self.neurons(torch.stack([self.layer(row) for row in x]))

    frames = (torch.rand(5, 2, 6) < 0.4).float()
    assert bitspike.estimate_energy(Loop(), frames).counts.layers[0].dense == 24
    assert bitspike.estimate_energy(Loop(), frames).counts.layers[0].once == float((frames.sum(0) > 0).sum()) * 4 / 2


def test_an_image_without_a_batch_is_one_image() -> None:
    model = nn.Sequential(nn.Conv1d(8, 4, 3), nn.ReLU(), nn.AvgPool1d(2), nn.Flatten(-2), nn.Linear(20, 2))
    x = torch.rand(8, 12)
    one, batch = bitspike.estimate_energy(model, x), bitspike.estimate_energy(model, x[None])
    assert one.to_dict() == batch.to_dict()
    assert one.counts.presentations == 1
    assert bitspike.estimate_energy(model, [x, x]).counts.presentations == 2
    with pytest.raises(
        BitspikeError, match=r"energy data: got \(8, 12\), one image without a batch, wanted batches as"
    ):
        bitspike.estimate_energy(model, [x[None], x])


def test_wrappers_and_compiled_parts_are_counted_as_what_they_hold() -> None:
    x = torch.rand(2, 6)
    want = bitspike.estimate_energy(model := Shared(), x).network
    assert bitspike.estimate_energy(torch.compile(model, backend="eager"), x).network == want
    assert bitspike.estimate_energy(nn.DataParallel(model), x).network == want
    model.layer = torch.compile(model.layer, backend="eager")  # type: ignore[assignment]
    assert bitspike.estimate_energy(model, x).network == want
    with pytest.raises(BitspikeError, match="energy model: got str, wanted a module"):
        bitspike.estimate_energy("model", x)  # type: ignore[arg-type]


def test_nothing_is_left_behind_by_a_pass_that_fails() -> None:
    class Broken(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.act, self.frozen = nn.Linear(6, 6), nn.ReLU(), nn.Dropout().eval()

        def forward(self, x: Tensor) -> Tensor:
            self.act(self.layer(x))
            raise KeyError("mine")

    model = Broken().train()
    model.frozen.eval()
    with pytest.raises(KeyError, match="mine"):
        bitspike.estimate_energy(model, torch.rand(2, 6))
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    assert [m.training for m in (model, model.layer, model.frozen)] == [True, True, False]
    with pytest.raises(KeyError), OperationCounter(model), torch.inference_mode():
        model(torch.rand(2, 6))
    assert torch.overrides._get_current_function_mode() is None


def test_the_print_says_what_is_compared_with_what() -> None:
    found = bitspike.estimate_energy(Behind(lambda m, s: s), (torch.rand(5, 2, 6) < 0.7).float())
    lines = str(found).splitlines()
    question = next(k for k, line in enumerate(lines) if line.startswith("Does it cost less with spikes than"))
    answers = dict(line.split(None, 1) for line in lines[question + 2 : -1] if not line.startswith(("arith", "memory")))
    assert set(answers) >= {"loihi"}
    for name, cross in found.cross_over.items():
        line = next(line for line in lines[question + 2 :] if line.startswith(f"{name} "))
        said = {"network": " yes, ", "opponent": " no, ", "neither": " the same, "}[cross.winner]
        assert said in line
        assert ("up to" in line) == (cross.at is not None)
