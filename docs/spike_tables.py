"""Tables of what networks do as spikes over time, for `make_tables`: noise in training, conversions, curves."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent.parent / "results"
Lines = list[list[str]]


def markdown(lines: Lines) -> str:
    """A table of cells, its first line the heads."""
    rows = [lines[0], ["---"] * len(lines[0]), *lines[1:]]
    return "".join(f"| {' | '.join(row)} |\n".replace("  ", " ") for row in rows)


def read(name: str) -> Any:
    """A file of results, or None where it was not measured yet."""
    path = RESULTS / f"{name}.json"
    return json.loads(path.read_text()) if path.exists() else None


def percent(value: float) -> str:
    """A share with two decimals."""
    return f"{100 * value:.2f}"


def within(found: dict[str, float], form: str = "+.2f", factor: float = 1) -> str:
    """A mean, or a difference, and its interval; form: of each number."""
    middle, low, high = (f"{factor * found[key]:{form}}" for key in ("mean", "low", "high"))
    return f"{middle} ({low} to {high})"


def points(found: dict[str, float], digits: int = 1) -> str:
    """A difference of accuracies in points, and its interval."""
    return within(found, f"+.{digits}f", 100)


def _beside_none(text: str, cell: dict[str, Any]) -> str:
    """A figure, and behind it its paired difference to training without noise, where there is one."""
    paired = cell.get("minus_none")
    if paired is None:
        return text
    low, middle, high = (100 * paired[key] for key in ("low", "difference", "high"))
    return f"{text} ({middle:+.2f}, {low:+.2f} to {high:+.2f})"


def noise(names: Sequence[str]) -> str:
    """Accuracy in each window by noise in training, and the paired difference to none with its interval."""
    found = read(names[0])
    if found is None:
        return ""
    noises = list(found["noises"])
    lines = [["synapse, from, to (ms)", *noises]]
    for window, cells in found["windows"].items():
        row = [f"{percent(cells[n]['accuracy'])} ± {percent(cells[n]['deviation'] or 0)}" for n in noises]
        name = "as rates" if window == "twin" else window
        lines.append([name, *(_beside_none(text, cells[n]) for text, n in zip(row, noises, strict=True))])
    for window, cells in found["lost"].items():
        row = [_beside_none(percent(cells[n]["loss"]), cells[n]) for n in noises]
        lines.append([f"lost against rates: {window}", *row])
    rates = [[run["rates"]["5"] for run in found["runs"] if run["noise"] == each] for each in noises]
    lines.append(["rate at 5 ms (Hz)", *(f"{sum(rate) / len(rate):.1f}" for rate in rates)])
    return markdown(lines)


def curves(names: Sequence[str]) -> str:
    """Accuracy of converted ReLU networks after 1, 2, 4, ... steps, seed by seed that was measured so."""
    lines: Lines = []
    for name in names:
        result = read(name)
        for seed, run in zip(result["seeds"], result["runs"], strict=True) if result else ():
            found = run.get("relu_spiking")
            if found is None:
                continue
            powers = [2**k for k in range(found["steps"].bit_length()) if 2**k <= found["steps"]]
            lines = lines or [["network", *map(str, powers), "as trained", "within a point from", "spikes a neuron"]]
            after = [percent(found["accuracy"][power - 1]) for power in powers]
            within = str(found["within_a_point"] or "never")
            spikes = f"{found['spikes_per_neuron']:.2f}"
            lines.append([f"`{name}`, seed {seed}", *after, percent(found["ann"]), within, spikes])
    return markdown(lines) if lines else ""


def conversions(names: Sequence[str]) -> str:
    """The same trained ReLU networks made spiking by each library: accuracy and time by steps."""
    result = read(f"benchmarks/{names[0]}")
    tables = []
    for found in result["networks"] if result else ():
        steps = found["steps"]
        title = f"{found['network']}, {percent(found['ann'])} % as trained"
        lines = [[title, *map(str, steps), "within a point from", f"ms at {steps[-1]}", "times as long"]]
        times = found["times"][str(steps[-1])]
        for name, accuracy in found["accuracy"].items():
            least = times["milliseconds"][name]["least"]
            after = [percent(accuracy[step - 1]) for step in steps]
            within = str(found["within_a_point"][name] or "never")
            lines.append([name, *after, within, f"{least:.0f}", f"{times['ratios'][name]:.2f}"])
        tables.append(markdown(lines))
    return "\n".join(tables)


def events(names: Sequence[str]) -> str:
    """How many times as long dense products take as sums over events, by the share of inputs that are not zero."""
    result = read(f"benchmarks/{names[0]}")
    if result is None:
        return ""
    shares = list(dict.fromkeys(row["share"] for row in result["layers"]))
    lines = [["layer (dense float32 / bfloat16)", *(f"{share:.0%} not zero" for share in shares)]]
    for layer in dict.fromkeys(row["layer"] for row in result["layers"]):
        rows = {row["share"]: row["ratios"] for row in result["layers"] if row["layer"] == layer}
        cells = [f"{rows[share]['dense']:.1f} / {rows[share]['dense, bfloat16']:.1f}" for share in shares]
        lines.append([layer, *cells])
    return markdown(lines)


def crossover(names: Sequence[str]) -> str:
    """The cheapest spiking and the cheapest ordinary network at or above a bar on accuracy, on test."""
    result = read("energy-crossover")
    lines: Lines = [
        ["set", "spiking", "%", "nJ", "ordinary, zeros skipped", "%", "nJ", "nJ, times", "points", "spikes win"]
    ]
    for name in names:
        for row in (result or {"sets": {}})["sets"].get(name, {"table": ()})["table"]:
            ours, theirs = row["spiking"], row["ordinary"]
            steps = f"{ours['setting'].rpartition(', ')[0]}; {ours['mean_steps']:.2f} on average"
            ratio, apart = row["joules_ratio"], row["accuracy_difference"]
            others, _, end = theirs["setting"].rpartition(", ")
            others += ", answers after the first" if end == "first" else ""
            line = [
                name, steps, percent(ours["accuracy"]), f"{1e9 * ours['joules']:.1f}",
                others, percent(theirs["accuracy"]), f"{1e9 * theirs['joules']:.1f}",
                f"{ratio['mean']:.2f} ({ratio['low']:.2f} to {ratio['high']:.2f})",
                " ".join((f"{100 * apart['mean']:+.2f}", f"({100 * apart['low']:+.2f} to {100 * apart['high']:+.2f})")),
                "yes" if row["wins"] else "no",
            ]  # fmt: skip
            if line not in lines:
                lines.append(line)
    return markdown(lines)


NETWORKS = {
    "lmu": "LMU", "hybrid": "hybrid", "parallel": "parallel", "lstm": "LSTM", "gru": "GRU",
    "small-hybrid": "hybrid, 212 units, order 256, no `own_leak`",
    "small-hybrid-10": "the same, 21 levels of memory",
    "lmu-unshifted": "LMU, images not shifted", "hybrid-unshifted": "hybrid, not shifted",
    "parallel-unshifted": "parallel, not shifted",
}  # fmt: skip


def opponents(names: Sequence[str]) -> str:
    """Networks on permuted MNIST, their size and cost, and for the opponents what is usually quoted."""
    result = read("psmnist-opponents") or {"rows": {}}
    heads = ["network", "trained weights", "seeds", "validation %", "test %", "minus LMU, points", "epochs", "hours"]
    lines: Lines = [[*heads, "quoted, unverified"]]
    for name in names:
        row = result["rows"].get(name)
        if row is None:
            continue
        test = row["test"]["accuracy"]
        apart = points(row["minus_lmu"], 2) if "minus_lmu" in row else ""
        lines.append([
            NETWORKS[name], f"{row['trained_weights']:,}", str(len(row["seeds"])),
            " / ".join(map(percent, row["validation_accuracy"])),
            percent(test["mean"]) + (f" ± {percent(test['std'])}" if "std" in test else ""), apart,
            str(row["epochs"][0]), f"{sum(row['seconds']) / len(row['seconds']) / 3600:.1f}",
            percent(result["quoted"][name]) if name in result["quoted"] else "",
        ])  # fmt: skip
    return markdown(lines) if len(lines) > 1 else ""


def weight_bits(names: Sequence[str]) -> str:
    """Settings of levels on permuted MNIST: bits of an activity by unit and by the weights that it meets."""
    result = read("psmnist-opponents") or {"rows": {}}
    heads = ["network and setting", "bits a unit", "by fan-out", "significant a unit", "by fan-out", "with real states"]
    lines: Lines = [[*heads, "with carries", "validation %", "test %", ""]]
    keys = ("average", "average_by_weight", "significant", "significant_by_weight", "average_with_real_states",
            "average_with_carries")  # fmt: skip
    for name in names:
        row = result["rows"].get(name)
        if row is None:
            continue
        bits = [f"{sum(each[key] for each in row['bits']) / len(row['bits']):.2f}" for key in keys]
        scores = [" / ".join(map(percent, row[key])) for key in ("validation_accuracy", "accuracy")]
        kind, _, setting = name.partition("-")
        note = "chosen" if result.get("chosen", {}).get(kind) == setting else "" if row["fits"] else "more than asked"
        lines.append([f"`{name}`", *bits, *scores, note])
    return markdown(lines) if len(lines) > 1 else ""


def trials(names: Sequence[str]) -> str:
    """What was tried of the opponents, on validation."""
    result = read("psmnist-opponents") or {"tuning": {}}
    lines: Lines = [["network", "rate", "start", "bound on the gradient", "epochs", "NLL", "accuracy %", "minutes", ""]]
    for name in names:
        found = result["tuning"].get(name, {"trials": (), "chosen": ()})
        for row in found["trials"]:
            setting = [row[key] for key in ("rate", "start", "clip")]
            scores = ["infinite", "", ""]
            if "nll" in row:
                scores = [f"{row['nll']:.3f}", percent(row["accuracy"]), f"{row['seconds'] / 60:.0f}"]
            best = "chosen" if setting == found["chosen"] and row["epochs"] > 1 else ""
            lines.append([NETWORKS[name], *setting, str(row["epochs"]), *scores, best])
    return markdown(lines) if len(lines) > 1 else ""


MAKERS = {
    "opponents": opponents,
    "weight-bits": weight_bits,
    "trials": trials,
    "crossover": crossover,
    "events": events,
    "noise": noise,
    "curves": curves,
    "conversions": conversions,
}
