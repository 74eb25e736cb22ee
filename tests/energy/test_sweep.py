from __future__ import annotations

import math
import re
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bitspike.convert import hybridise
from bitspike.data import load
from bitspike.energy import sweep
from bitspike.energy.fan_out import fan_outs
from bitspike.errors import BitspikeError


def test_fan_out_counts_weights_at_borders_with_strides_groups_and_behind_reshapes() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 4, 1), nn.ReLU(), nn.Conv2d(4, 6, 3, padding=1), nn.Sigmoid(),
        nn.Conv2d(6, 6, 2, stride=2, groups=3), nn.BatchNorm2d(6), nn.Tanh(),
        nn.Flatten(), nn.Linear(24, 5), nn.Tanh(), nn.Linear(5, 3),
    ).eval()  # fmt: skip
    x = torch.rand(2, 1, 4, 4)
    reach = fan_outs(hybridise(model, data=x), x)
    first, second, third, fourth = (reach[f"net.{k}.quantiser"] for k in "1369")
    # A 3 x 3 kernel meets an inner pixel nine times, one at an edge six, in a corner four; six outputs each.
    assert first[0].tolist() == [[24, 36, 36, 24], [36, 54, 54, 36], [36, 54, 54, 36], [24, 36, 36, 24]]
    # Stride 2 with a kernel of 2: once; a group has two outputs.
    assert torch.equal(second, torch.full((6, 4, 4), 2.0))
    assert torch.equal(third, torch.full((6, 2, 2), 5.0))
    assert torch.equal(fourth, torch.full((5,), 3.0))


def test_fan_out_sees_a_residual_sum_and_a_pool() -> None:
    class Residual(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.c = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(2, 3)

        def forward(self, x: Tensor) -> Tensor:
            h = torch.tanh(self.a(x))
            y: Tensor = self.c(nn.functional.avg_pool1d((h + self.b(h)).unsqueeze(1), 2).squeeze(1))
            return y

    model, x = Residual().eval(), torch.rand(3, 4)
    reach = fan_outs(hybridise(model, data=x), x)
    # Four weights of b; half of each of three weights of c, straight through the sum.
    assert reach["net.tanh.quantiser"].tolist() == [5.5] * 4


@pytest.fixture(scope="module")
def trained() -> tuple[nn.Module, Any]:
    digits = load("digits")
    generator = torch.Generator().manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 48), nn.ReLU(), nn.Linear(48, 32), nn.ReLU(), nn.Linear(32, 10))
    with torch.no_grad():
        for layer in model:
            if isinstance(layer, nn.Linear):
                layer.weight.uniform_(-0.2, 0.2, generator=generator)
    optimiser = torch.optim.Adam(model.parameters(), 0.01)
    for _ in range(60):
        loss = nn.functional.cross_entropy(model(digits.train.x), digits.train.y)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return model.eval(), digits


def test_the_curve_goes_from_the_static_accuracy_down_to_where_it_breaks(trained: tuple[nn.Module, Any]) -> None:
    model, digits = trained
    hybrid = hybridise(model, 1.0, data=digits.train.x)
    test = [(digits.test.x, digits.test.y, digits.test.index)]
    rows = sweep(hybrid, test, (math.inf, 64.0, 8.0, 1.0, 0.05), steps=(1, 4))
    with torch.no_grad():
        static = float((model(digits.test.x).argmax(1) == digits.test.y).double().mean())
    assert rows[0] == {"steps": 1, "factor": None, "accuracy": static, "examples": len(digits.test)}
    assert static > 0.9
    once, often = ([r for r in rows if r["steps"] == steps and r["factor"]] for steps in (1, 4))
    for line in (once, often):
        assert [r["factor"] for r in line] == [64.0, 8.0, 1.0, 0.05]
        assert line[0]["accuracy"] == pytest.approx(static, abs=0.01)
        assert line[1]["accuracy"] > static - 0.04
        assert line[-1]["accuracy"] < 0.6
        for name in ("bits", "bits_range", "entropy", "significant", "spikes", "adds"):
            values = [r[name] for r in line]
            assert values == sorted(values, reverse=True), name
        silent = [r["silent"] for r in line]
        assert silent == sorted(silent)
    for one, four in zip(once, often, strict=True):
        assert four["spikes"] == pytest.approx(4 * one["spikes"], rel=0.1)
    # At the coarsest step, four presentations tell more than one.
    assert often[2]["accuracy"] > once[2]["accuracy"]
    # 32 weights for each of 48 units, 10 for each of 32.
    by_layer = once[1]["adds"] / once[1]["spikes"] / 80
    assert 10 < by_layer < 32


def test_a_sweep_depends_on_examples_and_seed_alone_and_leaves_the_model_as_it_was(
    trained: tuple[nn.Module, Any],
) -> None:
    model, digits = trained
    hybrid = hybridise(model, 1.0, steps=3, data=digits.train.x).train()
    test = digits.test
    whole = [(test.x, test.y, test.index)]
    parts = [(test.x[rows], test.y[rows], test.index[rows]) for rows in torch.arange(len(test)).split(77)]
    before = hybrid(test.x[:5])
    seen: list[dict[str, Any]] = []
    one = sweep(hybrid, whole, (2.0,), steps=(2,), progress=seen.append)
    assert seen == one
    other = sweep(hybrid, lambda: iter(parts), (2.0,), steps=(2,))
    for name in one[0]:
        assert other[0][name] == pytest.approx(one[0][name], rel=1e-6), name
    assert sweep(hybrid, whole, (2.0,), steps=(2,), seed=1)[0]["spikes"] != one[0]["spikes"]
    assert hybrid.training
    assert hybrid.steps == 3
    assert torch.equal(hybrid(test.x[:5]), before)


def test_a_sweep_says_what_share_of_the_activities_its_limits_clip() -> None:
    model = nn.Sequential(nn.ReLU(), nn.Flatten())
    # Typical is the largest, 4; a limit of 1 at counts 2 lets 2 through.
    x = torch.tensor([[0.5, 1.0, 3.0, 4.0], [0.0, -3.0, 2.5, 1.9]])
    data = [(x, torch.tensor([0, 1]))]
    limited = hybridise(model, 2.0, steps=1, data=x, percentile=1.0, limit=1)
    assert [row["clipped"] for row in sweep(limited, data, (math.inf, 1.0), steps=(1, 3))] == [3 / 8] * 3
    assert "clipped" not in sweep(hybridise(model, 2.0, steps=1, data=x), data, (1.0,))[0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"factors": (0.0,)}, "sweep factor: got 0.0, wanted positive numbers"),
        ({"steps": (0,)}, "hybrid steps: got 0, wanted a whole number"),
        ({"data": []}, "sweep data: got no example"),
    ],
)
def test_what_a_sweep_refuses(trained: tuple[nn.Module, Any], arguments: dict[str, Any], message: str) -> None:
    model, digits = trained
    hybrid = hybridise(model, 1.0, data=digits.train.x)
    with pytest.raises(BitspikeError, match="^" + re.escape(message)):
        sweep(hybrid, **{"data": [(digits.test.x, digits.test.y)], **arguments})
    with pytest.raises(BitspikeError, match=r"^sweep model: got Sequential, wanted a model with quantisers"):
        sweep(model, [(digits.test.x, digits.test.y)])
