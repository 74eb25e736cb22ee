"""The tables of docs/performance.md and its pictures, from results/benchmarks/*.json.

A table stands between `<!-- measured: NAME -->` and `<!-- end -->`; whatever is between is replaced, the prose around
it is written by hand. Usage: python docs/make_performance.py [FOLDER of the JSON files]
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from panels import PICTURES, draw

from bitspike.reports.style import CYCLE

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "performance.md"
BLOCK = re.compile(r"(<!-- measured: ([\w-]+) -->\n).*?(<!-- end -->)", re.DOTALL)
Found = dict[str, Any]


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table, first column text."""
    rule = ["---"] + ["---:"] * (len(heads) - 1)
    return "\n".join(f"| {' | '.join(row)} |" for row in [heads, rule, *rows])


def shape(found: Found) -> str:
    """T x B x N."""
    return " × ".join(map(str, found["shape"]))


def times(found: Found) -> str:
    """One row per candidate of a set of interleaved times; where known, also as multiples of the floor."""
    heads = ["", "median ms", "quartiles", "least ms", f"× {found['base']}", "of the least"]
    floor = found.get("ratios_to_floor")
    rows = []
    for name, ms in found["milliseconds"].items():
        quartiles = f"{ms['q1']:.1f} – {ms['q3']:.1f}"
        row = [name, f"{ms['median']:.1f}", quartiles, f"{ms['least']:.1f}", f"{found['ratios'][name]:.2f}"]
        rows.append([*row, f"{found['least_ratios'][name]:.2f}", *([f"{floor[name]:.2f}"] if floor else [])])
    return table(heads + (["× floor"] if floor else []), rows)


def several(parts: Iterable[Found], title: Callable[[Found], str]) -> str:
    """Tables under their titles."""
    return "\n\n".join(f"**{title(part)}**\n\n{times(part)}" for part in parts)


