"""The table of devices and KerasSpiking's published totals, from its formula and from a network that ran."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from bitspike.energy import Device, devices, estimate_energy
from bitspike.errors import BitspikeError

TABLE = {
    "cpu": (8.6e-9, 8.6e-9, False), "gpu": (0.3e-9, 0.3e-9, False), "arm": (0.9e-9, 0.9e-9, False),
    "loihi": (27.1e-12, 81e-12, True), "spinnaker": (13.3e-9, 26e-9, True), "spinnaker2": (450e-12, 2.19e-9, True),
}  # fmt: skip


def documented() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(1, 2, 7), nn.ReLU(), nn.Flatten(), nn.Linear(968, 128), nn.ReLU(), nn.Linear(128, 10)
    )


def test_the_table() -> None:
    found = devices()
    assert {name: (d.synop, d.neuron, d.spiking) for name, d in found.items()} == TABLE
    assert found["loihi"].synop == pytest.approx(23.6e-12 + 3.5e-12, rel=1e-12)
    assert all("KerasSpiking" in device.source for device in found.values())


def test_connections_and_neurons_of_the_documented_network() -> None:
    found = estimate_energy(documented(), torch.rand(2, 1, 28, 28))
    assert [layer.connections for layer in found.counts.layers] == [47_432, 123_904, 1_280]
    assert [layer.dense for layer in found.counts.layers] == [47_432, 123_904, 1_280]
    assert [unit.neurons for unit in found.counts.units] == [968, 128]


@pytest.mark.parametrize(("name", "joules", "exact"), [("cpu", 1.49e-3, 1.4939e-3), ("gpu", 5.21e-5, 5.2114e-5)])
def test_totals_of_the_documented_network(name: str, joules: float, exact: float) -> None:
    device = devices()[name]
    synapses = device.joules(47_432 + 123_904 + 1_280, 968 + 128)
    assert synapses.total == pytest.approx(joules, rel=5e-3)
    assert synapses.total == pytest.approx(exact, rel=5e-5)
    found = estimate_energy(documented(), torch.rand(2, 1, 28, 28)).devices[name]
    assert found is not None
    assert found.total == pytest.approx(synapses.total, rel=1e-12)


def test_totals_of_the_documented_dense_layer_and_an_own_device() -> None:
    model = nn.Sequential(nn.Linear(784, 128), nn.ReLU())
    own = Device("mine", 1e-10, 2e-9, spiking=False)
    found = estimate_energy(model, torch.rand(3, 784), devices=[own])
    assert found.counts.layers[0].connections == 100_352
    joules = {name: entry.total for name, entry in found.devices.items() if entry is not None}
    assert joules["cpu"] == pytest.approx(8.6413e-4, rel=5e-5)
    assert joules["mine"] == pytest.approx(1.0291e-5, rel=5e-5)
    assert found.to_dict()["devices"]["mine"]["source"] == "set by the user"
    # The same prices on a device of spikes: what it costs depends on rates, and there are none without timesteps.
    spiking = estimate_energy(model, torch.rand(3, 784), devices=[Device("mine", 1e-10, 2e-9)])
    assert spiking.devices["mine"] is None


def test_a_spiking_device_by_rates() -> None:
    device = devices()["loihi"]
    found = device.joules(32 * 64, 64, rate=1.0, dt=0.001, timesteps=1)
    assert (found.synops, found.neurons) == (pytest.approx(5.55e-11, rel=1e-3), pytest.approx(5.184e-9, rel=1e-9))
    assert found.total == pytest.approx(5.24e-9, rel=5e-3)
    model = nn.Sequential(nn.Linear(32, 64), nn.ReLU())
    counted = estimate_energy(model, torch.ones(5, 32), timesteps=1, dt=0.001).devices["loihi"]
    assert counted is not None
    assert (counted.synops, counted.neurons) == (pytest.approx(found.synops), pytest.approx(found.neurons))
    # Rates of 100 Hz for 20 steps.
    longer = estimate_energy(model, torch.full((5, 32), 100.0), timesteps=20).devices["loihi"]
    assert longer is not None
    wanted = device.joules(32 * 64, 64, rate=100.0, timesteps=20)
    assert (longer.synops, longer.neurons) == (pytest.approx(wanted.synops), pytest.approx(wanted.neurons))


def test_an_own_device_takes_the_place_of_one_of_the_table() -> None:
    mine = Device("loihi", 1e-12, 2e-12)
    assert devices([mine])["loihi"] is mine
    assert list(devices([mine])) == list(TABLE)


def test_wrong_devices_are_refused() -> None:
    for values, message in (
        ((-1.0, 0.0), "device chip synop: got -1.0, wanted joules, 0 or more"),
        ((1.0, float("nan")), "device chip neuron: got nan, wanted joules, 0 or more"),
        ((True, 1.0), "device chip synop: got True"),
        ((1.0, float("inf")), "device chip neuron: got inf"),
    ):
        with pytest.raises(BitspikeError, match=message):
            Device("chip", *values)
    with pytest.raises(BitspikeError, match="device name: got '', wanted a word"):
        Device("", 1.0, 1.0)
    with pytest.raises(BitspikeError, match="device chip spiking: got 'no', wanted True or False"):
        Device("chip", 1.0, 1.0, "no")  # type: ignore[arg-type]
    with pytest.raises(BitspikeError, match=r"devices: got dict, wanted Device\("):
        devices([{"name": "chip"}])  # type: ignore[list-item]
    with pytest.raises(BitspikeError, match="device timesteps: got 0, wanted a whole number, 1 or more"):
        devices()["loihi"].joules(1, 1, timesteps=0)
    with pytest.raises(BitspikeError, match=r"device rate: got -2\.0"):
        devices()["loihi"].joules(1, 1, rate=-2.0)
