"""Floor 4: accuracy, calibration, bits and energy."""

from bitspike.metrics.account import Energy, account
from bitspike.metrics.bits import activation_bits, bits, weight_bits
from bitspike.metrics.classification import classification, confidence_histogram, confusion, over_time
from bitspike.metrics.constants import Constant, constants
from bitspike.metrics.counts import Counts, LayerCount, NeuronCount
from bitspike.metrics.devices import Device, devices
from bitspike.metrics.energy import energy
from bitspike.metrics.fan_out import fan_outs
from bitspike.metrics.levels import LevelCollector, Levels, LevelStatistics
from bitspike.metrics.operations import OperationCounter
from bitspike.metrics.regression import regression
from bitspike.metrics.sweeps import sweep
from bitspike.metrics.temperature import apply_temperature, fit_temperature

__all__ = [
    "Constant", "Counts", "Device", "Energy", "LayerCount", "LevelCollector", "LevelStatistics", "Levels",
    "NeuronCount", "OperationCounter", "account", "activation_bits", "apply_temperature", "bits", "classification",
    "confidence_histogram", "confusion", "constants", "devices", "energy", "fan_outs", "fit_temperature",
    "over_time", "regression", "sweep", "weight_bits",
]  # fmt: skip
