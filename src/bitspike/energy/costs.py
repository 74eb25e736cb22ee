"""Joules and bytes of one inference from operation counts, and of two networks without spikes to stand beside it.

    joules_compute   = E_mac mac + E_add (ac + add_real)           the usual 45 nm estimate
    joules_neurons   = E_mac (neuron and filter updates)           left out of the usual estimate
    joules_with_memory[level] = joules_compute + joules_neurons + E_level bytes.total

    bytes.weights      one read per operation, at the width the weights are shipped with
    bytes.activations  every input of a layer written once and read once: 1 bit for a spike
    bytes.state        every state number read and written at every step, 4 bytes

`non_spiking_twin`: the same topology, one pass, every connection a float32 multiply-add. `opponent`: the same topology,
one pass, with the network's own weight bits w and as many activation bits a as its spikes tell apart,

    a = ceil(log2(levels)),  levels: different sums over a presentation that a layer was sent

so that one of its multiply-adds costs one addition per bit of the narrower operand (shift and add), or E_mac where that
is less. What the network multiplies as real numbers, such as its input, the opponent multiplies too.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from bitspike.energy.constants import Constant
from bitspike.energy.counts import Counts, LayerCount

PICO = 1e-12
# Bits one access of a level moves, see the units in the table.
LEVELS = {"cache_8kB": 64, "sram_32kB": 64, "sram_1MB": 64, "dram": 32}
Table = dict[str, Constant]


@dataclass(frozen=True)
class Cost:
    """Of one inference; joules_with_memory: none without a usable constant. more: what only this network has."""

    mac: float
    ac: float
    add_real: float
    neuron_updates: float
    joules_compute: float
    joules_neurons: float
    bytes: dict[str, float]
    joules_with_memory: dict[str, float | None]
    more: dict[str, float] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """As nested dictionaries of numbers, for JSON."""
        found = asdict(self)
        more: dict[str, float] = found.pop("more")
        return found | more


def joules_per_byte(level: str, table: Table) -> float | None:
    """Of an access to a level of memory; none where its constant is unverified."""
    return PICO * table[level].value * 8 / LEVELS[level] if table[level].usable else None


def cost(
    mac: float, ac: float, add_real: float, updates: float, traffic: dict[str, float], table: Table,
    filters: float = 0.0, **more: float,
) -> Cost:  # fmt: skip
    """Of counted operations and bytes {weights, activations, state}."""
    multiply_add, add = table["float32_mac"].value, table["float32_add"].value
    compute = PICO * (multiply_add * mac + add * (ac + add_real))
    neurons = PICO * multiply_add * (updates + filters)
    total = sum(traffic.values())
    with_memory = {
        level: None if (each := joules_per_byte(level, table)) is None else compute + neurons + each * total
        for level in LEVELS
    }
    return Cost(mac, ac, add_real, updates, compute, neurons, {**traffic, "total": total}, with_memory, more)


def network(counts: Counts, draws: int, table: Table) -> Cost:
    """What was counted, `draws` times: every member of an ensemble fires its own spikes."""
    layers = counts.layers
    traffic = {
        "weights": sum(layer.reads * layer.weight_bits for layer in layers) / 8,
        "activations": sum(2 * layer.input_bits for layer in layers) / 8,
        "state": sum(2 * 4 * each.state for each in (*counts.neurons, *counts.filters)),
    }
    filters = draws * sum(each.updates for each in counts.filters)
    return cost(
        draws * sum(layer.mac for layer in layers),
        draws * sum(layer.ac for layer in layers),
        draws * sum(layer.add_real for layer in layers),
        draws * sum(each.updates for each in (*counts.neurons, *counts.units)),
        {level: draws * size for level, size in traffic.items()},
        table,
        filters,
        filter_updates=filters,
        spikes=draws * sum(layer.spikes for layer in counts.neurons),
        synops=draws * sum(layer.events + layer.graded for layer in layers),
    )


def units_once(counts: Counts) -> float:
    """Units of a network that runs once; a recurrent cell runs at every step."""
    cells = sum(each.updates if each.cell else each.neurons for each in counts.neurons)
    return float(cells + sum(each.neurons for each in counts.units))


def once(layer: LayerCount) -> float:
    """Inputs of a layer that runs once."""
    return layer.input_values / layer.rows if layer.rows else 0.0


def twin(counts: Counts, table: Table) -> Cost:
    """The float32 network of the same topology."""
    dense = sum(layer.dense for layer in counts.layers)
    traffic = {"weights": 4 * dense, "activations": 2 * 4 * sum(map(once, counts.layers)), "state": 0.0}
    # A real-valued input shown once is the twin's own input, so its zeros can be skipped there as well.
    skipped = sum(layer.reads if layer.real_input and layer.rows == 1 else layer.dense for layer in counts.layers)
    joules = PICO * table["float32_mac"].value * skipped
    return cost(
        dense, 0.0, 0.0, units_once(counts), traffic, table, mac_input_zeros_skipped=skipped,
        joules_compute_input_zeros_skipped=joules,
    )  # fmt: skip


def additions(layer: LayerCount, table: Table) -> float | None:
    """Additions that stand for one multiply-add of the opponent; none where it is one multiply-add."""
    if layer.weight_bits == 1:
        return 1.0
    narrower = min(layer.weight_bits, layer.bits)
    worth = not layer.graded and narrower * table["float32_add"].value < table["float32_mac"].value
    return narrower if worth else None


def opponent(counts: Counts, table: Table, skip_zeros: bool = False) -> Cost:
    """The network quantised to the same bits; skip_zeros: what is 0 over the whole presentation costs nothing."""
    mac = ac = read = 0.0
    for layer in counts.layers:
        met = layer.once if skip_zeros else layer.dense
        each = additions(layer, table)
        mac, ac = (mac + met, ac) if each is None else (mac, ac + each * met)
        read += met * layer.weight_bits / 8
    sent = sum(2 * once(layer) * layer.bits / 8 for layer in counts.layers)
    traffic = {"weights": read, "activations": sent, "state": 0.0}
    dense = sum(layer.dense for layer in counts.layers) or 1.0
    return cost(
        mac, ac, 0.0, units_once(counts), traffic, table,
        activation_bits=sum(layer.dense * layer.bits for layer in counts.layers) / dense,
        weight_bits=sum(layer.dense * layer.weight_bits for layer in counts.layers) / dense,
    )  # fmt: skip
