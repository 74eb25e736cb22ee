"""Floor 4: scores, calibration and paired differences."""

from bitspike.metrics.classification import classification, confidence_histogram, confusion, over_time
from bitspike.metrics.regression import regression
from bitspike.metrics.temperature import apply_temperature, fit_temperature
from bitspike.renamed import moved

__all__ = [
    "apply_temperature", "classification", "confidence_histogram", "confusion", "fit_temperature", "over_time",
    "regression",
]  # fmt: skip

_COUNTING = (
    "Constant", "Counts", "Device", "Energy", "LayerCount", "LevelCollector", "LevelStatistics", "Levels",
    "NeuronCount", "OperationCounter", "account", "activation_bits", "bits", "constants", "devices", "energy",
    "fan_outs", "sweep", "weight_bits",
)  # fmt: skip
__getattr__ = moved(__name__, dict.fromkeys(_COUNTING, "bitspike.energy"))
