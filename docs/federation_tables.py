"""Tables of what federations learn, for `make_tables`: skewed labels, exchanged filters, one bit a weight, FedSNN."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import spike_tables
from event_tables import spread
from spike_tables import points, within

SKEWED = {
    "mean": "Adam, plain mean",
    "server_adam": "Adam, server Adam",
    "margins": "Adam, label margins",
    "sgd_mean": "SGD, plain mean",
    "scaffold": "SGD, SCAFFOLD",
}
UPLINKS = {
    "one_bit": "one draw a weight, added up",
    "full": "natural parameters, 32 bits",
    "top_k": "largest changes and places",
}
SPIKING = {"snn": "spiking", "ann": "same layers", "ann-reference": "the code's"}


def of_sets(names: Sequence[str], part: str) -> dict[str, Any]:
    """A part of FL-SNN's results by set; {} where it was not measured yet."""
    found = spike_tables.read("fl-snn")
    return {} if found is None else {name: found["sets"][name][part] for name in names if name in found["sets"]}


def skew(_: Sequence[str]) -> str:
    """What helps clients with skewed labels."""
    found = spike_tables.read("federated-skew")
    if found is None:
        return ""
    lines = [["clients", "accuracy %", "NLL", "minus the plain mean: points", "NLL"]]
    for arm, label in SKEWED.items():
        one = found[arm]
        against = next((value for key, value in found.items() if key.startswith(f"{arm}_minus_")), None)
        minus = ["", ""] if against is None else [points(against), within(against["nll"])]
        name = f"{label} (tau = {one['chosen']:g})" if arm == "margins" else label
        lines.append([name, spread(one["spread"]["accuracy"], 100, 1), spread(one["spread"]["nll"], 1, 2), *minus])
    return spike_tables.markdown(lines)


def exchange(names: Sequence[str]) -> str:
    """Two devices that see one digit each: loss and accuracy at the end by what they exchange, and how often."""
    sets = of_sets(names, "arms")
    if not sets:
        return ""
    lines = [["exchange", *(f"`{name}`: {what}" for name in sets for what in ("Mbit up", "nats", "accuracy %"))]]
    for arm in next(iter(sets.values())):
        cells = []
        for arms in sets.values():
            one = arms[arm]
            accuracy = within(one["accuracy"], ".1f", 100)
            cells += [f"{one['bits_up'] / 1e6:.1f}", within(one["loss"][-1], ".2f"), accuracy]
        lines.append([arm.replace("tau never", "never").replace("tau", "every"), *cells])
    return spike_tables.markdown(lines)


def orderings(names: Sequence[str]) -> str:
    """Orderings: paired differences, losses in nats and errors in points, and whether the interval lies below 0."""
    sets = of_sets(names, "differences")
    if not sets:
        return ""
    lines = [["ordering", *(f"`{name}`" for name in sets)]]
    for key in next(iter(sets.values())):
        told = points if key.startswith("error") else within
        cells = [f"{told(one[key])}: {'holds' if one[key]['high'] < 0 else 'not shown'}" for one in sets.values()]
        lines.append([key, *cells])
    return spike_tables.markdown(lines)


def uplink(_: Sequence[str]) -> str:
    """One bit a weight beside 32, and beside as many bits spent on the largest changes."""
    found = spike_tables.read("federated-bayes-mnist")
    if found is None:
        return ""
    lines = [["what goes up", "Mbit", "accuracy %", "NLL scaled", "ECE scaled", "one bit minus it, points"]]
    for arm, label in UPLINKS.items():
        one = found[arm]["spread"]
        other = found.get(f"one_bit_minus_{arm}")
        cells = [f"{found[arm]['uplink_bits'] / 1e6:,.0f}", spread(one["accuracy"], 100, 2)]
        cells += [spread(one[key], 1, 4) for key in ("scaled_nll", "scaled_ece")]
        lines.append([label, *cells, "" if other is None else points(other, 2)])
    return spike_tables.markdown(lines)


def fedsnn(_: Sequence[str]) -> str:
    """FedSNN's cells: accuracy of the three networks, energy by the papers' account and by ours."""
    found = spike_tables.read("fedsnn")
    if found is None:
        return ""
    heads = [f"{label}, %" for label in SPIKING.values()]
    lines = [["cell", *heads, "energy gain, papers' account", "µJ spiking", "µJ same layers, zeros skipped"]]
    for name, cell in found["cells"].items():
        right = ["broke" if "broke" in cell[n] else f"{100 * cell[n]['accuracy']:.1f}" for n in SPIKING]
        joules = ["" if "broke" in cell[n] else f"{1e6 * cell[n]['joules_compute']:.1f}" for n in ("snn", "ann")]
        gain = "" if "broke" in cell["snn"] else f"{cell['snn']['energy_papers_account']['ratio']:.2f}"
        lines.append([name, *right, gain, *joules])
    return spike_tables.markdown(lines)


def fedsnn_minus(_: Sequence[str]) -> str:
    """The spiking network minus the other two by number of clients, points with the interval over seeds and images."""
    found = spike_tables.read("fedsnn")
    if found is None:
        return ""
    others = found["snn_minus"]
    lines = [["clients", *(f"minus {SPIKING[name]}, points" for name in others)]]
    lines += [[n, *(points(by_n[n]) for by_n in others.values())] for n in next(iter(others.values()))]
    return spike_tables.markdown(lines)


MAKERS: dict[str, Any] = {
    "skew": skew, "exchange": exchange, "orderings": orderings, "uplink": uplink, "fedsnn": fedsnn,
    "fedsnn-minus": fedsnn_minus,
}  # fmt: skip
