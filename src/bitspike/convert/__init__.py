"""Floor 3: ordinary networks made spiking, and back."""

from bitspike.convert.hybrid import Hybrid
from bitspike.convert.hybridise import dehybridise, hybridise

__all__ = ["Hybrid", "dehybridise", "hybridise"]
