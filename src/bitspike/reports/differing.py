"""What keeps the figures of several runs from being compared: other data, other test examples."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from bitspike.reports.rundata import RunData, section


def differing(runs: Sequence[RunData]) -> str:
    """How the data of the runs differ, in words; empty where all were tested on the same examples."""
    names = sorted({run.data_name or "a set without a name" for run in runs})
    if len(names) > 1:
        return f"different data ({', '.join(names)})"
    for what, values in (
        ("different test parts", {run.test_size for run in runs}),
        ("different examples", {_tested_on(run) for run in runs}),
        ("different files of the same name", {_printed(run, "digests") for run in runs}),
        ("different classes", {_printed(run, "classes") for run in runs}),
    ):
        known = [value for value in values if value not in (None, "")]
        if len(known) > 1:
            counts = ", ".join(f"{size:,} examples" for size in sorted(map(int, known))) if "parts" in what else ""
            return f"{what} of {names[0]}" + (f" ({counts})" if counts else "")
    return ""


def _tested_on(run: RunData) -> str:
    """The numbers of the test examples, in few letters."""
    found = run.arrays.get("index")
    return "" if found is None else hashlib.sha256(np.sort(found).astype(float).tobytes()).hexdigest()


def _printed(run: RunData, key: str) -> str:
    found = section(run.environment, "data").get(key)
    return repr(sorted(found.items()) if isinstance(found, dict) else found) if found else ""
