"""The account of papers on directly trained spiking networks (VGG9 with BNTT, FedSNN): MACs, ACs and rates of neurons.

    E_ANN = 4.6 pJ sum_l MAC_l
    E_SNN = 0.9 pJ sum_l MAC_l R_l                    R_l: spikes of a neuron of layer l's input, over all T steps

MAC_l: synapses as published, weights that meet a border of zeros included. Spikes of either sign are additions; a first
layer that gets real values multiplies at each step (of a constant input once). Neurons, norms and memory are left out.
Behind an average pool R_l is still that of the neurons, as in the papers, though each of the spikes that share a window
reaches all weights of it: `costs` counts those. Some papers take each layer's own spikes for R_l: `snn_by_output`, in
which a read-out, that sends none, keeps its input's.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from bitspike.energy.counts import Counts
from bitspike.energy.crossover import CrossOver
from bitspike.errors import refuse

E_MAC, E_AC = 4.6e-12, 0.9e-12


@dataclass(frozen=True)
class MacAc:
    """Joules of one inference by E_MAC and E_AC; of a network without spikes `ann` alone.

    macs: of each weight layer. rates: R_l of each, an equivalent one for real inputs.
    """

    macs: tuple[float, ...]
    rates: tuple[float, ...] | None = None
    own_rates: tuple[float, ...] | None = None

    @property
    def ann(self) -> float:
        """E_ANN of the same layers."""
        return E_MAC * math.fsum(self.macs)

    @property
    def snn(self) -> float | None:
        """E_SNN."""
        return None if self.rates is None else E_AC * _weighed(self.macs, self.rates)

    @property
    def snn_by_output(self) -> float | None:
        """E_SNN by the spikes that each layer sends."""
        return None if self.own_rates is None else E_AC * _weighed(self.macs, self.own_rates)

    @property
    def rate(self) -> float | None:
        """R, the mean of R_l weighed by MAC_l; at 4.6 / 0.9 = 5.11 both networks cost the same."""
        return None if self.rates is None else _weighed(self.macs, self.rates) / math.fsum(self.macs)

    def ratio(self, other: MacAc | None = None) -> float | None:
        """E_ANN / E_SNN, against the same layers or those of another network; none without spikes or any energy."""
        ours = self.snn
        return None if not ours else (self if other is None else other).ann / ours

    def to_dict(self) -> dict[str, object]:
        """For JSON."""
        named = ("ann", "snn", "snn_by_output", "rate")
        rates = None if self.rates is None else list(self.rates)
        return {**{name: getattr(self, name) for name in named}, "ratio": self.ratio(), "rates": rates}

    def cross(self) -> CrossOver | None:
        """As the other accounts say it; spikes are those of a neuron here."""
        ours, rate = self.snn, self.rate
        if ours is None or rate is None:
            return None
        return CrossOver(ours, self.ann, rate, 0.0, E_AC * math.fsum(self.macs))


def mac_ac(macs: Sequence[float], rates: Sequence[float] | None = None) -> MacAc:
    """The account of layers by their multiply-adds and R_l."""
    if not macs or not all(math.isfinite(mac) and mac >= 0 for mac in macs) or not any(macs):
        refuse("mac_ac macs", list(macs), "multiply-adds of each layer, 0 or more, and some")
    if rates is not None and (len(rates) != len(macs) or not all(math.isfinite(r) and r >= 0 for r in rates)):
        refuse("mac_ac rates", list(rates), f"{len(macs)} numbers of spikes, 0 or more")
    return MacAc(tuple(map(float, macs)), None if rates is None else tuple(map(float, rates)))


def mac_ac_account(counts: Counts, draws: int = 1) -> MacAc | None:
    """The account of what was counted; none where layers of neurons do not follow weight layers one to one."""
    layers, neurons = counts.layers, counts.neurons
    if not layers or counts.traces or any(layer.units == 0 for layer in layers):
        return None
    macs, first = tuple(layer.connections for layer in layers), layers[0]
    if not any(macs):
        return None
    if not neurons and (len(layers) > 1 or first.graded):
        return mac_ac(macs)
    if counts.units or len(neurons) != len(layers) - 1 or not counts.alternate:
        return None
    seen = E_MAC / E_AC * first.rows if first.graded else first.events / first.dense
    sent = [each.spikes / each.neurons for each in neurons]
    rates, own = [seen, *sent], [*sent, sent[-1]] if sent else [seen]
    return MacAc(macs, tuple(draws * rate for rate in rates), tuple(draws * rate for rate in own))


def _weighed(macs: Sequence[float], rates: Sequence[float]) -> float:
    return math.fsum(mac * rate for mac, rate in zip(macs, rates, strict=True))
