"""Floor 2: encoders of values and events into spikes or currents over time."""

from functools import partial

from bitspike import registry
from bitspike.coding.base import Encoder
from bitspike.coding.events import AddressEvents, EventBins, bin_events
from bitspike.coding.pixels import PixelSequence
from bitspike.coding.population import PopulationCode, cosine_rates
from bitspike.coding.values import BernoulliRate, DirectCurrent, Latency, Sequence, SignedRate
from bitspike.coding.windows import Windows
from bitspike.renamed import moved

__all__ = [
    "AddressEvents", "BernoulliRate", "DirectCurrent", "Encoder", "EventBins", "Latency",
    "PixelSequence", "PopulationCode", "Sequence", "SignedRate", "Windows",
    "bin_events", "cosine_rates",
]  # fmt: skip

__getattr__ = moved(__name__, {"ENCODERS": ('registry.classes("encoder")', partial(registry.classes, "encoder"))})
