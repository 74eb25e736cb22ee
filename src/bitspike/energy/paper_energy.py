"""The energy account of Hunsberger & Eliasmith (2016): a spiking network against its rate network on usual hardware.

The unit is the energy of one floating-point operation (FLOP) of usual hardware:

    FLOPs_ANN  = neurons + 2 synapses                           (+ 1 per input of a pool, in the published totals)
    E_SNN      = (E_synop synops/s + E_update updates/s) s/image + 2 synapses of the input layer
    synops/s   = sum_i S_i R_i       S_i: synapses out of layer i; R_i: its mean rate in Hz
    updates/s  = neurons / dt
    efficiency = FLOPs_ANN / E_SNN

with E_synop = 0.08, E_update = 0.25 and dt = 1 ms. The term of the input layer, which gets real pixels once, is in the
authors' program and in their printed numbers, though not in their formula. Synapses are counted as weights that meet a
place of the input or of its border of zeros: outputs times fan-in. The read-out's units are no neurons.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from bitspike.energy.counts import Counts
from bitspike.energy.crossover import CrossOver
from bitspike.errors import refuse

E_SYNOP, E_UPDATE = 0.08, 0.25


@dataclass(frozen=True)
class LayerSize:
    """A weight layer, for one example: its units, the synapses into them, and its weights (without biases)."""

    name: str
    units: int
    synapses: int
    weights: int


@dataclass(frozen=True)
class NetworkSize:
    """Weight layers in the order they ran, the last of them the read-out; pooled: inputs of all pools."""

    layers: tuple[LayerSize, ...]
    pooled: int

    @property
    def neurons(self) -> int:
        """Units of all layers but the read-out."""
        return sum(layer.units for layer in self.layers[:-1])

    @property
    def weights(self) -> int:
        """Weights, each once however often it is shared."""
        return sum(layer.weights for layer in self.layers)

    @property
    def synapses(self) -> int:
        """Connections: a shared weight counts at every place."""
        return sum(layer.synapses for layer in self.layers)

    def flops(self, pools: bool = True) -> int:
        """FLOPs of the rate network for one example; pools: with one for every input of a pool."""
        return self.neurons + 2 * self.synapses + (self.pooled if pools else 0)


def paper_energy(
    size: NetworkSize,
    rates: Sequence[float],
    seconds: float,
    *,
    dt: float = 0.001,
    input_layer: bool = True,
) -> dict[str, float]:
    """The account of one image shown for `seconds`; rates: Hz of each layer of neurons, in order.

    flops: of the rate network, without pools; synops_per_second, updates_per_second; snn: E_SNN; efficiency.
    input_layer: charge the input layer as the printed numbers do; without, the written formula.
    """
    if len(rates) != len(size.layers) - 1:
        refuse("paper_energy rates", f"{len(rates)} rates", f"{len(size.layers) - 1}, one per layer of neurons")
    if not all(math.isfinite(rate) and rate >= 0 for rate in rates) or not seconds > 0 or not dt > 0:
        refuse("paper_energy", f"{list(rates)} Hz, {seconds:g} s, dt {dt:g} s", "rates from 0, times above 0")
    synops = math.fsum(rate * layer.synapses for rate, layer in zip(rates, size.layers[1:], strict=True))
    updates = size.neurons / dt
    snn = (E_SYNOP * synops + E_UPDATE * updates) * seconds
    if input_layer:
        snn += 2.0 * size.layers[0].synapses
    flops = float(size.flops(pools=False))
    return {
        "flops": flops,
        "synops_per_second": synops,
        "updates_per_second": updates,
        "snn": snn,
        "efficiency": flops / snn,
    }


@dataclass(frozen=True)
class PaperEnergy:
    """The account of what was counted, in FLOPs of usual hardware, per inference.

    flops: of the rate network, without pools; flops_with_pools: as in the published totals. snn, efficiency, cross:
    none for a network without spikes.
    """

    flops: float
    flops_with_pools: float
    snn: float | None = None
    efficiency: float | None = None
    cross: CrossOver | None = None

    def to_dict(self) -> dict[str, float | None]:
        """For JSON."""
        return {name: getattr(self, name) for name in ("flops", "flops_with_pools", "snn", "efficiency")}


def paper_account(counts: Counts, draws: int = 1) -> PaperEnergy | None:
    """The account from counted spikes; none where the formula does not say what to do.

    That is: recurrent cells, the online rule, and networks in which layers of neurons do not follow weight layers one
    to one. Spikes that come in from outside are charged as spikes; a real input as the printed numbers charge pixels.
    """
    if not counts.layers or any(layer.units == 0 for layer in counts.layers):
        return None
    fired = counts.neurons or counts.units
    if len(fired) != len(counts.layers) - 1 or (counts.neurons and counts.units) or not counts.alternate:
        return None
    # Units may stand behind a pool, and be fewer than the outputs of their weights.
    units = [*(each.neurons for each in fired), round(counts.layers[-1].units)]
    sizes = zip(counts.layers, units, strict=True)
    size = NetworkSize(
        tuple(LayerSize(layer.name, n, round(layer.connections), layer.weights) for layer, n in sizes),
        round(counts.pooled),
    )
    flops, pools = float(size.flops(pools=False)), float(size.flops())
    if not counts.neurons:
        return PaperEnergy(flops, pools)
    neurons, first = counts.neurons, counts.layers[0]
    # Time in steps, rates per step: seconds drop out of the product.
    steps = neurons[0].updates / neurons[0].neurons
    rates = [each.spikes / (each.neurons * steps) for each in neurons]
    found = paper_energy(size, rates, steps, dt=1.0, input_layer=first.graded > 0)
    reached = sum(layer.synapses for layer in size.layers[1:])
    coming = found["synops_per_second"] * steps
    snn = found["snn"]
    if not first.graded:
        snn, coming, reached = snn + E_SYNOP * first.events, coming + first.events, reached + size.layers[0].synapses
    growing = draws * E_SYNOP * coming
    cross = CrossOver(
        draws * snn, flops, coming / reached, draws * snn - growing, draws * E_SYNOP * reached, "FLOP"
    )  # fmt: skip
    return PaperEnergy(flops, pools, draws * snn, flops / (draws * snn), cross)
