"""Encoders: closed-form rates, exact latencies, bins with their edges, and draws that depend on the example alone."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from bitspike.coding import (
    BernoulliRate,
    DirectCurrent,
    EventBins,
    Latency,
    PopulationCode,
    Sequence,
    SignedRate,
    bin_events,
    cosine_rates,
)
from bitspike.coding.events import both_signs
from bitspike.errors import BitspikeError


def test_population_code_of_two_moons():
    centres = torch.arange(10, dtype=torch.float64) / 9
    assert torch.allclose(cosine_rates(centres, 10), torch.eye(10, dtype=torch.float64), atol=1e-9)
    x = torch.linspace(0, 1, 1001, dtype=torch.float64)
    assert torch.allclose(cosine_rates(x, 10).sum(-1), torch.ones(1001, dtype=torch.float64), atol=1e-9)


def test_population_code_of_the_regression():
    d = 4 / 19
    x = torch.linspace(d, 1 - d, 1001, dtype=torch.float64)
    assert torch.allclose(cosine_rates(x, 20, 4.0).sum(-1), torch.full((1001,), 4.0, dtype=torch.float64), atol=1e-9)


def test_population_code_shape_and_mean():
    encoder = PopulationCode(steps=4000, neurons=10)
    x = torch.tensor([[0.3, 0.55]])
    spikes = encoder(x, torch.tensor([7]), "k")
    assert spikes.shape == (4000, 1, 20)
    assert encoder.features((2,)) == (20,)
    assert torch.allclose(spikes.mean(0)[0], cosine_rates(x[0], 10).flatten(), atol=0.04)


def test_random_codes_depend_on_the_example_not_on_the_batch():
    x = torch.rand(6, 5)
    index = torch.tensor([10, 11, 12, 13, 14, 15])
    for encoder in (BernoulliRate(steps=20), SignedRate(steps=20), PopulationCode(steps=20)):
        whole = encoder(x, index, 3, "encode", 1)
        part = encoder(x[[4, 1]], index[[4, 1]], 3, "encode", 1)
        assert torch.equal(whole[:, [4, 1]], part)
        assert not torch.equal(whole, encoder(x, index, 3, "encode", 2))


def test_rate_is_the_value_times_the_gain():
    x = torch.full((1, 1), 0.6)
    spikes = BernoulliRate(steps=20_000, gain=0.5)(x, torch.tensor([0]), "rate")
    assert spikes.mean().item() == pytest.approx(0.3, abs=4 * (0.3 * 0.7 / 20_000) ** 0.5)


def test_signed_rate_is_half_the_value_and_fires_for_half_its_size():
    x = torch.tensor([[-1.0, -0.6, 0.0, 0.25, 1.0]])
    steps = 20_000
    spikes = SignedRate(steps=steps)(x, torch.tensor([0]), "rate")[:, 0]
    assert set(spikes.unique().tolist()) == {-1.0, 0.0, 1.0}
    for mean, chance, value in zip(spikes.mean(0), spikes.abs().mean(0), x[0], strict=True):
        p = abs(float(value)) / 2
        error = 4 * (p * (1 - p) / steps) ** 0.5
        assert float(chance) == pytest.approx(p, abs=error)
        # Of one value all spikes have one sign.
        assert float(mean) == pytest.approx(float(value) / 2, abs=error)
    with pytest.raises(BitspikeError, match=r"signed rate encoder input: got values up to a size of 1.5, wanted"):
        SignedRate(steps=2)(1.5 * x, torch.tensor([0]), "rate")


def test_latency_is_exact():
    spikes = Latency(steps=5)(torch.tensor([[0.0, 0.25, 0.5, 1.0]]), torch.tensor([0]))
    times = [column.nonzero().flatten().tolist() for column in spikes[:, 0].T]
    assert times == [[], [3], [2], [0]]


def test_direct_current_is_expanded_and_sequence_is_transposed():
    x = torch.rand(3, 2, 4)
    direct = DirectCurrent(steps=7)(x, torch.arange(3))
    assert direct.shape == (7, 3, 2, 4)
    assert direct.stride(0) == 0
    assert torch.equal(Sequence(steps=2)(x, torch.arange(3)), x.transpose(0, 1))


def events(*rows, recordings=1):
    t, x, y, p, who = (torch.tensor(column) for column in zip(*rows, strict=True))
    offsets = torch.tensor([0, *(int((who <= r).sum()) for r in range(recordings))])
    return SimpleNamespace(t=t, x=x, y=y, p=p, offsets=offsets, shape=(2, 3, 4))


def test_bin_edges_or_and_count():
    dt = 1000
    e = events((0, 1, 2, 0, 0), (999, 1, 2, 0, 0), (1000, 1, 2, 0, 0), (1000, 3, 0, 1, 0), (3000, 0, 0, 0, 0))
    frames = bin_events(e, 3, dt)
    assert frames.shape == (3, 1, 2, 3, 4)
    assert frames.sum().item() == 3
    assert frames[0, 0, 0, 2, 1] == frames[1, 0, 0, 2, 1] == frames[1, 0, 1, 0, 3] == 1
    assert bin_events(e, 3, dt, rule="count")[0, 0, 0, 2, 1] == 2
    merged = EventBins(steps=3, dt=1.0, polarity="merge")(e, torch.tensor([0]))
    assert merged.shape == (3, 1, 1, 3, 4)
    assert merged.sum().item() == 3


def test_recordings_do_not_mix():
    e = events((0, 0, 0, 0, 0), (0, 1, 0, 0, 1), (5, 2, 0, 1, 1), recordings=2)
    frames = bin_events(e, 1, 10)
    assert frames[0, 0].sum() == 1
    assert frames[0, 1].sum() == 2
    assert frames[0, 1, 1, 0, 2] == 1


# One pixel, three bins: + - -, then - +, then only -; another pixel has five events in the last bin.
SIGNED = [(0, 0, 0, 1, 0), (1, 0, 0, 0, 0), (2, 0, 0, 0, 0), (10, 0, 0, 0, 0), (10, 0, 0, 1, 0), (20, 0, 0, 0, 0)]
SIGNED += [(29, 2, 1, 1, 0)] * 5


@pytest.mark.parametrize(
    ("both", "signs"),
    [
        ("last", [0, 1, 0]),
        ("first", [1, 0, 0]),
        ("majority", [0, 1, 0]),
        ("on", [1, 1, 0]),
        ("off", [0, 0, 0]),
        ("silent", [None, None, 0]),
    ],
)
def test_a_bin_of_both_signs_is_the_symbol_that_the_rule_says(both, signs):
    frames = bin_events(events(*SIGNED), 3, 10, "symbol", both=both)
    assert frames.shape == (3, 1, 2, 3, 4)
    assert int(frames.sum(2).max()) == 1
    for t, sign in enumerate(signs):
        wanted = [0.0, 0.0]
        if sign is not None:
            wanted[sign] = 1.0
        assert frames[t, 0, :, 0, 0].tolist() == wanted
    assert frames[2, 0, :, 1, 2].tolist() == [0, 1]
    assert frames[:2, 0, :, 1, 2].sum() == 0


def test_the_majority_of_many_events_is_counted():
    e = events(*[(t, 0, 0, p, 0) for t, p in enumerate([1, 1, 1, 0, 0])])
    assert bin_events(e, 1, 10, "symbol", both="majority")[0, 0, :, 0, 0].tolist() == [0, 1]
    assert bin_events(e, 1, 10, "symbol", both="last")[0, 0, :, 0, 0].tolist() == [1, 0]


def test_symbols_of_recordings_do_not_mix():
    e = events((0, 0, 0, 0, 0), (0, 1, 0, 0, 1), (5, 1, 0, 1, 1), recordings=2)
    for rule in ("symbol", "capped"):
        frames = bin_events(e, 1, 10, rule)
        assert frames[0, 0].sum() == frames[0, 1].sum() == 1
    assert bin_events(e, 1, 10, "symbol")[0, 1, 1, 0, 1] == 1
    assert bin_events(e, 1, 10, "capped")[0, 1, 1, 0, 1] == 1


@pytest.mark.parametrize(
    ("symbols", "channels"), [(3, [2, 1, 0, 2]), (5, [2, 1, 0, 4]), (7, [2, 1, 0, 4]), (1, [0] * 4)]
)
def test_events_are_counted_up_to_the_number_of_symbols(symbols, channels):
    encoder = EventBins(steps=3, dt=0.01, rule="capped", symbols=symbols)
    frames = encoder(events(*SIGNED), torch.tensor([0]))
    assert frames.shape == (3, 1, symbols, 3, 4) == (3, 1, *encoder.features((2, 3, 4)))
    for (t, y, x), channel in zip([(0, 0, 0), (1, 0, 0), (2, 0, 0), (2, 1, 2)], channels, strict=True):
        assert frames[t, 0, :, y, x].nonzero().flatten().tolist() == [channel]
    assert frames.sum() == 4
    assert encoder.emits == "spikes"


@pytest.mark.parametrize("rule", ["or", "count", "symbol", "capped"])
def test_late_events_leave_the_first_bin_empty_and_lose_the_last(rule):
    e = events(*SIGNED)
    late = bin_events(e, 3, 10, rule, late=1)
    assert late[0].sum() == 0
    assert torch.equal(late[1:], bin_events(e, 2, 10, rule))


def test_how_many_bins_hold_both_signs_is_said():
    e = events(*SIGNED)
    assert both_signs(e, 3, 10) == 2 / 4
    assert both_signs(e, 1, 10) == 1
    assert both_signs(events((50, 0, 0, 0, 0)), 3, 10) == 0


def test_bad_input_is_one_line():
    with pytest.raises(BitspikeError, match=r"rate encoder input: got values from 0 to 2, wanted values in \[0, 1\]"):
        BernoulliRate()(torch.tensor([[0.0, 2.0]]), torch.tensor([0]))
    with pytest.raises(BitspikeError, match="encoder steps: got 0, wanted at least 1"):
        DirectCurrent(steps=0)
    with pytest.raises(BitspikeError, match="sequence length: got 4, wanted 5 steps"):
        Sequence(steps=5)(torch.rand(2, 4, 3), torch.arange(2))
    with pytest.raises(BitspikeError, match="encoder dt: got 0, wanted a positive number of milliseconds"):
        EventBins(dt=0)
    with pytest.raises(BitspikeError, match=r"event bins both: got 'neither', wanted 'last' or 'first' or"):
        EventBins(rule="symbol", both="neither")
    with pytest.raises(BitspikeError, match="event bins late: got 20, wanted 0 to 19, less than the number of steps"):
        EventBins(late=20)
