"""Operations of recurrent cells, counted by hand."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from bitspike.cells import LMU, ParallelLMU
from bitspike.energy import LevelCollector, OperationCounter
from bitspike.models.sequence import Gated, SequenceNetwork
from bitspike.neurons import TemporalQuantiser

STEPS, BATCH = 9, 4
X = torch.rand(STEPS, BATCH, 1, generator=torch.Generator().manual_seed(0)) + 0.1


def counted(model: nn.Module) -> dict[str, dict[str, float]]:
    with OperationCounter(model) as counter, torch.no_grad():
        model.eval()(X)
        counter.add_examples(BATCH)
    found = counter.counts()
    assert not found.uncounted
    return {layer.name: {"mac": layer.mac, "ac": layer.ac, "dense": layer.dense} for layer in found.layers}


@pytest.mark.parametrize(("kind", "gates"), [("lstm", 4), ("gru", 3)])
def test_gated_cells_multiply_everything_at_every_step(kind: str, gates: int) -> None:
    found = counted(SequenceNetwork(Gated(kind, 1, 6), 3))
    assert found["cell.layer.input"]["mac"] == STEPS * gates * 6
    # The first step meets a state of zeros.
    assert found["cell.layer.feedback"]["mac"] == (STEPS - 1) * gates * 36
    assert found["cell.layer.feedback"]["dense"] == STEPS * gates * 36
    assert found["readout"]["mac"] == 18


def test_a_real_lmu_multiplies_everything_at_every_step() -> None:
    torch.manual_seed(0)
    cell = LMU(1, 6, 5, 9.0)
    nn.init.normal_(cell.w_h)
    found = counted(SequenceNetwork(cell, 3))
    assert found["cell.memory"]["mac"] == (STEPS - 1) * 5 * (5 + 1)
    assert found["cell.to_hidden"]["mac"] == STEPS * 5 * 6
    assert found["cell.feedback"]["mac"] == (STEPS - 1) * 6 * (6 + 1)
    assert found["cell.input"]["mac"] == STEPS * (6 + 1)
    assert found["cell.signal"]["mac"] == STEPS * 5


def test_a_hybrid_lmu_adds_as_often_as_its_counts_say() -> None:
    torch.manual_seed(0)
    memory, spikes = TemporalQuantiser(torch.full((5,), 7.3), limit=4), TemporalQuantiser(2.0, "tanh", limit=2)
    cell = LMU(1, 6, 5, 9.0, memory=memory, spikes=spikes, own_leak=True)
    nn.init.normal_(cell.w_h)
    seen: dict[str, torch.Tensor] = {}
    for name, quantiser in (("memory", memory), ("spikes", spikes)):
        quantiser.observers.append(lambda q, y, new, name=name: seen.__setitem__(name, q.counts(y).abs()))
    found = counted(SequenceNetwork(cell, 3))
    m, h = seen["memory"], seen["spikes"]
    assert found["cell.to_hidden"] == {"mac": 0, "ac": float(m.sum()) * 6 / BATCH, "dense": STEPS * 30}
    assert found["cell.memory"]["ac"] == pytest.approx(float(m[:-1].sum()) * 6 / BATCH)
    assert found["cell.feedback"]["ac"] == pytest.approx(float(h[:-1].sum()) * 7 / BATCH)
    assert found["cell.leak"]["mac"] == STEPS * 5


def test_layers_behind_a_quantiser_meet_whole_numbers() -> None:
    memory, spikes = TemporalQuantiser(torch.full((5,), 2.7), limit=4), TemporalQuantiser(1.0, "tanh", limit=1)
    model = SequenceNetwork(ParallelLMU(1, 6, 5, 9.0, memory=memory, spikes=spikes), 3, read=1)
    with LevelCollector(model, {"cell.memory": 6.0}) as collector:
        found = counted(model)
    adds = collector.levels().layers["cell.memory"].adds
    assert found["cell.from_memory"]["mac"] == 0
    assert found["cell.from_memory"]["ac"] == adds
