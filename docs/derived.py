"""Figures of a table that are computed from what `results/` holds.

Bits by fan-out and with carries, for results that were measured before runs stored them; energy with neurons' updates.
"""

from __future__ import annotations

from statistics import fmean, stdev
from typing import Any

from bitspike.reports.totals import PARTS, totals

REAL_BITS = 32
KEYS = ("average_by_weight", "significant_by_weight", "average_with_carries")


def of_run(bits: dict[str, Any], outputs: int) -> dict[str, float]:
    """What `run.levels` stores today, from a run's older `bits`.

    A layer's fan-out is its additions over the sum of its counts; one without additions reached the read-out alone.
    """
    total, layers = bits["levels"]["total"], bits["levels"]["layers"].values()
    reach = []
    for layer in layers:
        counts = layer["mean_abs"] * layer["values"] / layer["presentations"]
        reach.append(layer["adds"] / counts if layer.get("adds") else outputs)
    met = [each * layer["values"] for each, layer in zip(reach, layers, strict=True)]
    found = {
        f"{key}_by_weight": sum(m * layer[key] for m, layer in zip(met, layers, strict=True)) / sum(met)
        for key in ("average", "significant")
    }
    units, mean, with_states = total["units"], total["average"], bits["average_with_real_states"]
    real = units * (with_states - mean) / (REAL_BITS - with_states)
    return found | {"average_with_carries": (mean * units + REAL_BITS * (real + units)) / (2 * units + real)}


def with_readings(result: dict[str, Any]) -> dict[str, Any]:
    """A file of results with these three in its means and deviations, where its network has levels."""
    levels = result["mean"].get("bits", {}).get("levels")
    if levels is None or "average_with_carries" in result["mean"]["bits"]:
        return result
    bias = result["runs"][0]["bits"]["by_tensor"].get("readout.bias")
    if bias is None:
        return result
    outputs = bias[0]
    found = [of_run(run["bits"], int(outputs)) for run in result["runs"]]
    for key in KEYS:
        values = [run[key] for run in found]
        result["mean"]["bits"][key] = fmean(values)
        if len(values) > 1:
            result["std"]["bits"][key] = stdev(values)
    return result


def with_energy(result: dict[str, Any]) -> dict[str, Any]:
    """A file of results with arithmetic and neurons' updates added up, in its means and deviations."""
    found = [totals(run.get("energy") or {}) for run in result["runs"]]
    for name in PARTS:
        values = [each[name] for each in found if name in each]
        if values and len(values) == len(found):
            result["mean"]["energy"].setdefault("with_neurons", {})[name] = fmean(values)
            if len(values) > 1:
                result["std"]["energy"].setdefault("with_neurons", {})[name] = stdev(values)
    return result
