"""Levels and bits of counts: by hand, against a plain count of every value, and collected from running quantisers."""

from __future__ import annotations

import json
import math
from collections import Counter

import pytest
import torch
from torch import Tensor, nn

from bitspike.energy.level_counts import LevelCounts
from bitspike.energy.levels import LevelCollector
from bitspike.errors import BitspikeError
from bitspike.neurons import TemporalQuantiser, at_step, redraw_carry


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_every_statistic_by_hand():
    # Two units over four steps of one presentation.
    n = torch.tensor([[0, 2], [0, 2], [1, 2], [-3, 2]]).view(4, 1, 2)
    collector = LevelCollector(fan_out={"a": torch.tensor([10.0, 1.0])})
    collector.add("a", n)
    found = collector.levels().total
    log3 = math.log2(3)
    assert (found.units, found.presentations, found.values) == (2, 1, 8)
    assert (found.most_levels, found.largest) == (3, 3)
    assert found.average == pytest.approx((log3 + 0) / 2)
    assert found.average_range == pytest.approx((3 + 3) / 2)  # -3..3 and -2..2 both take three bits
    assert found.entropy == pytest.approx((1.5 + 0) / 2)
    assert found.significant == pytest.approx((0 + 0 + 1 + 2 + 4 * log3) / 8)
    assert found.significant_nonzero == pytest.approx((1 + 2 + 4 * log3) / 6)
    assert found.bit_length == pytest.approx((0 + 0 + 1 + 2 + 4 * 2) / 8)
    assert found.bit_length_nonzero == pytest.approx((1 + 2 + 4 * 2) / 6)
    assert found.silent == 2 / 8
    assert found.mean_abs == (1 + 3 + 8) / 8
    assert found.spikes == (4 + 8) / 2
    assert found.adds == 10 * 4 + 1 * 8
    assert found.average_by_weight == pytest.approx((10 * log3 + 1 * 0) / 11)
    assert found.significant_by_weight == pytest.approx((10 * (1 + 2) + 1 * 4 * log3) / (4 * 11))


def test_silence_has_one_level_one_bit_and_no_nonzero_mean():
    collector = LevelCollector()
    collector.add("a", torch.zeros(3, 2, 4))
    found = collector.levels().total
    assert (found.average, found.average_range, found.entropy, found.most_levels) == (0, 1, 0, 1)
    assert (found.significant, found.significant_nonzero, found.bit_length_nonzero, found.silent) == (0, 0, 0, 1)
    assert (found.adds, found.average_by_weight, found.significant_by_weight) == (None, None, None)


@pytest.mark.parametrize("largest", [1, 2, 3, 4, 7, 8, 1023, 1024])
def test_bits_of_the_range_are_those_of_twos_complement(largest):
    collector = LevelCollector()
    collector.add("a", torch.tensor([-largest, largest]).view(2, 1, 1))
    found = collector.levels().total
    width = next(b for b in range(1, 40) if -(2 ** (b - 1)) <= -largest and largest <= 2 ** (b - 1) - 1)
    assert found.average_range == width
    assert found.bit_length == largest.bit_length()


def test_counting_agrees_with_a_plain_count_of_every_value():
    batches = [(normal(7, b, 3, 5, seed=b) * (3 + 2 * b)).round() for b in (4, 1, 6)]
    collector = LevelCollector(fan_out={"a": 3})
    for n in batches:
        collector.add("a", n)
    found = collector.levels().layers["a"]
    values = torch.cat([n.flatten(0, 1) for n in batches]).flatten(1).t().tolist()
    per_unit = [Counter(map(int, unit)) for unit in values]
    flat = [int(v) for unit in values for v in unit]
    units, presentations = 15, 11
    assert (found.units, found.presentations, found.values) == (units, presentations, len(flat))
    assert found.average == pytest.approx(sum(math.log2(len(c)) for c in per_unit) / units)
    entropy = sum(-sum(k / c.total() * math.log2(k / c.total()) for k in c.values()) for c in per_unit) / units
    assert found.entropy == pytest.approx(entropy)
    bits = [math.ceil(math.log2(max(map(abs, c)) + 1)) + 1 for c in per_unit]
    assert found.average_range == pytest.approx(sum(bits) / units)
    assert found.significant == pytest.approx(sum(math.log2(1 + abs(v)) for v in flat) / len(flat))
    assert found.bit_length == pytest.approx(sum(abs(v).bit_length() for v in flat) / len(flat))
    nonzero = [v for v in flat if v]
    assert found.bit_length_nonzero == pytest.approx(sum(abs(v).bit_length() for v in nonzero) / len(nonzero))
    assert found.silent == pytest.approx(1 - len(nonzero) / len(flat))
    assert found.spikes == pytest.approx(sum(map(abs, flat)) / (units * presentations))
    assert found.adds == pytest.approx(3 * sum(map(abs, flat)) / presentations)
    numbers, counts = collector.histogram("a")
    assert counts.shape == (3, 5, len(numbers))
    for unit, seen in zip(counts.flatten(0, 1), per_unit, strict=True):
        assert {int(n): int(k) for n, k in zip(numbers, unit, strict=True) if k} == seen


