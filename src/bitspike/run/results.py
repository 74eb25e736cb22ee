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
MEASURED_BY = ("version", "device")
HARDWARE = ("processor", "cores", "threads", "device", "precision", "processes", "python", "torch", "numpy", "platform")


def collect(runs: Sequence[Path], kept: dict[str, Any] | None = None) -> dict[str, Any]:
    """The content of a results file from finished runs of one recipe that differ only by seed.

    kept: the content of an earlier file of that recipe on the same data, whose other seeds stay in it. Runs on other
    data are refused (of sets that are made, each seed has its own). A seed that was measured on other hardware, or by
    another version, says so in its entry.
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
    _, recipe, _, _ = rows[0]
    for folder, other, _, _ in rows[1:]:
        if other.recipe_hash() != recipe.recipe_hash():
            raise BitspikeError(f"results: '{folder.path}' is a run of another recipe than '{rows[0][0].path}'")
    seeds = [other.seed for _, other, _, _ in rows]
    if len(set(seeds)) != len(seeds):
        refuse("results", f"seeds {seeds}", "runs of different seeds")
    grounds = [_ground(environment) for _, _, environment, _ in rows]
    for (folder, *_), ground in zip(rows[1:], grounds[1:], strict=True):
        if _comparable(ground, recipe.data.set) != _comparable(grounds[0], recipe.data.set):
            raise BitspikeError(f"results: '{folder.path}' is a run on other data than '{rows[0][0].path}'")
    listed, beside = _files(True), _files(False)
    lists = {
        key: [folder.read(name) for folder, *_ in rows if (folder.path / name).exists()] for key, name in listed.items()
    }
    short = [in_short(result) for *_, result in rows]
    for entry, ground, (folder, *_) in zip(short, grounds, rows, strict=True):
        entry |= _departures(ground, grounds[0])
        there = {key: name for key, name in beside.items() if (folder.path / name).exists()}
        entry |= {key: _without_layers(folder.read(name)) for key, name in there.items()}
    content = {"recipe": recipe.resolved(), "recipe_hash": recipe.recipe_hash(), **grounds[0]}
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


def _ground(environment: dict[str, Any]) -> dict[str, Any]:
    """What a run was measured with and on, as a results file has it."""
    data = environment["data"]
    found = {key: environment[key] for key in MEASURED_BY}
    found["hardware"] = {key: environment[key] for key in HARDWARE if key in environment}
    return found | {"data": {key: data[of] for key, of in OF_DATA.items()}}


def _comparable(ground: dict[str, Any], data_set: str) -> dict[str, Any]:
    """What runs have to share of their data to be averaged: of a set that is made, all but its digests."""
    made = registry.trait("data", data_set, "generated", False)
    return {key: value for key, value in ground["data"].items() if not (made and key == "sha256")}


def _departures(own: dict[str, Any], usual: dict[str, Any]) -> dict[str, Any]:
    """What a run was measured with that is not the file's usual."""
    return {key: own[key] for key in (*MEASURED_BY, "hardware") if key in own and own[key] != usual[key]}


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
    if not _is_results(kept):
        refuse("results --add", "a file of something else", "one that `bitspike results` wrote")
    if kept["recipe_hash"] != content["recipe_hash"]:
        raise BitspikeError("results --add: the file is of another recipe than the runs")
    data_set = content["recipe"]["data"]["set"]
    if _comparable(kept, data_set) != _comparable(content, data_set):
        raise BitspikeError("results --add: the file is of other data than the runs")
    found = dict(zip(seeds, zip(entries, names, strict=True), strict=True))
    for seed, entry in zip(kept["seeds"], kept["runs"], strict=True):
        if seed not in found:
            found[seed] = _departures(kept, content) | entry, f"seed {seed} in the file"
    ordered = sorted(found)
    return ordered, [found[seed][0] for seed in ordered], [found[seed][1] for seed in ordered]


def _is_results(kept: Any) -> bool:
    """Whether a file's content is that of `collect`."""
    return isinstance(kept, dict) and {"recipe_hash", "data", "hardware", *MEASURED_BY, "seeds", "runs"} <= kept.keys()


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


def write_results(runs: Sequence[Path], out: Path, *, add: bool = False, overwrite: bool = False) -> dict[str, Any]:
    """Collect `runs` into the file `out` (a folder: NAME.json in it).

    add: seeds in that file that are not among the runs stay. overwrite: whatever the file holds is replaced; else it
    may hold seeds of these runs alone.
    """
    content = collect(runs)
    path = out / f"{content['recipe']['name']}.json" if out.suffix != ".json" else out
    if path.exists() and add:
        content = collect(runs, read_json(path))
    elif path.exists() and not overwrite:
        _check_replaced(path, content)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BitspikeError(f"--out: '{path.parent}' cannot be made ({error.strerror})") from None
    write_json(path, content)
    return content


def _check_replaced(path: Path, content: dict[str, Any]) -> None:
    """Refuse to lose what a file holds and the new content does not."""
    kept = read_json(path)
    if not _is_results(kept):
        refuse("--out", f"'{path}', which holds something else", "another path, or --overwrite")
    if kept["recipe_hash"] != content["recipe_hash"]:
        refuse("--out", f"'{path}', which holds results of another recipe", "another path, or --overwrite")
    if lost := [seed for seed in kept["seeds"] if seed not in content["seeds"]]:
        came = f"'{path}', which holds seeds {lost} that are not among the runs"
        refuse("--out", came, "another path, --add, which keeps them, or --overwrite")


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
