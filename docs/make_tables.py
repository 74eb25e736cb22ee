"""Rewrite the result tables of README.md and of pages in docs/ from results/*.json.

A table stands between `<!-- results: RECIPE RECIPE ... -->` and `<!-- end -->`; whatever is between is replaced. Other
words than "results" make other tables: see the other modules *_tables.
Usage: python docs/make_tables.py, or with --check to change nothing and fail where a table is not what the results say
"""

from __future__ import annotations

import argparse
import difflib
import re
import sys
from pathlib import Path
from typing import Any

import engine_tables
import event_tables
import federation_tables
import population_tables
import small_data_tables
import spike_tables
from derived import with_energy, with_readings

from bitspike.share import wilson

ROOT = Path(__file__).parent.parent
MAKERS = spike_tables.MAKERS | event_tables.MAKERS | engine_tables.MAKERS | federation_tables.MAKERS
MAKERS |= small_data_tables.MAKERS | population_tables.MAKERS
PAGES = ("findings", "circuits", "federation", "fedsnn", "population")
KINDS = "|".join(("results", "brief", "bits", "spikes", "energy", *MAKERS))
BLOCK = re.compile(rf"(<!-- ({KINDS}): ([^>]*?) -->\n).*?(<!-- end -->)", re.DOTALL)
CLASSES = [
    ("accuracy %", "accuracy", 100, 2),
    ("NLL", "nll", 1, 4),
    ("ECE", "ece", 1, 4),
    ("scaled NLL", "scaled.nll", 1, 4),
    ("scaled ECE", "scaled.ece", 1, 4),
]
VALUES = [("RMSE", "rmse", 1, 4), ("NLL", "nll", 1, 4)]
BRIEF = [
    ("accuracy % (95 %)", "accuracy", 100, 2),
    ("NLL", "nll", 1, 3),
    ("ECE", "ece", 1, 4),
    ("NLL scaled", "scaled.nll", 1, 3),
    ("ECE scaled", "scaled.ece", 1, 4),
]
BITS = [
    ("accuracy %", "test.accuracy", 100, 2),
    ("bits", "bits.levels.total.average", 1, 2),
    ("two's complement", "bits.levels.total.average_range", 1, 2),
    ("entropy", "bits.levels.total.entropy", 1, 2),
    ("by weight", "bits.average_by_weight", 1, 2),
    ("significant", "bits.levels.total.significant", 1, 2),
    ("by weight", "bits.significant_by_weight", 1, 2),
    ("without zeros", "bits.levels.total.significant_nonzero", 1, 2),
    ("with real states", "bits.average_with_real_states", 1, 2),
    ("with carries", "bits.average_with_carries", 1, 2),
    ("additions", "energy.network.ac", 1e-6, 1),
    ("multiply-adds", "energy.network.mac", 1e-6, 1),
]
SPIKES = [
    ("as trained %", "spiking.twin", 100, 2),
    ("as spikes %", "spiking.accuracy", 100, 2),
    ("same answer %", "spiking.agreement", 100, 2),
    ("spikes an image", "spiking.spikes", 1, 0),
    ("Hz", "spiking.mean_rate", 1, 1),
    ("µJ as spikes", "spiking.energy.network.joules_compute", 1e6, 1),
    ("µJ as rates", "energy.network.joules_compute", 1e6, 1),
]
ENERGY = [
    ("accuracy %", "test.accuracy", 100, 2),
    ("spiking, µJ", "energy.with_neurons.network", 1e6, 3),
    ("of it neurons", "energy.network.joules_neurons", 1e6, 3),
    ("same bits, not spiking", "energy.with_neurons.opponent", 1e6, 3),
    ("same bits, zeros skipped", "energy.with_neurons.skipping", 1e6, 3),
    ("float32, not spiking", "energy.with_neurons.twin", 1e6, 3),
]
READINGS = {"test_map": "- MAP", "test_single_draw": "- one draw"}


def stored(names: list[str]) -> dict[str, Any]:
    """Results by recipe; what was not measured yet has no row."""
    found = {name: spike_tables.read(name) for name in names}
    return {name: with_energy(with_readings(result)) for name, result in found.items() if result is not None}


