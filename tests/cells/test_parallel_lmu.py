"""The feed-forward LMU: reading its final steps alone is the run through all of them."""

from __future__ import annotations

import pytest
import torch

from bitspike.cells import LMU, ParallelLMU
from bitspike.energy import LevelCollector
from bitspike.errors import BitspikeError
from bitspike.neurons import TemporalQuantiser, redraw_carry

from ..nearness import off


def made(hybrid: bool, nonlinearity: str = "tanh") -> ParallelLMU:
    memory = TemporalQuantiser(torch.full((6,), 1.5), keys=(1, "m"), limit=3) if hybrid else None
    spikes = TemporalQuantiser(1.0, nonlinearity, keys=(1, "h"), limit=1) if hybrid else None
    return ParallelLMU(1, 5, 6, 12.0, 1, nonlinearity, memory, spikes)


@pytest.mark.parametrize("nonlinearity", ["tanh", "relu"])
def test_without_quantisers_the_final_steps_are_those_of_the_whole_run(nonlinearity: str) -> None:
    cell = made(False, nonlinearity)
    x = torch.rand(40, 3, 1, generator=torch.Generator().manual_seed(0))
    whole, _ = cell.run(x)
    for last in (1, 5):
        assert off(cell.run(x, last=last)[0], whole[-last:]) < 1e-4


def test_it_is_the_sequential_cell_without_feedback() -> None:
    parallel, cell = made(False).eval(), LMU(1, 5, 6, 12.0, bias=True)
    with torch.no_grad():
        cell.w_m.copy_(parallel.from_memory.weight)
        cell.bias.copy_(parallel.from_memory.bias)
    x = torch.rand(40, 3, 1, generator=torch.Generator().manual_seed(0))
    assert off(parallel(x), cell(x)) < 1e-4


def test_reading_the_final_steps_has_the_distribution_of_the_whole_run() -> None:
    """Many draws of the carries: mean and covariance between steps of the hidden states agree."""
    cell = made(True).eval()
    cell.scale.fill_(2.0)
    x = torch.rand(30, 1, 1, generator=torch.Generator().manual_seed(0)).expand(-1, 40_000, -1)
    redraw_carry(cell, 0, "short")
    with torch.no_grad():
        short, _ = cell.run(x, last=3)
        redraw_carry(cell, 0, "long")
        with LevelCollector(cell) as collector:
            whole, _ = cell.run(x, last=3)
    assert collector.levels().layers["memory"].values == 30 * 40_000 * 6, "all steps are run where they are looked at"
    for a, b in (
        (short, whole),
        (short[0] * short[1], whole[0] * whole[1]),
        (short[1] * short[2], whole[1] * whole[2]),
    ):
        spread = (a.var(-2) / 40_000 + b.var(-2) / 40_000).sqrt().clamp_min(1e-3)
        assert float(((a.mean(-2) - b.mean(-2)).abs() / spread).max()) < 5


def test_scale_brings_memory_units_to_one_and_is_kept() -> None:
    cell = made(True).train()
    x = torch.rand(60, 20, 1, generator=torch.Generator().manual_seed(0))
    cell.run(x, last=2)
    from bitspike.cells.legendre import all_states

    scaled = all_states(x, 6, 12.0).flatten(2) * cell.scale
    assert torch.allclose(scaled.square().mean((0, 1)), torch.ones(6), rtol=1e-3)
    other = made(True)
    other.load_state_dict(cell.state_dict())
    assert torch.equal(other.scale, cell.scale)
    assert bool(other.calibrated)


def test_what_cannot_be_is_refused_in_one_line() -> None:
    for call in (
        lambda: ParallelLMU(1, nonlinearity="cube"),
        lambda: ParallelLMU(1, spikes=TemporalQuantiser(1.0, "relu")),
        lambda: made(False)(torch.zeros(3, 2, 2)),
        lambda: made(False).run(torch.zeros(3, 2, 1), state=1),
    ):
        with pytest.raises(BitspikeError, match=r"got .*, wanted"):
            call()
