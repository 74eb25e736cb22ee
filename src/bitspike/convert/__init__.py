"""Floor 3: ordinary networks made spiking, and back."""

from bitspike.convert.hybrid import Hybrid
from bitspike.convert.hybridise import dehybridise, hybridise
from bitspike.convert.spiking import Spiking, spiking
from bitspike.convert.spiking_run import Presentation, present_all

__all__ = ["Hybrid", "Presentation", "Spiking", "dehybridise", "hybridise", "present_all", "spiking"]