@pytest.mark.parametrize(
    "dtype", [torch.float16, torch.float32, torch.float64, torch.int8, torch.int16, torch.int32, torch.int64]
)
def test_every_dtype_and_layout_counts_the_same(dtype):
    n = (normal(50, 21) * 9).round().clamp(-100, 100)
    wanted, found = LevelCounts(21), LevelCounts(21)
    wanted.add(n)
    found.add(n.to(dtype).t().contiguous().t())
    assert wanted.low == found.low == int(n.min())
    assert torch.equal(wanted.table, found.table)
    assert wanted.table.sum() == 50 * 21


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_activities_are_counted_by_their_step_size_on_any_device(dtype):
    dt = torch.rand(21, generator=torch.Generator().manual_seed(1)).to(dtype) * 5 + 0.01
    n = (normal(3000, 21) * 9).round().to(dtype)
    wanted, found, anywhere = LevelCounts(21), LevelCounts(21), LevelCounts(21)
    wanted.add(n)
    found.add(n / dt, dt)
    anywhere._add_anywhere(n / dt, dt, 0.25)
    assert wanted.low == found.low == anywhere.low
    assert torch.equal(wanted.table, found.table)
    assert torch.equal(wanted.table, anywhere.table)
    # Activities of another step size are no counts.
    for add in (found.add, lambda y, scale: anywhere._add_anywhere(y, scale, 0.25)):
        with pytest.raises(BitspikeError, match="levels: got values that are not whole numbers"):
            add(n / dt, dt * 1.5)
        with pytest.raises(BitspikeError, match="levels: got values that are not finite"):
            add(torch.full((1, 21), math.nan, dtype=dtype), dt)
    assert torch.equal(wanted.table, found.table)


def test_the_table_grows_to_both_sides_and_keeps_what_it_has():
    counts = LevelCounts(2)
    for row in ([3, 0], [-5, 0], [3, 9]):
        counts.add(torch.tensor([row]))
    assert counts.numbers.tolist() == list(range(-5, 10))
    assert counts.table[0].nonzero().flatten().tolist() == [0, 8]
    assert counts.table[0, 8] == 2
    assert counts.table[1, 5] == 2


def test_the_order_and_the_size_of_batches_do_not_matter():
    n = (normal(40, 6, 9) * 4).round()
    whole, parts = LevelCollector(), LevelCollector()
    whole.add("a", n)
    for part in n.split(2, dim=1):
        for k, steps in enumerate(part.split(15)):
            parts.add("a", steps, presentations=0 if k else None)
    assert parts.levels() == whole.levels()


def test_the_total_weighs_layers_by_units_and_by_values():
    collector = LevelCollector(fan_out={"a": 2, "b": 5})
    a, b = torch.ones(2, 3, 4), torch.tensor([0.0, 3.0]).view(2, 1, 1).expand(2, 3, 1)
    collector.add("a", a)
    collector.add("b", b)
    found = collector.levels()
    assert list(found.layers) == ["a", "b"]
    assert (found.total.units, found.total.values) == (5, 30)
    assert found.total.average == pytest.approx((4 * 0 + 1 * 1) / 5)
    assert found.total.significant == pytest.approx((24 * 1 + 3 * 2) / 30)
    assert found.total.spikes == pytest.approx((4 * 2 + 1 * 3) / 5)
    assert found.total.adds == 2 * 4 * 2 + 5 * 3
    met = (24 * 2, 6 * 5)  # a weight meets each value of "a" at two places, of "b" at five
    assert found.total.average_by_weight == pytest.approx((met[0] * 0 + met[1] * 1) / sum(met))
    assert found.total.significant_by_weight == pytest.approx((24 * 2 * 1 + 3 * 5 * 2) / sum(met))
    assert found.layers["b"].silent == 0.5
    # One fan-out missing: no total.
    collector.fan_out.pop("b")
    assert collector.levels().total.adds is None
    assert collector.levels().layers["a"].adds == 16


