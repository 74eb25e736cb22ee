"""The tables of a run's page: readings, bits, environment. Cells are text; a missing value is a dash."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from bitspike.reports.rundata import RunData, number, section
from bitspike.reports.text import NONE, amount, duration, fixed, percent, ratio, si, whole
from bitspike.reports.totals import NAMES, cheapest, totals

READINGS = {
    "test": "as shipped",
    "test_ensemble": "an ensemble of draws",
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
    shipped, raw = run.shipped_reading, number(test, "ece")
    after = f"{_bins(run)} bins"
    if abs(run.temperature - 1) > 1e-6 and raw is not None:
        after = f"with its temperature {run.temperature:.2f}; {fixed(raw)} without"
    spikes = counted_spikes(bits)
    each = "value" if run.is_regression else "example"
    stored, epochs = number(bits, "weights_stored"), number(run.result, "epochs") or len(run.epochs)
    every = [
        Tile("Accuracy", percent(number(test, "accuracy")), _beside(run, "accuracy") or _tested(run)),
        Tile("RMSE", fixed(number(test, "rmse"), 4), _beside(run, "rmse") or _tested(run)),
        Tile("Calibration error (ECE)", fixed(number(shipped, "ece")), after),
        Tile("Negative log-likelihood", fixed(number(shipped, "nll")), f"nats per {each}; lower is better"),
        Tile("Brier score", fixed(number(shipped, "brier")), "0 is perfect"),
        Tile("Weights to ship", amount(stored), f"{whole(stored)} bits"),
        Tile("Spikes per neuron", fixed(spikes, 2), "in one presentation"),
        _energy_tile(section(run.result, "energy")),
        Tile("Training", duration(number(run.result, "seconds")), f"{epochs:.0f} epochs" if epochs else ""),
    ]
    return [tile for tile in every if tile.value != NONE]


def _energy_tile(energy: dict[str, Any]) -> Tile:
    """Arithmetic and neurons' updates, beside the cheapest network without spikes."""
    found = totals(energy)
    other = cheapest(found)
    note = "arithmetic and neurons, analytic"
    if other is not None and (saving := ratio(found.get("network"), found[other])):
        note = f"{saving} {'as' if saving.startswith('about') else 'than'} {NAMES[other]}; {note}"
    return Tile("Energy of an answer", si(found.get("network"), "J"), note)


BASELINES = {
    "majority": "always the commonest class",
    "logistic": "logistic regression",
    "mean": "always the mean",
    "ridge": "ridge regression",
}


def _baselines(run: RunData) -> dict[str, dict[str, Any]]:
    """Readings of simple opponents on the same test examples, by their names on the page."""
    found = section(run.result, "baselines")
    return {BASELINES.get(key, key.replace("_", " ")): value for key, value in found.items() if isinstance(value, dict)}


def _beside(run: RunData, name: str) -> str:
    """'logistic regression 96.0 %; always the commonest class 10.3 %', the best first."""
    readings = {label: number(reading, name) for label, reading in _baselines(run).items()}
    known = sorted((value, label) for label, value in readings.items() if value is not None)
    if name == "accuracy":
        known.reverse()
    return "; ".join(f"{label} {percent(v) if name == 'accuracy' else fixed(v, 4)}" for v, label in known)


def _bins(run: RunData) -> int:
    return int(number(run.recipe, "evaluation", "bins") or 15)


def _tested(run: RunData) -> str:
    return f"of {whole(run.test_size)} unseen examples" if run.test_size else "on unseen examples"


def readings(run: RunData) -> Table | None:
    """What is shipped, the same without its temperature, its other readings, and simple opponents."""
    rows: list[tuple[str, dict[str, Any]]] = []
    others = [key for key in run.result if key.startswith("test_") and key not in READINGS]
    for key in (*READINGS, *others):
        reading = section(run.result, key)
        if key == "test" and reading:
            rows.append(("as shipped", run.shipped_reading))
            if abs(run.temperature - 1) > 1e-6 and section(reading, "scaled"):
                rows.append((f"without its temperature ({run.temperature:.2f})", reading))
        elif reading:
            rows.append((READINGS.get(key, key.removeprefix("test_").replace("_", " ")), reading))
    if rows:
        rows += [(label, reading) for label, reading in _baselines(run).items()]
    scores = [name for name in SCORES if any(number(reading, name) is not None for _, reading in rows)]
    if not scores:
        return None
    cells = [[label, *(_score(reading, name) for name in scores)] for label, reading in rows]
    note = f"NLL in nats per example. ECE, adaptive and classwise: {_bins(run)} bins. All on test examples, used once."
    if "rmse" in scores:
        note = "NLL in nats per value; RMSE in the units of the target."
    left_out = section(run.result, "baselines").get("left_out")
    if isinstance(left_out, str) and left_out:
        note += f" {left_out[:1].upper()}{left_out[1:].rstrip('.')}."
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
        ["spikes", fixed(counted_spikes(found), 2), "per neuron and presentation, in one draw"],
    ]
    if average == 0:
        # Nothing that spikes or counts ran.
        rows[1:] = [["an activation", "32", "bits: real numbers"]]
    rows = [row for row in rows if row[1] != NONE]
    return Table(["", "", ""], rows) if rows else None


def counted_spikes(bits: Mapping[str, Any]) -> float | None:
    """Spikes per neuron and presentation; None where nothing that spikes or counts ran."""
    spikes = number(bits, "spikes_per_neuron")
    return None if spikes == 0 and not number(bits, "average") else spikes


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
