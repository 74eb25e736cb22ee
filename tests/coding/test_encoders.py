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
    bin_events,
    cosine_rates,
)
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
    for encoder in (BernoulliRate(steps=20), PopulationCode(steps=20)):
        whole = encoder(x, index, 3, "encode", 1)
        part = encoder(x[[4, 1]], index[[4, 1]], 3, "encode", 1)
        assert torch.equal(whole[:, [4, 1]], part)
        assert not torch.equal(whole, encoder(x, index, 3, "encode", 2))


def test_rate_is_the_value_times_the_gain():
    x = torch.full((1, 1), 0.6)
    spikes = BernoulliRate(steps=20_000, gain=0.5)(x, torch.tensor([0]), "rate")
    assert spikes.mean().item() == pytest.approx(0.3, abs=4 * (0.3 * 0.7 / 20_000) ** 0.5)


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


def test_bad_input_is_one_line():
    with pytest.raises(BitspikeError, match=r"rate encoder input: got values from 0 to 2, wanted values in \[0, 1\]"):
        BernoulliRate()(torch.tensor([[0.0, 2.0]]), torch.tensor([0]))
    with pytest.raises(BitspikeError, match="encoder steps: got 0, wanted at least 1"):
        DirectCurrent(steps=0)
    with pytest.raises(BitspikeError, match="sequence length: got 4, wanted 5 steps"):
        Sequence(steps=5)(torch.rand(2, 4, 3), torch.arange(2))
    with pytest.raises(BitspikeError, match="encoder dt: got 0, wanted a positive number of milliseconds"):
        EventBins(dt=0)
