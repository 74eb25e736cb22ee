"""Floor 4: what a network's operations, bits and levels are, counted, and what they cost."""

import sys
import warnings
from types import ModuleType
from typing import Any

from bitspike.energy.account import Energy, account
from bitspike.energy.bits import activation_bits, bits, weight_bits
from bitspike.energy.constants import Constant, constants
from bitspike.energy.counts import Counts, LayerCount, NeuronCount
from bitspike.energy.devices import Device, devices
from bitspike.energy.estimate import estimate_energy
from bitspike.energy.fan_out import fan_outs
from bitspike.energy.levels import LevelCollector, Levels, LevelStatistics
from bitspike.energy.mac_ac import MacAc, mac_ac
from bitspike.energy.operations import OperationCounter
from bitspike.energy.sweeps import sweep

__all__ = [
    "Constant", "Counts", "Device", "Energy", "LayerCount", "LevelCollector", "LevelStatistics", "Levels",
    "MacAc", "NeuronCount", "OperationCounter", "account", "activation_bits", "bits", "constants", "devices",
    "estimate_energy", "fan_outs", "mac_ac", "sweep", "weight_bits",
]  # fmt: skip


class _Room(ModuleType):
    """This package, which was a function of that name before: it may be called for one release."""

    def __call__(self, *arguments: Any, **options: Any) -> Energy:
        """`estimate_energy`, by its old name."""
        warnings.warn("bitspike.energy(...) is bitspike.estimate_energy(...) now", FutureWarning, stacklevel=2)
        return estimate_energy(*arguments, **options)

    @property
    def energy(self) -> Any:
        """The function that has the name `estimate_energy` now."""
        return self


sys.modules[__name__].__class__ = _Room