class Net(nn.Module):
    """Quantisers called as modules, run in pieces and stepped by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.first = TemporalQuantiser(torch.tensor([1.0, 2.0, 8.0]), "tanh")
        self.cell = TemporalQuantiser(4.0, "sigmoid", mode="stochastic")
        self.last = TemporalQuantiser(2.0, limit=1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        first = self.first(x)
        state, rows = None, []
        for x_t in first:
            y, state = self.cell.advance(x_t, state)
            rows.append(y)
        state, parts = None, []
        for part in first.split(4):
            y, state = self.last.run(part, state)
            parts.append(y)
        return first, torch.stack(rows), torch.cat(parts)


def test_a_running_model_is_counted_layer_by_layer():
    net, by_hand = Net().eval(), LevelCollector()
    with LevelCollector(net) as collector, torch.no_grad():
        for k in range(3):
            redraw_carry(net, 1, k)
            for name, y in zip(("first", "cell", "last"), net(3 * normal(10, 5, 3, seed=k)), strict=True):
                by_hand.add(name, getattr(net, name).counts(y))
    assert collector.levels() == by_hand.levels()
    layers = collector.levels().layers
    assert [layers[name].presentations for name in ("first", "cell", "last")] == [15, 15, 15]
    assert layers["last"].most_levels == 3
    assert not any(q.observers for q in net.children())
    text = json.dumps(collector.levels().to_dict())
    assert json.loads(text)["layers"]["cell"]["silent"] == layers["cell"].silent


@pytest.mark.parametrize("D", [1, 2, 4, 8])
@pytest.mark.parametrize(("name", "levels"), [("tanh", lambda D: 2 * D + 1), ("sigmoid", lambda D: D + 1)])
def test_a_bounded_unit_has_exactly_so_many_levels(D, name, levels):
    model = TemporalQuantiser(float(D), name)
    x = 4 * normal(400, 10, 6)
    with LevelCollector(model) as collector:
        model(x)
    found = collector.levels().layers["quantiser"]
    assert found.average == pytest.approx(math.log2(levels(D)), rel=1e-12)
    assert found.most_levels == levels(D)
    # Evaluated at twice the step size the same units have more.
    with LevelCollector(model) as finer, at_step(model, 2.0):
        model(x)
    assert finer.levels().total.most_levels == levels(2 * D)


def test_a_limit_bounds_the_levels_of_every_unit():
    limit = torch.tensor([1, 2, 5])
    model = TemporalQuantiser(torch.tensor([0.7, 3.3, 11.0]), limit=limit)
    with LevelCollector(model) as collector:
        model(20 * normal(200, 20, 3))
    numbers, counts = collector.histogram("quantiser")
    for unit, most in zip(counts, limit.tolist(), strict=True):
        assert numbers[unit > 0].tolist() == list(range(-most, most + 1))


def test_mistakes_are_refused():
    with pytest.raises(BitspikeError, match="levels of a model: got Linear, wanted a model with quantisers"):
        LevelCollector(nn.Linear(2, 2))
    collector = LevelCollector(fan_out={"a": torch.ones(4)})
    with pytest.raises(BitspikeError, match="levels: got 0 presentations"):
        collector.levels()
    with pytest.raises(BitspikeError, match=r"levels of a: got \(3, 2\), wanted counts \(T, B, \*units\)"):
        collector.add("a", torch.zeros(3, 2))
    with pytest.raises(BitspikeError, match="levels: got values that are not whole numbers"):
        collector.add("a", torch.full((3, 2, 2), 0.5))
    collector = LevelCollector(fan_out={"a": torch.ones(4)})
    collector.add("b", torch.zeros(3, 2, 2))
    with pytest.raises(BitspikeError, match=r"levels of b: got \(3,\) units, wanted \(2,\) as before"):
        collector.add("b", torch.zeros(3, 2, 3))
    with pytest.raises(BitspikeError, match="levels of layer: got 'c', wanted one of 'b'"):
        collector.histogram("c")
    for bad in (math.nan, math.inf, 1e9):
        with pytest.raises(BitspikeError, match="levels"):
            collector.add("b", torch.full((1, 1, 2), bad))
    with pytest.raises(BitspikeError, match=r"levels: got .* levels of 2 units, wanted .* a smaller step size"):
        collector.add("b", torch.full((1, 1, 2), 6e7))
    collector.add("a", torch.zeros(3, 2, 2))
    with pytest.raises(BitspikeError, match=r"fan-out of a: got values of shape \(4,\), wanted one number, or \(2,\)"):
        collector.levels()
    model = TemporalQuantiser()
    with LevelCollector(model) as static, at_step(model, None):
        model(torch.zeros(2, 2, 2))
    with pytest.raises(BitspikeError, match="levels: got 0 presentations"):
        static.levels()
