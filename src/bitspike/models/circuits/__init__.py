"""Networks of probabilistic circuits, which learn while they run."""

from bitspike.models.circuits.network import Circuits, Emitted
from bitspike.models.circuits.topology import TOPOLOGIES, topology

__all__ = ["TOPOLOGIES", "Circuits", "Emitted", "topology"]
