"""The benchmarks' arithmetic: interleaved timing, ratios, tables, and the float64 LIF they check everyone against."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
import torch

from bitspike.neurons import LIF, Surrogate

FOLDER = Path(__file__).parents[1] / "benchmarks"


def loaded(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"benchmark_{name}", FOLDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def common() -> ModuleType:
    return loaded("common")


@pytest.fixture(scope="module")
def reference() -> ModuleType:
    return loaded("reference")


def test_each_call_is_timed_in_every_round_and_none_is_always_first(common):
    order = []
    times = common.interleave({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, 60, most=3)
    assert order == ["a", "b", "b", "a", "a", "b"]
    assert [len(values) for values in times.values()] == [3, 3]


def test_a_slow_call_takes_part_in_the_first_rounds_only(common):
    """By a clock of this test's own, which a slow call moves by 1.1 s and a fast one not at all."""
    now = [0.0]
    calls = {"fast": lambda: None, "slow": lambda: now.append(now[-1] + 1.1)}
    times = common.interleave(calls, 6, most=4, least=1, clock=lambda: now[-1])
    assert len(times["slow"]) == 1
    assert times["slow"] == [1.1]
    assert times["fast"] == [0.0] * 4


def test_a_ratio_is_the_median_of_the_rounds_ratios(common):
    times = {"fast": [1.0, 2.0, 10.0], "slow": [3.0, 4.0, 20.0]}
    assert common.ratios(times, "fast") == {"fast": 1.0, "slow": 2.0}
    assert common.least_ratios(times, "fast") == {"fast": 1.0, "slow": 3.0}
    assert common.summary(times)["slow"]["median"] == 4000.0


def test_the_ratio_table_has_a_row_for_each_candidate(common):
    lines = common.ratio_table(common.compared({"fast": [0.001, 0.001], "slow": [0.003, 0.003]}, "fast")).splitlines()
    assert lines[2] == "| fast | 1.00 | 1.00 to 1.00 | 1.00 | 1.00 | 1.00 |"
    assert lines[3] == "| slow | 3.00 | 3.00 to 3.00 | 3.00 | 3.00 | 3.00 |"


@pytest.mark.parametrize("reset", ["hard", "soft"])
def test_the_reference_is_bitspikes_lif_in_float64(reference, reset):
    source = torch.Generator().manual_seed(1)
    x = (0.3 * torch.randn(40, 3, 5, generator=source, dtype=torch.float64) + 0.25).requires_grad_()
    gs = torch.randn(40, 3, 5, generator=source, dtype=torch.float64)
    layer = LIF(5.0, reset=reset, surrogate=Surrogate("fast-sigmoid")).double()
    layer.back_end = "reference"
    y = layer(x)
    y.backward(gs)
    equation = reference.Equation(float(layer.constants().beta), reset=reset)
    assert torch.equal(reference.spikes(x.detach(), equation), y)
    _, gx = reference.along(x.detach(), y.detach(), gs, equation)
    assert (gx - x.grad).norm() < 1e-12 * x.grad.norm()


def test_a_layer_that_did_not_do_the_work_is_refused(reference):
    source = torch.Generator().manual_seed(1)
    x = 0.3 * torch.randn(40, 3, 5, generator=source) + 0.25
    gs = torch.randn(40, 3, 5, generator=source)
    equation = reference.Equation(0.8)
    y = reference.spikes(x, equation)
    _, gx = reference.along(x, y, gs, equation)
    assert reference.check("right", x, y, gs, gx, equation)["gradient_error"] == 0
    with pytest.raises(AssertionError, match="outputs"):
        reference.check("too short", x, y[:-1], gs, gx, equation)
    with pytest.raises(AssertionError, match="far from the threshold"):
        reference.check("other spikes", x, y.roll(1, 0), gs, gx, equation)
    with pytest.raises(AssertionError, match="gradient"):
        reference.check("no gradient", x, y, gs, torch.zeros_like(gx), equation)
