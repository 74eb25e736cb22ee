"""The whole energy account of counted operations: costs, devices, the paper's formula, and who wins from where on."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from bitspike.energy import costs
from bitspike.energy.constants import Constant, constants
from bitspike.energy.costs import LEVELS, PICO, Cost, joules_per_byte
from bitspike.energy.counts import Counts, LayerCount
from bitspike.energy.crossover import CrossOver, cross_over, spikes_per_synapse, traces_alone
from bitspike.energy.devices import Device, Joules, devices
from bitspike.energy.mac_ac import MacAc, mac_ac_account
from bitspike.energy.paper_energy import PaperEnergy, paper_account
from bitspike.energy.tally import LARGEST_COUNT
from bitspike.errors import check_whole, refuse

LABEL = "analytic, not measured"


@dataclass(frozen=True)
class Energy:
    """Per inference, as an ensemble of `draws` passes of what was counted; the networks beside it are one each.

    network: what ran. twin: the same topology in float32, once. opponent: the same with the network's own bits, once;
    opponent_skipping: the same where zeros cost nothing. devices: joules by name, none where a device of spikes is
    asked about a network without. paper: FLOP units, see `paper_energy`. mac_ac: by rates of neurons, see there.
    cross_over: by set of constants; a pair "loihi / gpu" has the network on the first and the network without spikes
    on the second.
    """

    counts: Counts
    draws: int
    network: Cost
    twin: Cost
    opponent: Cost
    opponent_skipping: Cost
    devices: dict[str, Joules | None]
    paper: PaperEnergy | None
    mac_ac: MacAc | None
    cross_over: dict[str, CrossOver]
    constants: dict[str, Constant]
    table: dict[str, Device]
    assumptions: tuple[str, ...]

    @property
    def spikes_per_synapse(self) -> float:
        """Of one pass, over layers that get nothing but spikes."""
        return spikes_per_synapse(self.counts)

    def to_dict(self) -> dict[str, Any]:
        """The `energy` of result.json."""
        skipping = self.opponent_skipping
        return {
            "label": LABEL,
            "draws": self.draws,
            "spikes_per_synapse": self.spikes_per_synapse,
            "network": self.network.to_dict(),
            "non_spiking_twin": self.twin.to_dict(),
            "opponent": self.opponent.to_dict()
            | {
                "mac_zeros_skipped": skipping.mac,
                "ac_zeros_skipped": skipping.ac,
                "joules_compute_zeros_skipped": skipping.joules_compute,
            },
            "devices": {name: self._device(name, found) for name, found in self.devices.items()},
            "paper": None if self.paper is None else self.paper.to_dict(),
            "mac_ac": None if self.mac_ac is None else self.mac_ac.to_dict(),
            "cross_over": {name: found.to_dict() for name, found in self.cross_over.items()},
            "by_layer": [_row(layer) for layer in self.counts.layers],
            "constants": {name: vars(entry) for name, entry in self.constants.items()},
            "assumptions": list(self.assumptions),
        }

    def _device(self, name: str, found: Joules | None) -> dict[str, Any]:
        device = self.table[name]
        return {
            "spiking": device.spiking, "synop": device.synop, "neuron": device.neuron, "source": device.source,
            "joules_synops": None if found is None else found.synops,
            "joules_neurons": None if found is None else found.neurons,
            "joules": None if found is None else found.total,
        }  # fmt: skip

    def __str__(self) -> str:
        """What is not counted; the costs side by side; the devices; where spikes cost less than no spikes."""
        return "\n".join([*_missing(self.counts), *self._costs(), *self._devices(), *self._comparisons(), LABEL])

    def _costs(self) -> list[str]:
        beside = {"network": self.network, "opponent": self.opponent, "float32 twin": self.twin}
        rows: dict[str, Callable[[Cost], str]] = {
            "multiply-adds": lambda c: f"{c.mac:,.0f}",
            "additions": lambda c: f"{c.ac + c.add_real:,.0f}",
            "neuron updates": lambda c: f"{c.neuron_updates:,.0f}",
            "bytes": lambda c: f"{c.bytes['total']:,.0f}",
            "arithmetic (45 nm), J": lambda c: f"{c.joules_compute:.3g}",
        }
        lines = [f"{'':<28}" + "".join(f"{name:>14}" for name in beside)]
        return lines + [
            f"{name:<28}" + "".join(f"{cell(c):>14}" for c in beside.values()) for name, cell in rows.items()
        ]

    def _devices(self) -> list[str]:
        lines = []
        for name, found in self.devices.items():
            once = "" if self.table[name].spiking else "  (the network without spikes, once)"
            lines.append(f"{name + ', J':<28}" + f"{'-' if found is None else format(found.total, '.3g'):>14}" + once)
        return lines

    def _comparisons(self) -> list[str]:
        if not self.cross_over:
            return []
        lines = [
            f"{'spikes per synapse':<28}{self.spikes_per_synapse:>14.3g}",
            "Does it cost less with spikes than the same network without, run once with the same bits",
            "(for A / B: with spikes on device A, without on device B), and up to how many spikes per synapse?",
        ]
        words = {"network": "yes", "opponent": "no", "neither": "the same"}
        return lines + [f"{name:<28}{words[each.winner]:>14}, {_until(each)}" for name, each in self.cross_over.items()]


def _until(cross: CrossOver) -> str:
    """Where it changes who costs less, in words."""
    if cross.at is not None:
        return f"up to {cross.at:.3g}"
    if cross.winner == "network":
        return "at any number: more spikes cost nothing here"
    return "at no number: what does not depend on spikes costs as much already"


def account(
    counts: Counts,
    *,
    draws: int = 1,
    own: Iterable[Device] = (),
    overrides: Mapping[str, float] | None = None,
    timesteps: int | None = None,
    dt: float = 0.001,
) -> Energy:
    """The account of `counts` as an ensemble of `draws` passes.

    own: devices beside those of the table. overrides: see `constants`. timesteps: of a network without spikes that is
    read as one of spikes, its real inputs as rates in Hz (KerasSpiking's convention), with dt seconds per step.
    """
    check_whole("draws", draws)
    table, known = constants(overrides), devices(own)
    spiking = bool(counts.neurons) or counts.traces
    if timesteps is not None:
        check_whole("energy timesteps", timesteps)
        if spiking:
            refuse("energy timesteps", timesteps, "none: this network spikes, and its steps were counted")
        if not 0 < dt < float("inf"):
            refuse("energy dt", dt, "a positive number of seconds")
    network, other = costs.network(counts, draws, table), costs.opponent(counts, table)
    skipping, paper = costs.opponent(counts, table, skip_zeros=True), paper_account(counts, draws)
    found = {name: _on(device, counts, draws, spiking, timesteps, dt) for name, device in known.items()}
    crossed = _at_45_nm(counts, draws, network, other, skipping, table) if spiking else {}
    if paper is not None and paper.cross is not None:
        crossed["FLOPs"] = paper.cross
    rated = mac_ac_account(counts, draws)
    if rated is not None and (cross := rated.cross()) is not None:
        crossed["MACs and ACs"] = cross
    crossed |= _pairs(counts, draws, known, found, timesteps, dt)
    used = ["float32_mac", "float32_add", *(level for level in LEVELS if table[level].usable)]
    return Energy(
        counts, draws, network, costs.twin(counts, table), other, skipping, found, paper, rated, crossed,
        {name: table[name] for name in used}, known, tuple(_assumptions(counts, draws, table)),
    )  # fmt: skip


def _on(device: Device, counts: Counts, draws: int, spiking: bool, timesteps: int | None, dt: float) -> Joules | None:
    """Spikes on a device of spikes; on any other the network without spikes, once."""
    layers = counts.layers
    if not device.spiking:
        return device.of(sum(layer.dense for layer in layers), costs.units_once(counts))
    if spiking:
        updates = sum(each.updates for each in (*counts.neurons, *counts.units))
        return device.of(draws * sum(layer.events + layer.graded for layer in layers), draws * updates)
    if timesteps is None:
        return None
    arriving = sum(layer.magnitude for layer in layers) * dt * timesteps
    return device.of(arriving, costs.units_once(counts) * timesteps)


def _at_45_nm(
    counts: Counts, draws: int, network: Cost, other: Cost, skipping: Cost, table: dict[str, Constant]
) -> dict[str, CrossOver]:
    if traces_alone(counts):
        return {}
    multiply_add, add = PICO * table["float32_mac"].value, PICO * table["float32_add"].value

    def arithmetic(layer: LayerCount) -> float:
        return multiply_add * layer.mac + add * (layer.ac + layer.add_real)

    def cross(ours: float, theirs: float) -> CrossOver:
        return cross_over(counts, ours, theirs, arithmetic, lambda layer: add, draws)

    found = {
        "arithmetic": cross(network.joules_compute, other.joules_compute),
        "arithmetic, zeros skipped": cross(network.joules_compute, skipping.joules_compute),
        "arithmetic and neurons": cross(
            network.joules_compute + network.joules_neurons, other.joules_compute + other.joules_neurons
        ),
    }
    for level in LEVELS:
        byte, ours, theirs = joules_per_byte(level, table), *(c.joules_with_memory[level] for c in (network, other))
        if byte is None or ours is None or theirs is None:
            continue

        def read(layer: LayerCount, byte: float = byte) -> float:
            return arithmetic(layer) + byte * layer.reads * layer.weight_bits / 8

        def one_read(layer: LayerCount, byte: float = byte) -> float:
            return add + byte * layer.weight_bits / 8

        found[f"memory in {level}"] = cross_over(counts, ours, theirs, read, one_read, draws)
    return found


def _pairs(
    counts: Counts, draws: int, known: dict[str, Device], found: dict[str, Joules | None], timesteps: int | None,
    dt: float,
) -> dict[str, CrossOver]:  # fmt: skip
    pairs: dict[str, CrossOver] = {}
    if traces_alone(counts):
        return pairs
    dense = sum(layer.dense for layer in counts.layers)
    for (name, device), (other, against) in itertools.product(known.items(), known.items()):
        ours, theirs, synop = found[name], found[other], device.synop
        if not device.spiking or against.spiking or ours is None or theirs is None:
            continue
        if timesteps is None:
            pairs[f"{name} / {other}"] = cross_over(
                counts, ours.total, theirs.total, lambda layer, each=synop: each * layer.events,  # type: ignore[misc]
                lambda layer, each=synop: each, draws,  # type: ignore[misc]
            )  # fmt: skip
            continue
        arriving = sum(layer.magnitude for layer in counts.layers) * dt * timesteps
        here = arriving / dense if dense else 0.0
        pairs[f"{name} / {other}"] = CrossOver(ours.total, theirs.total, here, ours.neurons, synop * dense)
    return pairs


def _row(layer: LayerCount) -> dict[str, Any]:
    return {
        "name": layer.name, "kind": layer.kind, "weights": layer.weights, "weight_bits": layer.weight_bits,
        "activation_bits": layer.bits, "dense": layer.dense, "connections": layer.connections, "mac": layer.mac,
        "ac": layer.ac, "add_real": layer.add_real, "events": layer.events,
        "spikes_per_synapse": layer.events / layer.dense if layer.driven and layer.dense else None,
    }  # fmt: skip


def _missing(counts: Counts) -> list[str]:
    return [f"not counted: {', '.join(counts.uncounted)}"] if counts.uncounted else []


def _assumptions(counts: Counts, draws: int, table: dict[str, Constant]) -> list[str]:
    mac, add = table["float32_mac"], table["float32_add"]
    closed = [level for level in LEVELS if not table[level].usable]
    said = [
        *_missing(counts),
        f"{LABEL}: operations counted on {counts.presentations} presentations, times a constant each",
        f"a multiply-add costs {mac.value:g} pJ ({mac.source})",
        f"an addition costs {add.value:g} pJ ({add.source}); real inputs on binary weights pay the same",
        "an input of 0 costs nothing in the network; in the twin it costs as much as any other, but for the "
        "figures marked input_zeros_skipped",
        "the twin is the same topology with non-spiking units: one pass, dense float32 multiply-adds",
        "the opponent is the twin with the network's weight bits and as many activation bits as its layers were sent "
        "different sums over a presentation; a multiply-add of it costs one addition per bit of the narrower operand, "
        "or a multiply-add where that is less; whether it would be as accurate is not asked",
        "an input that does not change over time is multiplied once per presentation",
        f"with real weights a whole-number input n up to {LARGEST_COUNT} costs |n| additions, any other "
        "one multiply-add; with binary weights any input costs one addition",
        "spikes that meet in a window of an average pool stay as many events; the division folds into the weights",
        "the FLOPs of the paper's formula are its own: connections into padding count, and behind an average pool its "
        "mean rate; nowhere else are connections into padding counted",
        "normalisation, scales and biases fold into the neurons and are not counted; nor are pooling, "
        "encoding, decoding, routing of spikes, control and leakage",
        "a neuron's step counts as one multiply-add (joules_neurons), whatever its equation, and so does a step of a "
        "synapse's filter, of which each unit has one; the usual estimate (joules_compute) leaves both out",
        "memory: each operation reads its weight; each layer input is written once and read once (1 bit for "
        "a spike); each state number is read and written at each step in 4 bytes; registers keep nothing",
        "memory: joules_with_memory serves all traffic from the one level named, without regard to its size; "
        "a write costs as much as a read",
        "devices: one price per event at a synapse and per update of a neuron, as in KerasSpiking; a real input at a "
        "synapse pays as an event; a device that does not spike computes the network without spikes once; no overhead, "
        "no movement of data",
        "a cross-over keeps each layer's share of the spikes",
    ]
    if closed:
        said.append(f"no joules for {', '.join(closed)}: the constant is unverified; set it to get them")
    if draws > 1:
        said.append(f"an ensemble of {draws} draws costs {draws} times one pass; twin and opponent are one network")
    if counts.traces:
        said.append(
            "the online rule's layers multiply presynaptic traces, which are real, at every step, and every "
            "local read-out runs; filtering after the weights would need additions at spikes only"
        )
    return said
