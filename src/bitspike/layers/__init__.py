"""Floor 2: what stands between weights and neurons in a network over time."""

from bitspike.layers.average import AveragePool
from bitspike.layers.bntt import BNTT
from bitspike.layers.dropout import Dropout
from bitspike.layers.fused import Fused
from bitspike.layers.local import Local2d
from bitspike.layers.norm import BatchStatistics, TemporalBatchNorm
from bitspike.layers.product import FewBitConv2d, FewBitLinear
from bitspike.layers.recomputed import Recomputed
from bitspike.layers.recurrent import Recurrent
from bitspike.layers.scale import ChannelScale
from bitspike.layers.stepwise import Stepwise, stepwise
from bitspike.layers.synapse import Synapse, SynapticLayer
from bitspike.renamed import moved

__all__ = [
    "BNTT", "AveragePool", "BatchStatistics", "ChannelScale", "Dropout", "FewBitConv2d", "FewBitLinear", "Fused",
    "Local2d", "Recomputed", "Recurrent", "Stepwise", "Synapse", "SynapticLayer", "TemporalBatchNorm", "stepwise",
]  # fmt: skip

__getattr__ = moved(
    __name__, {"LMU": "bitspike.cells", "ParallelLMU": "bitspike.cells", "OnePass": "bitspike.layers:Fused"}
)
