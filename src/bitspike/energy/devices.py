"""Devices as KerasSpiking tells them apart: joules per synaptic operation and per update of a neuron.

    joules = synop * connections * rate * dt * timesteps  +  neuron * neurons * timesteps       a spiking device
    joules = synop * connections                          +  neuron * neurons                   any other

with the mean rate of the inputs in Hz and dt in seconds: connections * rate * dt * timesteps is the number of spikes
that arrive at synapses. A device that does not spike computes every connection once. Nothing else is in it: no
overhead, no movement of data, one price for every neuron. Table and sources: `devices.toml`.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from bitspike.errors import check_whole, refuse


@dataclass(frozen=True)
class Joules:
    """Of one inference: at synapses, and of neurons."""

    synops: float
    neurons: float

    @property
    def total(self) -> float:
        """Both."""
        return self.synops + self.neurons


@dataclass(frozen=True)
class Device:
    """synop, neuron: joules of one operation; spiking: works on events (see the module)."""

    name: str
    synop: float
    neuron: float
    spiking: bool = True
    source: str = "set by the user"

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name:
            refuse("device name", repr(self.name), "a word")
        for field in ("synop", "neuron"):
            _amount(f"device {self.name} {field}", getattr(self, field), "joules, 0 or more")
        if not isinstance(self.spiking, bool):
            refuse(f"device {self.name} spiking", repr(self.spiking), "True or False")

    def joules(
        self, connections: float, neurons: float, rate: float = 1.0, dt: float = 0.001, timesteps: int = 1
    ) -> Joules:
        """Of a layer by its mean input rate (Hz); rate, dt (seconds) and timesteps are for spiking devices."""
        for field, value in (("connections", connections), ("neurons", neurons), ("rate", rate), ("dt", dt)):
            _amount(f"device {field}", value, "a number, 0 or more")
        check_whole("device timesteps", timesteps)
        if not self.spiking:
            return self.of(connections, neurons)
        return self.of(connections * rate * dt * timesteps, neurons * timesteps)

    def of(self, synops: float, updates: float) -> Joules:
        """Of operations as they were counted."""
        return Joules(self.synop * synops, self.neuron * updates)


def _amount(field: str, value: object, wanted: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        refuse(field, value, wanted)


@cache
def _table() -> tuple[Device, ...]:
    text = files("bitspike.energy").joinpath("devices.toml").read_text(encoding="utf-8")
    return tuple(Device(name, **entry) for name, entry in tomllib.loads(text).items())


def devices(own: Iterable[Device] = ()) -> dict[str, Device]:
    """The table by name, and `own` devices beside it or, where they have a name of it, in its place."""
    table = {device.name: device for device in _table()}
    for device in own:
        if not isinstance(device, Device):
            refuse("devices", type(device).__name__, "Device(name, synop, neuron, spiking)")
        table[device.name] = device
    return table
