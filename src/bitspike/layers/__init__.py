"""Floor 2: what stands between weights and neurons in a network over time."""

from bitspike.layers.bntt import BNTT
from bitspike.layers.norm import TemporalBatchNorm
from bitspike.layers.product import FewBitConv2d, FewBitLinear
from bitspike.layers.recomputed import Recomputed
from bitspike.layers.recurrent import Recurrent
from bitspike.layers.scale import ChannelScale
from bitspike.layers.stepwise import Stepwise, stepwise

__all__ = [
    "BNTT", "ChannelScale", "FewBitConv2d", "FewBitLinear", "Recomputed", "Recurrent", "Stepwise", "TemporalBatchNorm",
    "stepwise",
]  # fmt: skip
