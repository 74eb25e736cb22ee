"""A trained ordinary network (neurons of kind "relu") made spiking: its curve of accuracy, bits and spikes.

What it finds goes into the run folder as `sweep.json`: rows of `energy.sweeps` on the validation and on the test
part, the setting chosen on validation and its energy account, and what the static network needs for comparison.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bitspike.convert import Hybrid, hybridise
from bitspike.energy import estimate_energy
from bitspike.energy.sweeps import sweep
from bitspike.errors import refuse
from bitspike.neurons import at_step, redraw_carry
from bitspike.run.finished import Run
from bitspike.studies.relu_spiking import calibrating, check_direct, check_relu_run, images

STEPS = (1, 2, 4)
COUNTS = (0.5, 1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 15.0)
MOST_SPIKES, MOST_BITS, WITHIN = 2.0, 4.0, 0.0025
# Values that the steps of one batch hold are kept near those of one batch of a static network.
ROWS = 250


def hybrid_of(
    run: Run,
    steps: int = 1,
    *,
    scale: str = "layer",
    percentile: float = 0.999,
    limit: int | None = None,
    relative: Mapping[str, float] | None = None,
    examples: int = 500,
    data: Path | None = None,
) -> Hybrid:
    """The run's network with quantisers at counts 1, calibrated on `examples` training examples drawn by its seed.

    relative: counts of layers by name or pattern, where they are not 1.
    """
    check_relu_run(run, "hybridise run")
    check_direct(run, "hybridise run")
    train = run.dataset(data).train
    batches = [images(run, train, rows) for rows in calibrating(run, train, examples).split(ROWS)]
    run.model.eval()
    return hybridise(
        run.model, {"*": 1.0, **(relative or {})}, steps=steps, data=batches, scale=scale, percentile=percentile,
        limit=limit, keys=(run.recipe.seed, "carry"),
    )  # fmt: skip


def sweep_run(
    run: Run,
    steps: Sequence[int] = STEPS,
    counts: Sequence[float] = COUNTS,
    *,
    scale: str = "layer",
    percentile: float = 0.999,
    limit: int | None = None,
    relative: Mapping[str, float] | None = None,
    examples: int = 500,
    within: float = WITHIN,
    total: float | None = None,
    most: int | None = None,
    data: Path | None = None,
    progress: Callable[[dict[str, Any]], None] | None = None,
) -> dict[str, Any]:
    """Sweep the run's network and write sweep.json; returns its content.

    within: the validation accuracy that the chosen setting may lose. total: steps times counts beyond which nothing
    is measured. most: examples of each part, the first ones (default: all). The rest is as in `hybridise`.
    """
    started = time.monotonic()
    if not 0 <= within <= 1:
        refuse("hybridise within", within, "a share of accuracy, from 0 to 1 (--within: in points, to 100)")
    if total is not None and not any(number * c <= total for number in steps for c in counts):
        least = min(steps) * min(counts)
        refuse("--total", total, f"{least:g} or more, the least of steps times counts")
    for name, given in (("steps", steps), ("counts", counts), ("relative", (relative or {}).values())):
        if wrong := [number for number in given if not 0 < number < math.inf]:
            refuse(f"hybridise {name}", wrong[0], "finite numbers above 0")
    hybrid = hybrid_of(
        run, steps[0], scale=scale, percentile=percentile, limit=limit, relative=relative, examples=examples, data=data
    )  # fmt: skip
    # As it was trained: a limit clips also where nothing is quantised.
    static = hybrid if limit is None else hybridise(run.model, steps=1)
    dataset = run.dataset(data)
    found: dict[str, Any] = {
        "how": {
            "scale": scale, "percentile": percentile, "limit": limit, "calibration": examples, "mode": "carry",
            "seed": run.recipe.seed, "relative": dict(relative or {}),
        }
    }  # fmt: skip
    for part in ("validation", "test"):
        split = getattr(dataset, part)

        def batches(split: Any = split) -> Iterator[tuple[Tensor, ...]]:
            rows = torch.arange(len(split) if most is None else min(most, len(split)))
            for chosen in rows.split(max(1, ROWS // (hybrid.steps or 1))):
                yield images(run, split, chosen), split.y[chosen], split.index[chosen]

        def note(row: dict[str, Any], part: str = part) -> None:
            if progress is not None:
                progress({"part": part, **_counted(row)})

        rows = sweep(static, batches, (math.inf,), progress=note)
        for number in steps:
            factors = [c for c in sorted(counts, reverse=True) if total is None or number * c <= total]
            rows += sweep(hybrid, batches, factors, steps=(number,), seed=run.recipe.seed, progress=note)
        found[part] = [_counted(row) for row in rows]
    wanted = {"spikes": MOST_SPIKES, "bits": MOST_BITS, "within": within}
    found |= {"wanted": wanted, "chosen": chosen(found, wanted), "static": _static(run)}
    found["energy"] = _energy(run, hybrid, found, dataset.test)
    found["seconds"] = round(time.monotonic() - started, 1)
    run.folder.write("sweep.json", found)
    return found


def _energy(run: Run, hybrid: Hybrid, found: dict[str, Any], test: Any) -> dict[str, Any] | None:
    """The account of the setting chosen, on the first test examples; none where none was."""
    if found["chosen"] is None:
        return None
    before = hybrid.steps
    hybrid.steps = found["chosen"]["steps"]
    rows = torch.arange(min(len(test), run.recipe.evaluation.energy_examples)).split(ROWS)
    redraw_carry(hybrid, run.recipe.seed, "energy")
    with at_step(hybrid, found["chosen"]["counts"]):
        account = estimate_energy(hybrid, (images(run, test, chosen) for chosen in rows))
    redraw_carry(hybrid)
    hybrid.steps = before  # type: ignore[assignment]
    return account.to_dict()


def chosen(found: dict[str, Any], wanted: dict[str, float]) -> dict[str, Any] | None:
    """The setting with the fewest spikes of those that keep to what is wanted on validation, with its test row."""
    static = next(row["accuracy"] for row in found["validation"] if row["counts"] is None)
    right = [row for row in found["validation"] if row["accuracy"] >= static - wanted["within"]]
    spiking = [row for row in right if row["counts"] is not None]
    fitting = [row for row in spiking if row["spikes"] <= wanted["spikes"] and row["bits"] <= wanted["bits"]]
    if not fitting:
        return None
    best = min(fitting, key=lambda row: row["spikes"])
    test = next(row for row in found["test"] if (row["steps"], row["counts"]) == (best["steps"], best["counts"]))
    return {"steps": best["steps"], "counts": best["counts"], "validation": best, "test": test}


def _counted(row: dict[str, Any]) -> dict[str, Any]:
    """At counts 1 the factor of a sweep is the counts."""
    return {("counts" if key == "factor" else key): value for key, value in row.items()}


def _static(run: Run) -> dict[str, float]:
    """Multiply-adds of the static network, and of its first layer, which real inputs reach in the hybrid as well."""
    layers = run.result["energy"].get("by_layer") or []
    dense = [float(layer["dense"]) for layer in layers]
    return {"dense": sum(dense), "first": dense[0] if dense else 0.0}
