"""Energy of an answer: what it comes to in one small table and in words, and every figure behind it in larger ones."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from bitspike import registry
from bitspike.reports.rundata import RunData, number, section
from bitspike.reports.tables import Table
from bitspike.reports.text import NONE, fixed, ratio, si
from bitspike.reports.totals import totals

OPERATIONS = {
    "mac": "multiply–accumulates (MAC)",
    "ac": "additions on spikes (AC)",
    "add_real": "additions of real inputs (±1 weights)",
    "neuron_updates": "neuron updates",
    "filter_updates": "updates of synapses' filters",
}
SIDES = {"network": "this network", "opponent": "same bits, no spikes", "non_spiking_twin": "float32, no spikes"}
SETS = {
    "arithmetic": "45 nm, arithmetic",
    "arithmetic, zeros skipped": "45 nm, arithmetic; it skips zeros too",
    "arithmetic and neurons": "45 nm, arithmetic and neurons",
    "MACs and ACs": "MACs and ACs by rates of neurons (FedSNN)",
    "FLOPs": "FLOPs of Hunsberger & Eliasmith; float32",
}
COUNTED = {"arithmetic": "Counting arithmetic alone", "arithmetic and neurons": "With neuron updates"}
PRICES = ("synop", "neuron", "joules_synops", "joules_neurons", "joules")


@dataclass(frozen=True)
class Account:
    """One energy account of a run: of what; in short, in words, and what is not in it; then every figure.

    costs: all operations and bytes; winning: where spikes stop paying; devices; layers.
    """

    title: str
    short: Table
    words: str
    missing: list[str]
    costs: Table
    winning: Table | None
    devices: Table | None
    layers: Table | None
    assumptions: list[str]


def accounts(run: RunData) -> list[Account]:
    """Of the network as trained, and of its measurements; those that are there."""
    found = {"as trained": section(run.result, "energy")}
    for name, reading in run.measured.items():
        if reading:
            found[getattr(registry.find("measurement", name), "account", "") or name] = section(reading, "energy")
    return [account(title, each) for title, each in found.items() if section(each, "network")]


def account(title: str, found: Mapping[str, Any]) -> Account:
    """One account; what its assumptions say is not counted comes first."""
    said = found.get("assumptions") or []
    missing = [line for line in said if line.lower().startswith("not counted")]
    rest = [line for line in said if line not in missing]
    every = costs_of(found), winning(found), devices(found), layers(found)
    return Account(title, in_short(found), in_words(found), missing, *every, rest)


def in_short(found: Mapping[str, Any]) -> Table:
    """Operations, arithmetic, neurons and memory of one answer, beside the same network without spikes."""
    shown = {key: label for key, label in SIDES.items() if section(found, key)}
    sides = [section(found, key) for key in shown]
    arithmetic = [number(side, "joules_compute") for side in sides]
    neurons = [number(side, "joules_neurons") for side in sides]
    both = [a + n if a is not None and n is not None else None for a, n in zip(arithmetic, neurons, strict=True)]
    skipped = [both[0], totals(found).get("skipping")] if "opponent" in shown else []
    memory = [section(side, "joules_with_memory") for side in sides]
    level = next((key for key in memory[0] if number(memory[0], key) is not None), "")
    rows = [["operations", *(_operations(side) for side in sides), ""]]
    for label, values in (
        ("energy of the arithmetic", arithmetic),
        ("and of neuron updates", both),
        ("the same, zeros skipped without spikes", [*skipped, *[None] * (len(sides) - 2)] if skipped else []),
        (f"and of memory ({level.replace('_', ' ')})", [number(each, level) for each in memory] if level else []),
    ):
        if any(value is not None for value in values):
            rows.append(_row(label, values, "J"))
    than = "against the second column" if len(sides) > 1 else ""
    return Table(["one answer", *shown.values(), than], rows, str(found.get("label") or "analytic, not measured"))


def _row(label: str, values: Sequence[float | None], unit: str) -> list[str]:
    """A reading of each side, and how the first stands to the second."""
    return [label, *(si(value, unit) for value in values), ratio(values[0], values[1] if len(values) > 1 else None)]


def _operations(side: Mapping[str, Any]) -> str:
    """'2.11 M additions', '84.5 k MAC', or both."""
    additions = (number(side, "ac") or 0) + (number(side, "add_real") or 0)
    products = number(side, "mac") or 0
    parts = [f"{si(additions, '')} additions"] * (additions > 0) + [f"{si(products, '')} MAC"] * (products > 0)
    return " + ".join(parts) or NONE


def in_words(found: Mapping[str, Any]) -> str:
    """How many spikes it sends, and how few it would take to cost less than the same network without spikes."""
    sets = section(found, "cross_over")
    here = number(sets, "arithmetic", "here")
    if here is None:
        return ""
    said = f"It sends {_short(here)} spikes per synapse. "
    for key, counted in COUNTED.items():
        if section(sets, key):
            at, cheaper = number(sets, key, "at"), section(sets, key).get("winner") == "network"
            now = "costs less" if cheaper else "costs more"
            if at is None:
                when = "would do so even if no neuron ever fired" if not cheaper else "does so at any rate"
            else:
                when = f"{'does so' if cheaper else 'would cost less'} below {at:.3g} spikes per synapse"
            said += f"{counted}, it {now} than the same network without spikes, and {when}. "
    costs = totals(found)
    if {"network", "skipping"} <= costs.keys():
        wins = "more: spikes win" if costs["skipping"] > costs["network"] else "less: spikes do not win"
        said += f"With them, one that skips products with a zero costs {wins}. "
    return said.strip()


def costs_of(found: Mapping[str, Any]) -> Table:
    """Operations, bytes and joules of one answer; beside it the same network without spikes."""
    sides = [section(found, key) for key in SIDES if section(found, key)]
    head = ["one answer", *(label for key, label in SIDES.items() if section(found, key)), ""]
    rows = []

    def row(label: str, values: Iterable[float | None], unit: str) -> None:
        if any(values := list(values)):
            rows.append(_row(label, values, unit))

    for key, label in OPERATIONS.items():
        row(label, (number(side, key) for side in sides), "")
    traffic = [_flat(section(side, "bytes")) for side in sides]
    for level in traffic[0]:
        row(f"memory traffic: {level}", (each.get(level) for each in traffic), "B")
    row("energy, compute only", (number(side, "joules_compute") for side in sides), "J")
    skipped = [number(side, "joules_compute_zeros_skipped") for side in sides[1:-1]]
    skipped.append(number(sides[-1], "joules_compute_input_zeros_skipped"))
    if any(value is not None for value in skipped):
        what = "the same, zeros skipped (float32: of the input)" if len(sides) > 2 else "zeros of the input skipped"
        row(what, [number(sides[0], "joules_compute"), *skipped], "J")
    row("energy of neuron updates", (number(side, "joules_neurons") for side in sides), "J")
    with_memory = [_flat(section(side, "joules_with_memory")) for side in sides]
    for level in with_memory[0]:
        row(f"energy, all memory traffic from {level}", (each.get(level) for each in with_memory), "J")
    if not with_memory[0]:
        rows.append(["energy with memory", *(NONE for _ in sides), "no sourced constant"])
    return Table(head, rows, str(found.get("label") or "analytic, not measured"))


def winning(found: Mapping[str, Any]) -> Table | None:
    """Spikes per synapse below which each account says that the network costs less."""
    sets = section(found, "cross_over")
    rows = []
    for key, label in _shown(found, sets).items():
        cross = section(sets, key)
        ours, theirs, at = (number(cross, name) for name in ("network", "opponent", "at"))
        unit = str(cross.get("unit") or "J").replace("FLOP", "")
        ends = "at no rate, not even 0" if at is None else f"{at:.3g}"
        rows.append([label, si(ours, unit), si(theirs, unit), _short(number(cross, "here")), ends, ratio(ours, theirs)])
    if not rows:
        return None
    bits = number(found, "opponent", "activation_bits"), number(found, "opponent", "weight_bits")
    note = (
        f"The opponent has the same layers, weights of {fixed(bits[1], 0)} bits and activations of {fixed(bits[0], 1)} "
        "bits on average, as many as tell apart what was sent in a whole presentation, and runs once. Below the "
        "number of spikes per synapse in the fifth column the spiking network costs less than its opponent."
    )
    draws = number(found, "draws") or 1
    if draws > 1:
        note += f" An ensemble of {draws:.0f} draws stands against one network."
    head = ["account", "this network", "opponent", "spikes per synapse", "costs less below", ""]
    return Table(head, rows, note)


def _shown(found: Mapping[str, Any], sets: Mapping[str, Any]) -> dict[str, str]:
    """The accounts to show: of a device of spikes, that against the cheapest device without."""
    shown = {key: label for key, label in SETS.items() if key in sets}
    shown |= {key: f"45 nm, all {key}" for key in sets if key.startswith("memory in ")}
    names = section(found, "devices")
    for name in names:
        pairs = {key: number(sets, key, "opponent") for key in sets if key.startswith(f"{name} / ")}
        priced = {key: value for key, value in pairs.items() if value is not None}
        if priced:
            key = min(priced, key=priced.__getitem__)
            shown[key] = f"{name}; the opponent on {key.partition(' / ')[2]}"
    return shown


def devices(found: Mapping[str, Any]) -> Table | None:
    """Joules of one answer on each device of the table."""
    rows = []
    for name, entry in section(found, "devices").items():
        if not isinstance(entry, Mapping):
            continue
        what = "its spikes" if entry.get("spiking") else "without spikes, once"
        cells = [si(number(entry, key), "J") for key in PRICES]
        # A device of spikes has no price for a network without them.
        if cells[-1] != NONE:
            rows.append([name, what, *cells])
    if not rows:
        return None
    head = ["device", "computes", "per event", "per update", "synapses", "neurons", "one answer"]
    note = "Prices as in KerasSpiking; overhead and movement of data are not in them."
    return Table(head, rows, note)


def layers(found: Mapping[str, Any]) -> Table | None:
    """Operations layer by layer."""
    rows = found.get("by_layer") or []
    wanted = {
        "dense": "connections", "weight_bits": "bits each", "activation_bits": "bits sent", "mac": "MAC", "ac": "AC",
        "add_real": "real additions", "spikes_per_synapse": "spikes per synapse",
    }  # fmt: skip
    columns = [key for key in wanted if any(number(row, key) is not None for row in rows)]
    if not columns:
        return None
    written = {"spikes_per_synapse": _short}
    cells = [
        [str(row.get("name", NONE)), *(written.get(key, partial(si, unit=""))(number(row, key)) for key in columns)]
        for row in rows
    ]
    return Table(["layer", *(wanted[key] for key in columns)], cells)


def _short(value: float | None) -> str:
    return NONE if value is None else f"{value:.3g}"


def _flat(values: Mapping[str, Any], above: str = "") -> dict[str, float]:
    """Nested numbers with their keys joined: {"weights": {"read": 3}} -> {"weights read": 3}."""
    flat: dict[str, float] = {}
    for key, value in values.items():
        name = f"{above} {key.replace('_', ' ')}".strip()
        if isinstance(value, Mapping):
            flat |= _flat(value, name)
        elif (count := number(values, key)) is not None:
            flat[name] = count
    return flat
