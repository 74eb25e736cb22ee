"""Synapse, gain and exact LIF as one kernel: held to the steps in float64, in pieces, in any memory order."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from bitspike.kernels.cpu.exact_lif import ALPHA, DIRECT, FIRST_ORDER
from bitspike.layers import Synapse
from bitspike.neurons import ExactIF, ExactLIF
from bitspike.neurons.exact_lif_fused import run, takes

DOUBLE = torch.float64
KINDS = {"alpha": ALPHA, "first-order": FIRST_ORDER, None: DIRECT}
GAIN, OFFSET = 0.825, 0.9


def exact(neuron: ExactLIF, x: Tensor, kind: str | None) -> tuple[Tensor, Tensor]:
    """Spikes of the plain steps in float64, and where the membrane came too close to its threshold to tell."""
    x = x.double()
    if kind is not None:
        synapse = Synapse(kind, 0.005)
        synapse.back_end = "reference"
        x = synapse(x)
    plain = ExactLIF(neuron.dt, neuron.tau_rc, neuron.tau_ref, neuron.amplitude).double()
    plain.back_end = "reference"
    state, spikes, close = plain.initial(x[0]), [], torch.zeros(x.shape[1:], dtype=torch.bool)
    for current in x:
        before = state
        y, state = plain.run(GAIN * current[None] + OFFSET, state)
        delta = (plain.dt - before.refr).clamp(0, plain.dt)
        V = before.V - (GAIN * current + OFFSET - before.V) * torch.expm1(-delta / float(plain.tau_rc))
        close |= (V - 1).abs() < 1e-5
        spikes.append(y[0])
    return torch.stack(spikes), close


def pieces(neuron: ExactLIF, x: Tensor, kind: str | None, sizes: tuple[int, ...]) -> tuple[Tensor, int]:
    """Spikes and their number by the kernel, in calls of these many steps."""
    synapse: tuple[int, float, float] = (DIRECT, 0.0, 0.0)
    filtered: tuple[Tensor, ...] = ()
    if kind is not None:
        p = Synapse(kind, 0.005).constants()
        synapse = (KINDS[kind], p.a, p.ratio)
        filtered = tuple(torch.zeros(x.shape[1:]) for _ in range(2 if kind == "alpha" else 1))
    state, found, total = None, [], 0
    for part in x.split(sizes):
        y, state, spikes = run(neuron, part, state, GAIN, OFFSET, synapse, filtered)
        found.append(y.clone())
        total += spikes
    return torch.cat(found), total


def currents(steps: int = 120) -> Tensor:
    source = torch.Generator().manual_seed(4)
    level = 4 * torch.rand(1, 3, 1700, generator=source) - 0.5
    return level + torch.randn(steps, 3, 1700, generator=source)


@pytest.mark.parametrize("kind", list(KINDS))
@pytest.mark.parametrize("times", [(0.001, 0.05, 0.001), (0.001, 0.022, 0.002), (0.002, 0.02, 0.0005)])
def test_spikes_are_those_of_the_steps(kind: str | None, times: tuple[float, float, float]) -> None:
    neuron = ExactLIF(*times, amplitude=0.063)
    x = currents()
    assert takes(neuron, x)
    want, close = exact(neuron, x, kind)
    got, spikes = pieces(neuron, x, kind, (50, 1, 69))
    assert spikes == int((got > 0).sum()) > 10_000
    assert got.unique().tolist() == pytest.approx([0, 0.063 / times[0]])
    # Float32 may decide otherwise only where the membrane came within rounding of the threshold.
    wrong = ((got > 0) != (want > 0)).any(0)
    assert not (wrong & ~close).any()
    assert wrong.sum() < 10


def test_one_run_whatever_the_calls_threads_and_inputs() -> None:
    neuron, x = ExactLIF(), currents()
    whole, _ = pieces(neuron, x, "alpha", (120,))
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        assert torch.equal(pieces(neuron, x, "alpha", (7, 113))[0], whole)
    finally:
        torch.set_num_threads(before)
    constant = x[:1].expand(60, -1, -1)
    assert torch.equal(
        pieces(neuron, constant, "alpha", (30, 30))[0], pieces(neuron, constant.contiguous(), "alpha", (60,))[0]
    )
    half = x.bfloat16()
    assert torch.equal(pieces(neuron, half, "alpha", (120,))[0], pieces(neuron, half.float(), "alpha", (120,))[0])


def test_what_the_kernel_does_not_take() -> None:
    x = torch.zeros(2, 1, 3)
    assert takes(ExactLIF(), x)
    assert not takes(ExactIF(), x)
    assert not takes(ExactLIF(), x.double())
    assert not takes(ExactLIF(tau_rc=0.005), x)
    assert not takes(ExactLIF(tau_rc=torch.full((3,), 0.05)), x)
    reference = ExactLIF()
    reference.back_end = "reference"
    assert not takes(reference, x)
