"""results/NAME.json: several runs of one recipe, their numbers, mean and standard deviation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from bitspike import registry
from bitspike.errors import BitspikeError, damaged, refuse
from bitspike.run.checkpoint import read_json, write_json
from bitspike.run.folder import RunFolder

# Long lists of one run that a table of results does not need.
LEFT_OUT = ("over_time", "confusion", "reliability", "reliability_scaled")
OF_DATA = {"name": "name", "subset": "subset", "sha256": "digests", "examples": "examples"}
SETTINGS = ("split", "examples", "time", "dt", "steps", "synapse", "tau_s", "reset", "products")
HARDWARE = ("processor", "cores", "threads", "device", "precision", "processes", "python", "torch", "numpy", "platform")


def collect(runs: Sequence[Path], kept: dict[str, Any] | None = None) -> dict[str, Any]:
    """The content of a results file from finished runs of one recipe that differ only by seed.

    kept: the content of an earlier file of that recipe on the same data, whose other seeds stay in it. A seed that was
    measured on other hardware says so in its entry.
    """
    if not runs:
        refuse("results", "no run", "at least one run folder")
    with damaged(f"results of {', '.join(map(str, runs))}"):
        return _collected(runs, kept)


def _collected(runs: Sequence[Path], kept: dict[str, Any] | None) -> dict[str, Any]:
    rows = []
    for path in runs:
        folder = RunFolder.existing(path)
        result = folder.result()
        rows.append((folder, folder.recipe(), folder.read("environment.json"), result))
    rows.sort(key=lambda row: row[1].seed)
    _, recipe, environment, _ = rows[0]
    for folder, other, _, _ in rows[1:]:
        if other.recipe_hash() != recipe.recipe_hash():
            raise BitspikeError(f"results: '{folder.path}' is a run of another recipe than '{rows[0][0].path}'")
    seeds = [other.seed for _, other, _, _ in rows]
    if len(set(seeds)) != len(seeds):
        refuse("results", f"seeds {seeds}", "runs of different seeds")
    data = environment["data"]
    listed, beside = _files(True), _files(False)
    lists = {
        key: [folder.read(name) for folder, *_ in rows if (folder.path / name).exists()] for key, name in listed.items()
    }
    short = [in_short(result) for *_, result in rows]
    for entry, (folder, *_) in zip(short, rows, strict=True):
        there = {key: name for key, name in beside.items() if (folder.path / name).exists()}
        entry |= {key: _without_layers(folder.read(name)) for key, name in there.items()}
    content = {"recipe": recipe.resolved(), "recipe_hash": recipe.recipe_hash()}
    content |= {key: environment[key] for key in ("version", "device")}
    content["hardware"] = {key: environment[key] for key in HARDWARE if key in environment}
    content["data"] = {key: data[of] for key, of in OF_DATA.items()}
    names = [str(folder.path) for folder, *_ in rows]
    for key, name in beside.items():
        _same_settings(name, [entry.get(key) for entry in short], names)
    if kept is not None:
        measured_now = set(seeds)
        seeds, short, names = _joined(content, kept, seeds, short, names)
        for key, found in lists.items():
            lists[key] = [s for s in kept.get(key, ()) if s["how"]["seed"] not in measured_now] + found
        for key, name in beside.items():
            # A seed in the file may lack what was measured since; the mean is then without it.
            measured = [(entry[key], path) for entry, path in zip(short, names, strict=True) if key in entry]
            if measured:
                _same_settings(name, *zip(*measured, strict=True))
    return {
        **content,
        "seeds": seeds,
        "runs": short,
        "mean": combined(short),
        "std": combined(short, deviation),
        **{key: found for key, found in lists.items() if found},
    }


def in_short(result: dict[str, Any]) -> dict[str, Any]:
    """A result without its long lists."""
    return _without_layers({key: value for key, value in result.items() if key not in LEFT_OUT})


def _without_layers(reading: dict[str, Any]) -> dict[str, Any]:
    if "energy" not in reading:
        return reading
    return {**reading, "energy": {key: value for key, value in reading["energy"].items() if key != "by_layer"}}


def _files(listed: bool) -> dict[str, str]:
    """Files of measurements: those that are listed by the name of the list, the others by their own names."""
    found = {}
    for name in registry.names("measurement"):
        key = registry.trait("measurement", name, "listed", "")
        if bool(key) == listed:
            found[key or name] = registry.trait("measurement", name, "file", f"{name}.json")
    return found


def _joined(
    content: dict[str, Any], kept: Any, seeds: list[int], entries: list[dict[str, Any]], names: list[str]
) -> tuple[list[int], list[dict[str, Any]], list[str]]:
    """Seeds, entries and names of measurements, those of the file `kept` among them, in the order of seeds."""
    if not isinstance(kept, dict) or not {"recipe_hash", "data", "hardware", "seeds", "runs"} <= kept.keys():
        refuse("results --add", "a file of something else", "one that `bitspike results` wrote")
    for key, meaning in (("recipe_hash", "another recipe"), ("data", "other data")):
        if kept[key] != content[key]:
            raise BitspikeError(f"results --add: the file is of {meaning} than the runs")
    found = dict(zip(seeds, zip(entries, names, strict=True), strict=True))
    for seed, entry in zip(kept["seeds"], kept["runs"], strict=True):
        if seed not in found:
            own = entry if kept["hardware"] == content["hardware"] else {"hardware": kept["hardware"], **entry}
            found[seed] = own, f"seed {seed} in the file"
    ordered = sorted(found)
    return ordered, [found[seed][0] for seed in ordered], [found[seed][1] for seed in ordered]


def _same_settings(name: str, readings: Sequence[dict[str, Any] | None], paths: Sequence[str]) -> None:
    """Refuse to average measurements of runs that were not measured alike (None: not at all)."""

    def said(reading: dict[str, Any] | None) -> dict[str, Any] | None:
        if reading is None:
            return None
        windows = [(window["start"], window["end"]) for window in reading.get("windows", ())]
        return {key: reading[key] for key in SETTINGS if key in reading} | {"windows": windows}

    for path, reading in zip(paths[1:], readings[1:], strict=True):
        if said(reading) != said(readings[0]):
            raise BitspikeError(f"results: {name} of '{path}' was not measured as that of '{paths[0]}' was")


def write_results(runs: Sequence[Path], out: Path, *, add: bool = False) -> dict[str, Any]:
    """Collect `runs` into the file `out` (a folder: NAME.json in it).

    add: seeds in that file that are not among the runs stay.
    """
    content = collect(runs)
    path = out / f"{content['recipe']['name']}.json" if out.suffix != ".json" else out
    if add and path.exists():
        content = collect(runs, read_json(path))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BitspikeError(f"--out: '{path.parent}' cannot be made ({error.strerror})") from None
    write_json(path, content)
    return content


def deviation(values: list[float]) -> float:
    """Sample standard deviation; 0 for one run."""
    centre = fmean(values)
    return math.sqrt(math.fsum((v - centre) ** 2 for v in values) / max(1, len(values) - 1))


def combined(entries: list[Any], how: Any = fmean) -> Any:
    """The mean (or `how`) of each number that all entries have, nested as they are; other values are left out."""
    first = entries[0]
    if isinstance(first, dict):
        shared = [key for key in first if all(isinstance(e, dict) and key in e for e in entries)]
        found = {key: combined([e[key] for e in entries], how) for key in shared}
        return {key: value for key, value in found.items() if value is not None}
    numbers = all(isinstance(e, int | float) and not isinstance(e, bool) for e in entries)
    return how([float(e) for e in entries]) if numbers else None
