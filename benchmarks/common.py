"""What every benchmark shares: interleaved timing, ratios, the machine's description, one JSON file each.

Candidates are timed in turn, round after round, in one process: what disturbs the machine disturbs all of them
alike. A ratio is the median over rounds of (candidate's time / base's time of the same round); "of the least" is
the ratio of the shortest times, which says more on a machine that other work keeps busy.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "results" / "benchmarks"
QUICK = ROOT / "runs" / "benchmarks"  # git-ignored: a quick run never replaces a measured result
PACKAGES = ("torch", "numpy", "numba", "snntorch", "spikingjelly", "norse", "sinabs")
FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_int8", "amx_bf16")

Times = dict[str, list[float]]


def interleave(
    calls: Mapping[str, Callable[[], object]], seconds: float, most: int = 25, least: int = 3,
    clock: Callable[[], float] = time.perf_counter,
) -> Times:  # fmt: skip
    """Times of each call, in turn, for about `seconds` in all: between `least` and `most` rounds.

    The order is turned by one each round, so that no candidate always follows the same other one. A call that takes
    more than a sixth of `seconds` takes part in the first `least` rounds only. Each call has run once before: whoever
    makes it checks what it returns.
    """
    names = list(calls)
    times: Times = {name: [] for name in names}
    started = clock()
    for turn in range(most):
        if turn >= least and clock() - started > seconds:
            break
        for place in range(len(names)):
            name = names[(place + turn) % len(names)]
            if turn >= least and times[name][0] > seconds / 6:
                continue
            gc.collect()
            gc.disable()  # as timeit does: a collection would be charged to whoever happens to run
            before = clock()
            calls[name]()
            times[name].append(clock() - before)
            gc.enable()
    return times


def summary(times: Times) -> dict[str, dict[str, float]]:
    """Median, quartiles and least of each candidate's milliseconds, and the number of rounds."""
    return {name: spread([1e3 * t for t in values]) for name, values in times.items()}


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median, first and third quartile, least, and how many."""
    q1, middle, q3 = statistics.quantiles(values, n=4, method="inclusive") if len(values) > 1 else [values[0]] * 3
    return {"median": middle, "q1": q1, "q3": q3, "least": min(values), "rounds": len(values)}


def ratios(times: Times, base: str) -> dict[str, float]:
    """How many times as long as `base` each candidate takes: the median of the rounds' ratios."""
    return {
        name: statistics.median(t / b for t, b in zip(values, times[base], strict=False))  # the rounds of both
        for name, values in times.items()
    }


def least_ratios(times: Times, base: str) -> dict[str, float]:
    """The same of the shortest times."""
    return {name: min(values) / min(times[base]) for name, values in times.items()}


def compared(times: Times, base: str) -> dict[str, Any]:
    """What is stored of one set of interleaved times."""
    return {
        "base": base,
        "milliseconds": summary(times),
        "ratios": ratios(times, base),
        "least_ratios": least_ratios(times, base),
    }


def table(rows: Sequence[Sequence[str]], heads: Sequence[str]) -> str:
    """A Markdown table; the first column is text, the others are numbers."""
    rule = ["---"] + ["---:"] * (len(heads) - 1)
    return "\n".join("| " + " | ".join(row) + " |" for row in [heads, rule, *rows])


def ratio_table(found: Mapping[str, Any]) -> str:
    """One row per candidate of what `compared` returns."""
    rows = [
        [
            name,
            f"{ms['median']:.2f}",
            f"{ms['q1']:.2f} to {ms['q3']:.2f}",
            f"{ms['least']:.2f}",
            f"{found['ratios'][name]:.2f}",
            f"{found['least_ratios'][name]:.2f}",
        ]
        for name, ms in found["milliseconds"].items()
    ]
    return table(rows, ["candidate", "median ms", "quartiles", "least ms", "ratio", "ratio of the least"])


def machine() -> dict[str, Any]:
    """Processor, instruction sets, threads, load when asked, versions."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    facts = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    return {
        "processor": facts.get("model name") or platform.processor() or platform.machine(),
        "instructions": [flag for flag in FLAGS if flag in facts.get("flags", "").split()],
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "huge_pages": os.environ.get("THP_MEM_ALLOC_ENABLE") == "1",
        "load": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "versions": {name: version for name in PACKAGES if (version := _version(name))},
    }


def _version(name: str) -> str | None:
    # torch's own attribute tells a CPU wheel from another; the installed metadata serves the rest.
    try:
        return str(torch.__version__) if name == "torch" else metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def arguments(description: str | None, parser: argparse.ArgumentParser | None = None) -> argparse.Namespace:
    """--quick, --threads and --out, beside the parser's own options."""
    parser = parser or argparse.ArgumentParser(description=(description or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer shapes and rounds; written to runs/benchmarks")
    parser.add_argument("--threads", type=int, default=0, help="torch's threads (0: its own choice)")
    parser.add_argument("--out", type=Path, default=None, help="folder of the JSON file")
    chosen = parser.parse_args()
    if chosen.threads:
        torch.set_num_threads(chosen.threads)
    return chosen


def save(name: str, content: Mapping[str, Any], chosen: argparse.Namespace) -> Path:
    """Write NAME.json into results/benchmarks, or runs/benchmarks for a quick run."""
    folder: Path = chosen.out or (QUICK if chosen.quick else RESULTS)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.json"
    whole = {"machine": machine(), "quick": bool(chosen.quick), **content}
    path.write_text(json.dumps(_rounded(whole), indent=1) + "\n", encoding="utf-8")
    print(f"written: {os.path.relpath(path)}", file=sys.stderr)
    return path


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.5g}")
    if isinstance(value, dict):
        return {key: _rounded(part) for key, part in value.items()}
    return [_rounded(part) for part in value] if isinstance(value, list | tuple) else value