def at(data: dict[str, Any], path: str) -> Any:
    """The entry at a dotted path, or None."""
    for key in path.split("."):
        if not isinstance(data, dict) or key not in data:
            return None
        data = data[key]
    return data


def figure(result: dict[str, Any], path: str, factor: float, digits: int, spread: bool) -> str:
    """mean, or mean ± sample standard deviation over several seeds."""
    mean = at(result["mean"], path)
    if mean is None:
        return ""
    text = f"{mean * factor:.{digits}f}"
    if spread and len(result["seeds"]) > 1:
        text += f" ± {at(result['std'], path) * factor:.{digits}f}"
    return text


def share(result: dict[str, Any], path: str) -> str:
    """A mean accuracy in percent and its 95 % interval, as so many test examples give it (Wilson)."""
    mean, count = at(result["mean"], path), result["data"]["examples"]["test"]
    low, high = wilson(mean, count)
    return f"{100 * mean:.2f} ({100 * low:.1f}–{100 * high:.1f})"


def table(names: list[str], brief: bool) -> str:
    """One row per recipe, with the version that measured it, and per other reading of it."""
    results = stored(names)
    regression = "rmse" in next(iter(results.values()))["mean"]["test"]
    columns = BRIEF if brief else VALUES if regression else CLASSES
    costs = ["weight bits"] if brief else ["weight bits", "spikes/neuron", "µJ (arithmetic)"]
    lines = [["recipe", "version", "seeds", *(c[0] for c in columns), *costs]]
    for name, result in results.items():
        cost = [f"{at(result['mean'], 'bits.weights_stored'):,.0f}"]
        if not brief:
            cost.append(f"{at(result['mean'], 'bits.spikes_per_neuron'):.2f}")
            cost.append(f"{at(result['mean'], 'energy.network.joules_compute') * 1e6:.2f}")
        seeds = str(len(result["seeds"]))
        cells = [figure(result, f"test.{path}", factor, digits, True) for _, path, factor, digits in columns]
        if brief:
            cells[0] = share(result, "test.accuracy")
        lines.append([f"`{name}`", result["version"], seeds, *cells, *cost])
        for reading, label in () if brief else READINGS.items():
            if reading in result["mean"]:
                cells = [figure(result, f"{reading}.{p}", f, d, True) for _, p, f, d in columns]
                lines.append([label, "", seeds, *cells, *[""] * len(cost)])
    return spike_tables.markdown(lines)


def plain_table(names: list[str], columns: list[tuple[str, str, float, int]]) -> str:
    """One row per recipe, and its figures at these paths: what its activities carry, or how it answers as spikes."""
    lines = [["recipe", "seeds", *(c[0] for c in columns)]]
    for name, result in stored(names).items():
        cells = [figure(result, path, factor, digits, True) for _, path, factor, digits in columns]
        lines.append([f"`{name}`", str(len(result["seeds"])), *cells])
    return spike_tables.markdown(lines)


def tables_of(text: str) -> str:
    """The document with its tables as the results have them."""

    def made(match: re.Match[str]) -> str:
        head, kind, names, end = match.groups()
        if kind in MAKERS:
            return head + MAKERS[kind](names.split()) + end
        columns = {"bits": BITS, "spikes": SPIKES, "energy": ENERGY}.get(kind)
        made = plain_table(names.split(), columns) if columns else table(names.split(), kind == "brief")
        return head + made + end

    return BLOCK.sub(made, text)


def main() -> None:
    """The documents, in place or compared."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="change nothing; exit code 1 where a line differs")
    check, differs = parser.parse_args().check, False
    for path in (ROOT / "README.md", *(ROOT / "docs" / f"{page}.md" for page in PAGES)):
        old = path.read_text()
        new = tables_of(old)
        if not check:
            path.write_text(new)
            continue
        for line in difflib.unified_diff(old.splitlines(), new.splitlines(), str(path), "results/", n=0, lineterm=""):
            print(line)
            differs = True
    sys.exit(differs)


if __name__ == "__main__":
    main()
