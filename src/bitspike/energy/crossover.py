"""Where a spiking network stops winning: the spikes per synapse at which it costs what its opponent costs.

Additions, and reads of weights, grow with the spikes that arrive; neurons' updates, their state and the products of
real inputs do not:

    E(s) = fixed + slope s         s: spikes per synapse and inference, over layers that get nothing but spikes
    at   = (E_opponent - fixed) / slope

as long as spikes keep their shares among the layers. In a recurrent cell, s is per synapse and step.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from bitspike.energy.counts import Counts, LayerCount


@dataclass(frozen=True)
class CrossOver:
    """network, opponent: what each costs in `unit`; here: the network's spikes per synapse."""

    network: float
    opponent: float
    here: float
    fixed: float
    slope: float
    unit: str = "J"

    @property
    def at(self) -> float | None:
        """Spikes per synapse at which both cost the same; none where the opponent wins without a single spike."""
        return (self.opponent - self.fixed) / self.slope if self.slope > 0 and self.opponent >= self.fixed else None

    @property
    def winner(self) -> str:
        """Who costs less: "network", "opponent" or "neither"."""
        if self.network == self.opponent:
            return "neither"
        return "network" if self.network < self.opponent else "opponent"

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**asdict(self), "at": self.at, "winner": self.winner}


def spikes_per_synapse(counts: Counts) -> float:
    """Over the layers that get nothing but spikes, one pass; 0 without any."""
    driven = [layer for layer in counts.layers if layer.driven]
    synapses = sum(layer.dense for layer in driven)
    return sum(layer.events for layer in driven) / synapses if synapses else 0.0


def traces_alone(counts: Counts) -> bool:
    """Weights meet filtered spikes and no spike as it is: no number of spikes a synapse says what that costs."""
    return counts.traces and not any(layer.events for layer in counts.layers)


def cross_over(
    counts: Counts,
    network: float,
    opponent: float,
    of_layer: Callable[[LayerCount], float],
    of_synapse: Callable[[LayerCount], float],
    draws: int,
) -> CrossOver:
    """of_layer: what of the network's cost one pass of a layer's spikes brings; of_synapse: one spike at a synapse.

    The latter is used where no spike came at all, and nothing tells how spikes are shared.
    """
    driven = [layer for layer in counts.layers if layer.driven]
    here = spikes_per_synapse(counts)
    growing = draws * sum(map(of_layer, driven))
    if here > 0:
        slope = growing / here
    else:
        slope = draws * sum(layer.dense * of_synapse(layer) for layer in driven)
    return CrossOver(network, opponent, here, network - growing, slope)
