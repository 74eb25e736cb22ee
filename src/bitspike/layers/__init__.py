"""Floor 2: what stands between weights and neurons in a network over time."""

from bitspike.layers.bntt import BNTT
from bitspike.layers.lmu import LMU
from bitspike.layers.norm import TemporalBatchNorm
from bitspike.layers.one_pass import OnePass
from bitspike.layers.parallel_lmu import ParallelLMU
from bitspike.layers.product import FewBitConv2d, FewBitLinear
from bitspike.layers.recomputed import Recomputed
from bitspike.layers.recurrent import Recurrent
from bitspike.layers.scale import ChannelScale
from bitspike.layers.stepwise import Stepwise, stepwise

__all__ = [
    "BNTT",
    "LMU",
    "ChannelScale",
    "FewBitConv2d",
    "FewBitLinear",
    "OnePass",
    "ParallelLMU",
    "Recomputed",
    "Recurrent",
    "Stepwise",
    "TemporalBatchNorm",
    "stepwise",
]  # fmt: skip
