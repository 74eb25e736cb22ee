"""Energy of one inference, estimated from operation counts: never one number, never measured.

    joules_compute   = E_mac mac + E_add (ac + add_real)           the usual 45 nm estimate
    joules_neurons   = E_mac neuron_updates                        left out of the usual estimate
    joules_with_memory[level] = joules_compute + joules_neurons + E_level bytes.total

    bytes.weights      one read per operation, at the width the weights are shipped with
    bytes.activations  every input of a layer written once and read once: 1 bit for a spike
    bytes.state        every state number read and written at every step, 4 bytes

beside the same for the non-spiking network of the same topology: one pass, every connection a float32
multiply-add. Constants and their sources: `energy_constants.toml`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bitspike.metrics.bits import check_draws
from bitspike.metrics.constants import Constant, constants
from bitspike.metrics.counts import Counts
from bitspike.metrics.operations import LARGEST_COUNT

LABEL = "analytic, not measured"
PICO = 1e-12
# Bits one access of a level moves, see the units in the table.
LEVELS = {"cache_8kB": 64, "sram_32kB": 64, "sram_1MB": 64, "dram": 32}


def energy(counts: Counts, *, draws: int = 1, overrides: Mapping[str, float] | None = None) -> dict[str, Any]:
    """The `energy` of result.json, per inference, as an ensemble of `draws` passes of what was counted.

    label; network (with spikes) and non_spiking_twin: mac, ac, add_real, neuron_updates, joules_compute,
    joules_neurons, bytes {weights, activations, state, total}, joules_with_memory {level: joules, or None
    without a usable constant}; by_layer (one pass); constants used; assumptions. overrides: see `constants`.
    """
    check_draws(draws)
    table = constants(overrides)
    layers = counts.layers
    traffic = {
        "weights": sum(layer.reads * layer.weight_bits for layer in layers) / 8,
        "activations": sum(2 * layer.input_bits for layer in layers) / 8,
        "state": sum(2 * 4 * layer.state for layer in counts.neurons),
    }
    network = _estimate(
        draws * sum(layer.mac for layer in layers),
        draws * sum(layer.ac for layer in layers),
        draws * sum(layer.add_real for layer in layers),
        draws * sum(layer.updates for layer in counts.neurons),
        {level: draws * size for level, size in traffic.items()},
        table,
    )
    # All the spikes of one answer: every member of an ensemble fires its own.
    network["spikes"] = draws * sum(layer.spikes for layer in counts.neurons)
    dense = sum(layer.dense for layer in layers)
    inputs = sum(layer.input_values / layer.rows for layer in layers if layer.rows)
    twin = _estimate(dense, 0.0, 0.0, 0.0, {"weights": 4 * dense, "activations": 2 * 4 * inputs, "state": 0.0}, table)
    # A real-valued input shown once is the twin's own input, so its zeros can be skipped there as well.
    skipped = sum(layer.reads if layer.real_input and layer.rows == 1 else layer.dense for layer in layers)
    twin["mac_input_zeros_skipped"] = skipped
    twin["joules_compute_input_zeros_skipped"] = PICO * table["float32_mac"].value * skipped
    by_layer = [
        {
            "name": layer.name, "kind": layer.kind, "weights": layer.weights,
            "weight_bits": layer.weight_bits,
            "dense": layer.dense, "mac": layer.mac, "ac": layer.ac, "add_real": layer.add_real,
        }
        for layer in layers
    ]  # fmt: skip
    used = ["float32_mac", "float32_add", *(level for level in LEVELS if table[level].usable)]
    return {
        "label": LABEL,
        "draws": draws,
        "network": network,
        "non_spiking_twin": twin,
        "by_layer": by_layer,
        "constants": {name: vars(table[name]) for name in used},
        "assumptions": _assumptions(counts, draws, table),
    }


def _estimate(
    mac: float,
    ac: float,
    add_real: float,
    updates: float,
    traffic: dict[str, float],
    table: dict[str, Constant],
) -> dict[str, Any]:
    multiply_add, add = table["float32_mac"].value, table["float32_add"].value
    compute = PICO * (multiply_add * mac + add * (ac + add_real))
    neurons = PICO * multiply_add * updates
    total = sum(traffic.values())
    with_memory = {
        level: compute + neurons + PICO * table[level].value * total * 8 / width if table[level].usable else None
        for level, width in LEVELS.items()
    }
    return {
        "mac": mac,
        "ac": ac,
        "add_real": add_real,
        "neuron_updates": updates,
        "joules_compute": compute,
        "joules_neurons": neurons,
        "bytes": {**traffic, "total": total},
        "joules_with_memory": with_memory,
    }


def _assumptions(counts: Counts, draws: int, table: dict[str, Constant]) -> list[str]:
    mac, add = table["float32_mac"], table["float32_add"]
    closed = [level for level in LEVELS if not table[level].usable]
    said = [
        f"{LABEL}: operations counted on {counts.presentations} presentations, times a constant each",
        f"a multiply-add costs {mac.value:g} pJ ({mac.source})",
        f"an addition costs {add.value:g} pJ ({add.source}); real inputs on binary weights pay the same",
        "an input of 0 costs nothing in the network; in the twin it costs as much as any other, but for the "
        "figures marked input_zeros_skipped",
        "the twin is the same topology with non-spiking units: one pass, dense float32 multiply-adds",
        "an input that does not change over time is multiplied once per presentation",
        f"with real weights a whole-number input n up to {LARGEST_COUNT} costs |n| additions, any other "
        "one multiply-add; with binary weights any input costs one addition",
        "connections into padding are not counted, in the network or the twin",
        "normalisation, scales and biases fold into the neurons and are not counted; nor are pooling, "
        "encoding, decoding, routing of spikes, control and leakage",
        "a neuron's step counts as one multiply-add (joules_neurons), whatever its equation; the usual "
        "estimate (joules_compute) leaves it out",
        "memory: each operation reads its weight; each layer input is written once and read once (1 bit for "
        "a spike); each state number is read and written at each step in 4 bytes; registers keep nothing",
        "memory: joules_with_memory serves all traffic from the one level named, without regard to its size; "
        "a write costs as much as a read",
    ]
    if closed:
        said.append(f"no joules for {', '.join(closed)}: the constant is unverified; set it to get them")
    if draws > 1:
        said.append(f"an ensemble of {draws} draws costs {draws} times one pass; the twin is one network")
    if counts.traces:
        said.append(
            "the online rule's layers multiply presynaptic traces, which are real, at every step, and every "
            "local read-out runs; filtering after the weights would need additions at spikes only"
        )
    if counts.uncounted:
        said.append(f"not counted: {', '.join(counts.uncounted)}")
    return said