def machine(found: Found) -> str:
    """What it was measured on."""
    facts = found["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in facts["versions"].items())
    pages = "huge pages" if facts["huge_pages"] else "small pages"
    quick = " **A quick run: few shapes and rounds.**" if found["quick"] else ""
    return (
        f"{facts['processor']}, {facts['cores']} cores, {facts['threads']} threads, "
        f"{', '.join(facts['instructions'])}; {pages}; load {facts['load']:.1f} at the end; Python {facts['python']}, "
        f"{versions}.{quick}"
    )


def checks(found: Found) -> str:
    """Largest gradient error and number of differing spikes per candidate over all shapes."""
    worst: dict[str, list[float]] = {}
    for part in (*found["headline"], *found["soft"], *(p for sweep in found["sweeps"].values() for p in sweep)):
        for name, seen in part["checks"].items():
            error, spikes = worst.setdefault(name, [0.0, 0.0])
            worst[name] = [max(error, seen["gradient_error"]), max(spikes, seen["differing_spikes"])]
    rows = [[name, f"{error:.1e}", f"{spikes:.0f}"] for name, (error, spikes) in worst.items()]
    return table(["", "gradient error", "spikes rounded the other way"], rows)


def over_time(found: Found) -> str:
    """Microseconds per time step against T, for every candidate of the sweep."""
    parts = found["sweeps"]["T"]
    rows = []
    for name in parts[0]["milliseconds"]:
        medians = [part["milliseconds"].get(name) for part in parts]
        cells = [
            f"{1e3 * ms['median'] / p['shape'][0]:.1f}" if ms else "" for ms, p in zip(medians, parts, strict=True)
        ]
        rows.append([name, *cells])
    return table(["µs per step at T =", *(str(part["shape"][0]) for part in parts)], rows)


def models(found: Found) -> str:
    """Our neurons beside LIF, per state variable."""
    part = found["models"]
    rows = [
        [kind, f"{part['milliseconds'][kind]['median']:.1f}", f"{count}", f"{part['ratios_per_state'][kind]:.2f}"]
        for kind, count in part["states"].items()
    ]
    return table(["", "median ms", "state variables", "× LIF, per state variable"], rows)


def takes(parts: Sequence[Found]) -> str:
    """The back end or the product each of our layers took."""
    rows = [
        [f"{part['network'].split(',')[0]}, {part['weights']}", *row] for part in parts for row in part.get("takes", [])
    ]
    return "\n".join(f"| {' | '.join(row)} |" for row in [["network", "layer", "kind", "takes"], ["---"] * 4, *rows])


def curves(found: Found) -> str:
    """Mean distance of the loss to the float64 network's."""
    rows = [
        [f"{part['weights']} weights, {len(part['losses']['float64'])} steps", name, f"{distance:.2e}"]
        for part in found["curves"]
        for name, distance in part["mean_distance_to_float64"].items()
    ]
    return table(["", "", "mean distance"], rows)


def memory(parts: Sequence[Found]) -> str:
    """Bytes per (t, b, n) at the longest T."""
    longest = max(part["T"] for part in parts)
    fields = {"saved": "saved", "saved_input": "of the input", "held": "held", "peak": "peak", "left": "left"}
    rows = [[p["name"], *(f"{p[field]:.2f}" for field in fields)] for p in parts if p["T"] == longest]
    return table([f"T = {longest}", *fields.values()], rows)


def pairs(used: Found) -> str:
    """Memory and time of a product with its neurons, kept and computed again; with each kind of product measured."""
    titles = {"pair": "torch's float32 product", "few_bit_pair": "our product of spikes"}
    return "\n\n".join(
        f"**{title}**\n\n{memory(used[key])}\n\n{times(used[f'{key}_times'])}\n\n"
        f"With the gradient of its input, as inside a network:\n\n{times(used[f'{key}_hidden_times'])}"
        for key, title in titles.items()
        if key in used
    )


def lines(axis: Any, curves: dict[str, list[tuple[float, float]]], x: str, y: str, log: str = "xy") -> None:
    """Curves with names; a name has the same colour in every panel. log: the axes that are logarithmic."""
    for name, points in curves.items():
        colour = CYCLE[COLOURS.setdefault(name, len(COLOURS)) % len(CYCLE)]
        style = ":" if name.startswith("floor") else "--" if name.endswith(("x[t]", "float64")) else "-"
        axis.plot(*zip(*points, strict=True), style, color=colour, label=name, marker="." if log else "", linewidth=1.2)
    scales = {f"{which}scale": "log" for which in log}
    axis.set(xlabel=x, ylabel=y, **scales)
    if "y" not in log:
        axis.set_ylim(bottom=0)


COLOURS: dict[str, int] = {}


def pictures(neurons: Found, training: Found, used: Found) -> None:
    """Time against T, B and N; memory against T; the loss curves."""
    panels = []
    for place, (variable, parts) in enumerate(neurons["sweeps"].items()):
        found: dict[str, list[tuple[float, float]]] = {}
        for part in parts:
            for name, ms in part["milliseconds"].items():
                found.setdefault(name, []).append((part["shape"]["TBN".index(variable)], ms["median"]))
        label = "" if place else "ms, forward and backward"
        panels.append(lambda axis, c=found, v=variable, label=label: lines(axis, c, v, label))
    draw("performance-time", panels)
    panels = []
    for field in ("saved", "peak"):
        found = {}
        for part in used["layer"]:
            found.setdefault(part["name"], []).append((part["T"], part[field]))
        panels.append(lambda axis, c=found, f=field: lines(axis, c, "T", f"{f}, bytes per (t, b, n)", "x"))
    draw("performance-memory", panels)
    panels = []
    for part in training["curves"]:
        found = {name: list(enumerate(losses, 1)) for name, losses in part["losses"].items()}
        panels.append(lambda axis, c=found, w=part["weights"]: lines(axis, c, "step", f"loss, {w} weights", log=""))
    draw("performance-loss", panels)


def main() -> None:
    """Tables into docs/performance.md, pictures into docs/pictures."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "results" / "benchmarks"
    neurons, training, used = (
        json.loads((folder / f"{name}.json").read_text(encoding="utf-8")) for name in ("neurons", "training", "memory")
    )
    small = folder / "small-pages" / "neurons.json"
    blocks: dict[str, Callable[[], str]] = {
        "machine": lambda: machine(neurons),
        "headline": lambda: several(neurons["headline"], shape),
        "small-pages": lambda: several(json.loads(small.read_text(encoding="utf-8"))["headline"][:1], shape),
        "soft": lambda: several(neurons["soft"], shape),
        "checks": lambda: checks(neurons),
        "over-time": lambda: over_time(neurons),
        "models": lambda: models(neurons),
        "training": lambda: several(
            training["steps"], lambda part: f"{part['network']}, {part['weights']} weights; input {part['input']}"
        ),
        "takes": lambda: takes(training["steps"]),
        "curves": lambda: curves(training),
        "memory": lambda: memory(used["layer"]),
        "pair": lambda: pairs(used),
    }
    PICTURES.mkdir(exist_ok=True)
    pictures(neurons, training, used)
    page = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(BLOCK.sub(lambda m: f"{m[1]}\n{blocks[m[2]]()}\n\n{m[3]}", page), encoding="utf-8")
    print(PAGE.relative_to(ROOT), *sorted(path.name for path in PICTURES.glob("performance-*.svg")))


if __name__ == "__main__":
    main()
