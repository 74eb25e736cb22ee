"""Floor 2: encoders of values and events into spikes or currents over time."""

from bitspike.coding.base import ENCODERS, Encoder
from bitspike.coding.events import AddressEvents, EventBins, bin_events
from bitspike.coding.pixels import PixelSequence
from bitspike.coding.population import PopulationCode, cosine_rates
from bitspike.coding.values import BernoulliRate, DirectCurrent, Latency, Sequence
from bitspike.coding.windows import Windows

ENCODERS.update(
    {
        "direct": DirectCurrent,
        "rate": BernoulliRate,
        "latency": Latency,
        "population": PopulationCode,
        "sequence": Sequence,
        "windows": Windows,
        "events": EventBins,
        "pixels": PixelSequence,
    }
)

__all__ = [
    "ENCODERS", "AddressEvents", "BernoulliRate", "DirectCurrent", "Encoder", "EventBins", "Latency",
    "PixelSequence", "PopulationCode", "Sequence", "Windows",
    "bin_events", "cosine_rates",
]  # fmt: skip
