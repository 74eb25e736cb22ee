"""Floor 3: networks, from sizes to modules."""

from bitspike.models.feedforward import feedforward
from bitspike.models.local import LocalLayer, LocalNetwork, LocalState, local_network

__all__ = ["LocalLayer", "LocalNetwork", "LocalState", "feedforward", "local_network"]
