"""Floor 2: what stands between weights and neurons in a network over time."""

from bitspike.layers.norm import TemporalBatchNorm
from bitspike.layers.scale import ChannelScale
from bitspike.layers.stepwise import Stepwise, stepwise

__all__ = ["ChannelScale", "Stepwise", "TemporalBatchNorm", "stepwise"]
