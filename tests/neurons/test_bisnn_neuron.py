"""BiSNN's neuron: decays, traces and refractoriness as computed by hand, and filters before or after weights."""

from __future__ import annotations

import pytest
import torch

from bitspike.neurons import BiSNN
from bitspike.neurons.bisnn import Refractory, Traces, decays, fire_step, trace_step
from bitspike.neurons.surrogate import Surrogate


def test_decays():
    assert decays() == pytest.approx((0.904837, 0.846482, 0.606531), abs=1e-6)


def test_impulse_response_of_the_traces():
    p, traces, seen = decays(), Traces(0.0, 0.0), []
    for t in range(3):
        traces = trace_step(1.0 if t == 0 else 0.0, traces, p)
        seen.append(traces)
    assert seen[0] == (0.0, 1.0)
    assert seen[1].P == 1.0
    assert pytest.approx(p.a + p.b, abs=1e-12) == seen[2].P


def test_an_input_first_acts_one_step_later_and_a_silent_neuron_at_zero_fires():
    spikes = BiSNN()(torch.tensor([-1.0, 0.0, 0.0]).view(3, 1, 1))
    # U_0 = 0 fires (threshold 0, inclusive); then P_1 = -1 keeps it silent.
    assert spikes.flatten().tolist() == [1, 0, 0]


def test_refractory_term_decays_from_one():
    p, state, U = decays(), Refractory(torch.zeros(1), torch.zeros(1)), []
    for drive in (0.0, 0.5, 0.5):
        _, u, state = fire_step(torch.tensor([drive]), state, p, Surrogate("boxcar"))
        U.append(u.item())
    # spike at 0; then U = 0.5 - 1; no spike; then U = 0.5 - g
    assert U == pytest.approx([0.0, -0.5, 0.5 - p.g], abs=1e-6)  # noqa: SIM300


def test_filtering_the_weighted_current_equals_weighting_the_filtered_input():
    torch.manual_seed(0)
    x = (torch.rand(40, 3, 7, dtype=torch.float64) < 0.3).double()
    W = torch.randn(5, 7, dtype=torch.float64)
    together = BiSNN()(x @ W.T)
    p, traces = decays(), Traces(torch.zeros(3, 7).double(), torch.zeros(3, 7).double())
    refractory = Refractory(torch.zeros(3, 5).double(), torch.zeros(3, 5).double())
    for t in range(40):
        traces = trace_step(x[t], traces, p)
        spikes, _, refractory = fire_step(traces.P @ W.T, refractory, p, Surrogate("boxcar"))
        assert torch.equal(spikes, together[t])
