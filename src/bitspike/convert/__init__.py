"""Floor 3: ordinary networks made spiking, and back."""

from bitspike.convert.hybrid import Hybrid
from bitspike.convert.hybridise import dehybridise, hybridise
from bitspike.convert.rate_curve import RateCurve, accuracy_curve
from bitspike.convert.rate_network import RateNetwork
from bitspike.convert.relu_to_spiking import relu_to_spiking
from bitspike.convert.spiking import Spiking, spiking
from bitspike.convert.spiking_run import Presentation, present_all

__all__ = [
    "Hybrid", "Presentation", "RateCurve", "RateNetwork", "Spiking", "accuracy_curve", "dehybridise", "hybridise",
    "present_all", "relu_to_spiking", "spiking",
]  # fmt: skip
