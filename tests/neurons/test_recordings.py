"""Recordings hold what a network sends and what its layers hold, and leave it as it was."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from tests.kernels.neuron_cases import MODELS
from torch import Tensor, nn

import bitspike
from bitspike.cells import LMU, ParallelLMU
from bitspike.convert import hybridise, relu_to_spiking, spiking
from bitspike.errors import BitspikeError
from bitspike.layers.recomputed import Recomputed
from bitspike.layers.recurrent import Recurrent
from bitspike.layers.stepwise import Stepwise
from bitspike.models import LocalNetwork, feedforward, local_network
from bitspike.models.sequence import Gated, SequenceNetwork
from bitspike.neurons import LIF, SoftNeuron, Static, TemporalQuantiser

from ..nearness import FEW, off


def currents(*shape: int, seed: int = 3, size: float = 1.5) -> Tensor:
    return size * torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("name", MODELS)
def test_of_every_neuron_the_states_are_those_of_a_run_that_ends_there(name: str) -> None:
    neuron, x = MODELS[name](), currents(7, 2, 5)
    found = bitspike.record(neuron, x)[""]
    assert torch.equal(found.spikes, neuron(x))
    for step in (1, 4, 7):
        _, last = neuron.run(x[:step])
        assert found.states.keys() == last._asdict().keys()
        assert all(torch.equal(found.states[part][step - 1], value) for part, value in last._asdict().items())


def images(network: str = "lif") -> nn.Sequential:
    make = {"lif": LIF, "soft": SoftNeuron, "relu": Static}[network]
    return feedforward((1, 8, 8), 4, ["6c3", "a2" if network == "soft" else "p2", "8c3", "12"], make, "scale").eval()


@torch.no_grad()
def test_a_chain_run_as_one_is_recorded_as_its_layers_are_and_stays_as_it_was() -> None:
    model, x = images(), currents(9, 3, 1, 8, 8, size=9)
    with bitspike.Monitor(model) as monitor:
        y = model(x)
    assert torch.equal(y, model(x))
    assert not any("run_between" in module.__dict__ for module in model.modules())
    assert list(monitor) == ["spikes1", "spikes3", "spikes4"]
    apart = nn.Sequential(*model.children())
    assert torch.equal(apart[:3](x), monitor["spikes1"].spikes)
    assert 0.01 < float(monitor["spikes1"].spikes.mean()) < 0.9
    _, last = apart[2].run(apart[:2](x))
    # Products of the same numbers at other addresses may round otherwise.
    assert off(monitor["spikes1"].states["v"][-1], last.v) < FEW[torch.float32]
    assert monitor["spikes1"].spikes.shape == (9, 3, 6, 8, 8)


def test_calls_are_joined_in_time_until_it_is_cleared() -> None:
    neuron, x = LIF(), currents(8, 2, 5)
    whole, state = bitspike.record(neuron, x)[""], None
    with bitspike.Monitor(neuron) as monitor:
        for part in x.split(3):
            _, state = neuron.run(part, state)
        assert torch.equal(monitor[""].spikes, whole.spikes)
        assert torch.equal(monitor[""].states["v"], whole.states["v"])
        neuron(x[:, :1])
        with pytest.raises(BitspikeError, match=r"recordings of .*\(3, 2, 5\) and .*clear\(\)|shapes"):
            _ = monitor[""]
        monitor.clear()
        assert len(monitor) == 0
        neuron(x[:, :1])
    neuron(x)
    assert monitor[""].spikes.shape == (8, 1, 5)
    with bitspike.Monitor(neuron, states=False) as monitor:
        neuron(x)
    assert monitor[""].states == {}


@torch.no_grad()
def test_a_module_that_stands_twice_in_a_chain_is_recorded_at_both_places() -> None:
    neuron, x = LIF(), currents(6, 2, 5)
    net = nn.Sequential(nn.Linear(5, 4), neuron, nn.Linear(4, 3), neuron).eval()
    first = neuron(net[0](x))
    found = bitspike.record(net, x)
    assert list(found) == ["1", "3"]
    assert torch.equal(found["1"].spikes, first)
    assert torch.equal(found["3"].spikes, net(x))
    assert found["3"].states["v"].shape == (6, 2, 3)
    with bitspike.Monitor(net, states=False) as monitor:
        for part in x.split(3):
            net(part)
    assert torch.equal(monitor["1"].spikes[:3], first[:3])
    assert (monitor["1"].spikes.shape, monitor["3"].spikes.shape) == ((6, 2, 4), (6, 2, 3))


def test_states_carry_gradients() -> None:
    neuron, x = LIF(tau=3.0, learn=("tau",)), currents(5, 2, 4).requires_grad_()
    bitspike.record(neuron, x)[""].states["v"].square().mean().backward()
    assert x.grad is not None
    assert bool(x.grad.abs().sum() > 0)
    assert bool(neuron.log_tau.grad.abs() > 0)


@torch.no_grad()
def test_of_feedback_and_of_what_is_computed_again_the_neurons_states_are_recorded() -> None:
    x = currents(6, 2, 5, size=2)
    recurrent = Recurrent(5, LIF())
    again = Recomputed(Stepwise(nn.Linear(5, 4)), LIF())
    for layer, last in ((recurrent, recurrent.run(x)[1][1]), (again, again.run(x)[1])):
        found = bitspike.record(layer, x)
        assert list(found) == [""]
        assert torch.equal(found[""].spikes, layer(x))
        assert off(found[""].states["v"][-1], last.v) < FEW[torch.float32]


@torch.no_grad()
def test_a_local_network_is_recorded_step_by_step() -> None:
    net, x = local_network((2, 6, 6), 3, ["4c3", "p2", "10"]), currents(5, 2, 2, 6, 6).round()

    def run(network: LocalNetwork) -> list[Any]:
        states, spikes = network.initial(2), []
        for now in x:
            _, sent, states = network(now, states)
            spikes.append(sent)
        return [torch.stack(each) for each in zip(*spikes, strict=True)] + [states]

    with bitspike.Monitor(net) as monitor:
        *spikes, states = run(net)
    assert list(monitor) == ["layers.0", "layers.1"]
    for recording, sent, state in zip(monitor.values(), spikes, states, strict=True):
        assert torch.equal(recording.spikes, sent)
        assert torch.equal(recording.states["P"][-1], state.traces.P)
        assert torch.equal(recording.states["R"][-1], state.refractory.R)
    assert monitor["layers.0"].states["R"].shape == (5, 2, 4, 6, 6)


@torch.no_grad()
def test_cells_are_recorded_at_every_step_also_where_only_the_last_is_read() -> None:
    x = currents(12, 3, 2)
    quantised = LMU(2, 5, 4, 12.0, memory=TemporalQuantiser(8.0, limit=15), spikes=TemporalQuantiser(1.0, "tanh"))
    cells: dict[str, nn.Module] = {
        "lmu": LMU(2, 5, 4, 12.0), "quantised": quantised, "parallel": ParallelLMU(2, 5, 4, 12.0),
        "gru": Gated("gru", 2, 5),
    }  # fmt: skip
    for name, cell in cells.items():
        model = SequenceNetwork(cell, 2, read=2).eval()
        y, found = model(x), bitspike.record(model, x)
        hidden = found["cell.spikes" if name == "quantised" else "cell"]
        torch.testing.assert_close(hidden.spikes, cell(x))
        with bitspike.Monitor(model):
            assert torch.equal(model(x), y)
        if name == "lmu":
            assert hidden.states["m"].shape == (12, 3, 4)
    assert torch.equal(bitspike.record(quantised, x)["spikes"].spikes, quantised(x))
    assert bitspike.record(quantised, x)["memory"].spikes.shape == (12, 3, 4)


@torch.no_grad()
@pytest.mark.parametrize("synapse", ["alpha", None])
def test_a_spiking_run_is_recorded_by_its_units(synapse: str | None) -> None:
    net, x = spiking(images("soft"), synapse=synapse, chunk=7), currents(1, 2, 1, 8, 8, size=30).expand(40, 2, 1, 8, 8)
    net.reset()
    y = net(x)
    before = {name: (unit.spikes, unit.state) for name, unit in net.units().items()}
    net.reset()
    net.forget_counts()
    found = bitspike.record(net, x)
    net.reset()
    assert torch.equal(net(x), y)
    assert list(found) == list(before) == ["spikes1", "spikes3", "spikes4"]
    for name, (count, state) in before.items():
        assert found[name].spikes.shape[:2] == (40, 2)
        assert int((found[name].spikes > 0).sum()) == count
        assert torch.equal(found[name].states["V"][-1], state.V)
    assert before["spikes1"][0] > 0


@torch.no_grad()
def test_relus_made_spiking_and_hybrids_are_recorded() -> None:
    model, x = images("relu"), currents(2, 1, 8, 8, size=30)
    net = relu_to_spiking(model, [x])
    found = bitspike.record(net, x, 20)
    assert found.keys() == net.units().keys()
    sent = {name: unit.spikes for name, unit in net.units().items()}
    assert {name: int((r.spikes > 0).sum()) for name, r in found.items()} == {
        name: round(float(r.states["n"][-1].sum())) for name, r in found.items()
    }
    assert sum(sent.values()) > 0
    hybrid = hybridise(copy.deepcopy(model), {"*": 4.0}, steps=3, data=[x])
    recorded = bitspike.record(hybrid, x)
    assert all(r.states["v"].min() >= 0 and r.states["v"].max() < 1 for r in recorded.values())
    assert len(recorded) == 3


def test_a_network_without_neurons_of_ours_is_refused() -> None:
    with pytest.raises(BitspikeError, match="record model: got Linear"):
        bitspike.record(nn.Linear(2, 2), torch.zeros(1, 2))
