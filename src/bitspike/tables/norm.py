"""What stands behind each weight layer of a feed-forward network."""

from __future__ import annotations

from bitspike.options import Options
from bitspike.registry import register


@register("norm", "batch", "bitspike.layers.norm:TemporalBatchNorm")
class Batch(Options):
    """Batch normalisation over time, batch and places."""


@register("norm", "bntt", "bitspike.layers.bntt:BNTT")
class BNTT(Options):
    """Batch normalisation with statistics and gains of each time step."""


@register("norm", "scale", "bitspike.layers.scale:ChannelScale")
class Scale(Options):
    """A learned gain and offset per channel."""


@register("norm", "bias", "bitspike.layers.scale:without_norm")
class Bias(Options):
    """Nothing but the layer's biases."""
