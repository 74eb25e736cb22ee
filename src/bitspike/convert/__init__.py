"""Floor 3: ordinary networks made spiking, and back."""

from bitspike.convert.hybrid.hybrid import Hybrid
from bitspike.convert.hybrid.hybridise import dehybridise, hybridise
from bitspike.convert.relu.rate_curve import RateCurve, accuracy_curve
from bitspike.convert.relu.rate_network import RateNetwork
from bitspike.convert.relu.relu_to_spiking import relu_to_spiking
from bitspike.convert.soft.presentation import Presentation, present_all
from bitspike.convert.soft.spiking import Spiking, spiking

__all__ = [
    "Hybrid", "Presentation", "RateCurve", "RateNetwork", "Spiking", "accuracy_curve", "dehybridise", "hybridise",
    "present_all", "relu_to_spiking", "spiking",
]  # fmt: skip
