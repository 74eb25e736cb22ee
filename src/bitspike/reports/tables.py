"""The tables of a run's page: readings, bits, environment. Cells are text; a missing value is a dash."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from bitspike.reports.rundata import RunData, number, section
from bitspike.reports.text import NONE, amount, duration, fixed, percent, ratio, si, whole

READINGS = {
    "test": "as shipped",
    "test_map": "most probable weights (MAP)",
    "test_single_draw": "a single draw",
    "test_rate": "its non-spiking twin",
}
SCORES = {
    "accuracy": "accuracy",
    "nll": "NLL",
    "brier": "Brier",
    "ece": "ECE",
    "adaptive_ece": "adaptive ECE",
    "classwise_ece": "classwise ECE",
    "rmse": "RMSE",
}


@dataclass(frozen=True)
class Table:
    """Column heads, rows (the first cell heads its row), and a note below."""

    head: list[str]
    rows: list[list[str]]
    note: str = ""
    emphasis: set[tuple[int, int]] = field(default_factory=set)


@dataclass(frozen=True)
class Tile:
    """A key number: what it is, its value, and a few words on it."""

    label: str
    value: str
    note: str = ""


def tiles(run: RunData) -> list[Tile]:
    """The key numbers, those that are there."""
    test, bits = section(run.result, "test"), section(run.result, "bits")
    network, opponent = _compute(run, "network"), _compute(run, "opponent")
    twin = opponent if opponent is not None else _compute(run, "non_spiking_twin")
    scaled = number(test, "scaled", "ece")
    after = f"{fixed(scaled)} after temperature scaling" if scaled is not None else f"{_bins(run)} bins"
    saving = ratio(network, twin)
    other = "without spikes" if opponent is None else "without spikes at the same bits"
    spikes = number(bits, "spikes_per_neuron")
    than = f"as {other}" if saving.startswith("about") else f"than {other}"
    every = [
        Tile("Accuracy", percent(number(test, "accuracy")), _tested(run)),
        Tile("RMSE", fixed(number(test, "rmse"), 4), _tested(run)),
        Tile("Calibration error (ECE)", fixed(number(test, "ece")), after),
        Tile(
            "Negative log-likelihood",
            fixed(number(test, "nll")),
            f"nats per {'value' if run.is_regression else 'example'}; lower is better",
        ),
        Tile("Brier score", fixed(number(test, "brier")), "0 is perfect"),
        Tile("Weights to ship", amount(number(bits, "weights_stored")), _bits(bits)),
        Tile("Spikes per neuron", fixed(spikes, 2) if spikes else NONE, "in one presentation"),
        Tile("Energy of an answer", si(network, "J"), f"{saving} {than}; analytic" if saving else "analytic"),
        Tile("Training", duration(number(run.result, "seconds")), _trained(run)),
    ]
    return [tile for tile in every if tile.value != NONE]


def _bins(run: RunData) -> int:
    return int(number(run.recipe, "evaluation", "bins") or 15)


def _tested(run: RunData) -> str:
    return f"of {whole(run.test_size)} unseen examples" if run.test_size else "on unseen examples"


def _trained(run: RunData) -> str:
    epochs = number(run.result, "epochs") or len(run.epochs)
    return f"{epochs:.0f} epochs" if epochs else ""


def _bits(bits: Mapping[str, Any]) -> str:
    stored = number(bits, "weights_stored")
    return f"{whole(stored)} bits" if stored is not None else ""


def readings(run: RunData) -> Table | None:
    """The network as shipped, after temperature scaling, and in its other readings."""
    rows: list[tuple[str, dict[str, Any]]] = []
    others = [key for key in run.result if key.startswith("test_") and key not in READINGS]
    for key in (*READINGS, *others):
        reading = section(run.result, key)
        if reading:
            rows.append((READINGS.get(key, key.removeprefix("test_").replace("_", " ")), reading))
            scaled = section(reading, "scaled")
            if key == "test" and scaled:
                rows.append(("as shipped, temperature scaled", {**scaled, "accuracy": reading.get("accuracy")}))
    scores = [name for name in SCORES if any(number(reading, name) is not None for _, reading in rows)]
    if not scores:
        return None
    cells = [[label, *(_score(reading, name) for name in scores)] for label, reading in rows]
    note = f"NLL in nats per example. ECE, adaptive and classwise: {_bins(run)} bins. All on test examples, used once."
    if "rmse" in scores:
        note = "NLL in nats per value; RMSE in the units of the target."
    return Table(["reading", *(SCORES[name] for name in scores)], cells, note)


def _score(reading: Mapping[str, Any], name: str) -> str:
    value = number(reading, name)
    return percent(value, 2) if name == "accuracy" else fixed(value, 4)


def bits(run: RunData) -> Table | None:
    """What is stored and what is sent."""
    found = section(run.result, "bits")
    average = number(found, "average")
    rows = [
        ["weights, to ship", whole(number(found, "weights_stored")), "bits; an ensemble counts every draw"],
        ["an activation", fixed(average, 2), "bits as stored"],
        ["of it significant", fixed(number(found, "significant")), "mean of log₂(1 + |n|); for spikes, their rate"],
        ["spikes", fixed(number(found, "spikes_per_neuron"), 2), "per neuron and presentation, in one draw"],
    ]
    if average == 0:
        # Nothing that spikes or counts ran.
        rows[1:] = [["an activation", "32", "bits: real numbers"]]
    rows = [row for row in rows if row[1] != NONE]
    return Table(["", "", ""], rows) if rows else None


def _compute(run: RunData, side: str) -> float | None:
    return number(section(run.result, "energy"), side, "joules_compute")


def environment(run: RunData) -> list[tuple[str, str]]:
    """Where the run was made, as (name, value) rows."""
    rows: list[tuple[str, str]] = []
    for key, value in run.environment.items():
        if key == "data" and isinstance(value, dict):
            rows += [(f"data {name}".replace("_", " "), _words(found)) for name, found in value.items()]
        else:
            rows.append((key.replace("_", " "), _words(value)))
    return [(key, value) for key, value in rows if value]


def _words(value: object) -> str:
    if isinstance(value, Mapping):
        return "\n".join(f"{key}: {_words(found)}" for key, found in value.items())
    if isinstance(value, list):
        return ", ".join(_words(found) for found in value)
    return "" if value is None else str(value)
