"""Tables of what engines cost beside learning, for `make_tables`: federations, clients side by side, populations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import spike_tables

ENGINES = {
    "processor time of a round beside learning": "processor_overhead",
    "wall time of a round beside learning": "wall_overhead",
    "learning, processor time of a round": "processor_learning",
    "start, wall": "wall_start",
}
STREAMS = ("one by one", "a thread each", "one call")
POPULATIONS = {
    "local": "workers of `--engine local`",
    "ray": "`--engine ray`",
    "ray_tune_paused": "Ray Tune, two trials at a time",
    "ray_tune_resident": "Ray Tune, all trials at once",
}


def measured(name: str) -> Any:
    """A benchmark's file; it is always there."""
    return spike_tables.read(f"benchmarks/{name}")


def where(name: str) -> str:
    """A line on the machine, to stand above the table."""
    machine = measured(name)["machine"]
    threads = machine["threads"]
    return f"{machine['processor']}, {machine['cores']} cores, {threads} thread{'s' if threads > 1 else ''}:\n\n"


def seconds(value: float) -> str:
    """Two significant digits."""
    return f"{value:.3f} s" if value < 0.1 else f"{value:.2f} s" if value < 1 else f"{value:.1f} s"


def engines(_: Sequence[str]) -> str:
    """A federation in one process beside Flower's simulation."""
    found = measured("federation")
    ours, theirs = found["local"], found["flower_simulation"]
    lines = [["", "one process", "simulation", "times"]]
    for label, key in ENGINES.items():
        times = f"{theirs[key] / ours[key]:.1f}" if key.endswith("overhead") else ""
        lines.append([label, seconds(ours[key]), seconds(theirs[key]), times])
    lines.append(["rounds a second", *(f"{one['rounds_per_second']:.2f}" for one in (ours, theirs)), ""])
    return where("federation") + spike_tables.markdown(lines)


def stacked(_: Sequence[str]) -> str:
    """How many times as fast clients learn side by side in one stack."""
    cases = measured("stacked")["cases"]
    numbers = [number for number in next(iter(cases.values()))["ratios"] if number != "1"]
    lines = [["", "weights", f"{numbers[0]} at a time", *numbers[1:]]]
    for name, case in sorted(cases.items(), key=lambda one: int(one[1]["weights"])):
        times = [f"{1 / case['ratios'][number]:.1f}" for number in numbers]
        lines.append([name, f"{case['weights']:,}", *times])
    return where("stacked") + spike_tables.markdown(lines)


def streams(_: Sequence[str]) -> str:
    """Slices of clients' streams by three engines: processor time, wall time in brackets."""
    lines = [["clients", "hidden", "steps of a slice", *STREAMS[:2], "side by side"]]
    for case in measured("streams")["cases"]:
        times = [f"{case[name]['processor_ms']:.1f} ({case[name]['wall_ms']:.1f})" for name in STREAMS]
        lines.append([*(str(case[key]) for key in ("clients", "hidden", "steps")), *times])
    return where("streams") + spike_tables.markdown(lines)


def overhead(_: Sequence[str]) -> str:
    """What a ready point costs beside learning and measuring, and the whole run."""
    found = measured("population")
    lines = [["", "ready points", "wall of one", "processor time of one", "all, wall", "start with it"]]
    for name, label in POPULATIONS.items():
        one = found[name]
        each = [f"{one[key] / one['turns']:.3f} s" for key in ("outside_after_start", "outside_processor_after_start")]
        whole = [f"{one[key]:.1f} s" for key in ("outside_after_start", "outside_whole")]
        lines.append([label, str(one["turns"]), *each, *whole])
    return where("population") + spike_tables.markdown(lines)


MAKERS = {"engines": engines, "stacked": stacked, "streams": streams, "overhead": overhead}
