"""What studies share: trainings that may be stopped and gone on with, and what came of them.

A run's folder holds weights and stays on the machine that made it. `measured` also writes what a study needs of a run
to a small file beside the results, so that a study goes on elsewhere, and its single runs can be looked at.
"""

from __future__ import annotations

import gc
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import t as student
from torch import Tensor

import bitspike
from bitspike.memory import keep_freed
from bitspike.metrics.paired import Paired
from bitspike.run.checkpoint import write_json
from bitspike.weights import binary_parametrizations

keep_freed()
RECORDS = Path(__file__).parents[1] / "results" / "studies"


def trained(recipe: str, out: Path, overrides: Sequence[str], seed: int = 0) -> Any:
    """The run in folder `out`: read back, gone on with, or trained."""
    return _made(bitspike.train, recipe, out, overrides, seed)


def federated(recipe: str, out: Path, overrides: Sequence[str], seed: int = 0) -> Any:
    """The same of a federation."""
    return _made(bitspike.federate, recipe, out, overrides, seed)


def _made(make: Callable[..., Any], recipe: str, out: Path, overrides: Sequence[str], seed: int) -> Any:
    return _gone_on(make, recipe, out, (out / "checkpoints" / "last.json").exists(), overrides=overrides, seed=seed)


def _gone_on(make: Callable[..., Any], recipe: str, out: Path, begun: bool, **more: Any) -> Any:
    """A finished run is resumed too: that reads it, and refuses one of another recipe, seed or data."""
    finished = (out / "result.json").exists()
    if not finished:
        print(f"{out}: {'going on' if begun else 'begun'}", flush=True)
    resume = finished or begun
    return make(recipe, out, resume=resume, overwrite=not resume, **more)


def evolved(recipe: str, out: Path, overrides: Sequence[str], seed: int = 0) -> Any:
    """The same of a population, whose turns this process takes."""
    begun = any((out / "population").glob("*.json"))
    return _gone_on(bitspike.tune, recipe, out, begun, overrides=overrides, seed=seed, workers=1)


@dataclass(frozen=True)
class Measured:
    """What is kept of a run: metrics of its answers, what made it, and which test examples it had right."""

    result: dict[str, Any]
    recipe: dict[str, Any]
    environment: dict[str, Any]
    right: Tensor  # float64 (N,), by number in the data set
    more: Any  # what the study asked for besides

    @property
    def validation(self) -> dict[str, float]:
        """Metrics on validation of the answer that is shipped."""
        shipped = self.result["shipped"]
        found: dict[str, float] = shipped["validation"][shipped["answer"]]
        return found


def measured(
    make: Callable[..., Any], recipe: str, out: Path, overrides: Sequence[str], seed: int = 0,
    more: Callable[[Any], Any] | None = None, records: Path = RECORDS,
) -> Measured:  # fmt: skip
    """What `make` (`trained`, `federated`) comes to, read from its record if that is of the same recipe and seed."""

    def made() -> dict[str, Any]:
        run = make(recipe, out, overrides, seed)
        correct = right(run).bool()
        kept = ("shipped", "seconds")
        return {
            "result": {key: value for key, value in run.result.items() if key.startswith("test") or key in kept},
            "recipe": run.recipe.resolved(),
            "environment": run.environment | {"data": _in_short(run.environment["data"])},
            "right": {"examples": len(correct), "bits": np.packbits(correct.numpy()).tobytes().hex()},
            "more": None if more is None else more(run),
        }

    return _read(kept_in(*_asked(recipe, out, overrides, seed, records), made))


def _in_short(data: dict[str, Any]) -> dict[str, Any]:
    """Without what was measured for each pixel."""
    return {key: value for key, value in data.items() if key != "form"}


def recorded(
    recipe: str, out: Path, overrides: Sequence[str], seed: int = 0, records: Path = RECORDS
) -> Measured | None:
    """What the record says, None where there is none of this recipe and seed."""
    found = _known(*_asked(recipe, out, overrides, seed, records))
    return None if found is None else _read(found)


def kept_in(file: Path, asked: dict[str, Any], made: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What `made` comes to, read from `file` where that is of what is asked, or else written there with it."""
    if (known := _known(file, asked)) is not None:
        return known
    if file.exists():
        print(f"{file}: of something else, measured again", flush=True)
    found = asked | made()
    gc.collect()  # a run and its data may hold each other, and the next one wants their memory
    file.parent.mkdir(parents=True, exist_ok=True)
    write_json(file, found)
    return dict(json.loads(file.read_text()))


def _asked(recipe: str, out: Path, overrides: Sequence[str], seed: int, records: Path) -> tuple[Path, dict[str, Any]]:
    """The record's file, and what it must be of."""
    file = records / out.parent.name / f"{out.name}.json"
    return file, {"recipe_hash": hash_of(recipe, overrides, seed), "seed": seed}


def hash_of(recipe: str, overrides: Sequence[str], seed: int) -> str:
    """What names a recipe with its overrides."""
    return bitspike.load_recipe(recipe, overrides, seed).recipe_hash()


def _known(file: Path, asked: dict[str, Any]) -> dict[str, Any] | None:
    """What a file holds, if it is of what is asked."""
    if not file.exists():
        return None
    found: dict[str, Any] = json.loads(file.read_text())
    return found if {key: found.get(key) for key in asked} == asked else None


def _read(found: dict[str, Any]) -> Measured:
    bits = np.unpackbits(np.frombuffer(bytes.fromhex(found["right"]["bits"]), np.uint8))
    correct = torch.from_numpy(bits[: found["right"]["examples"]]).double()
    kept = {key: found[key] for key in ("result", "recipe", "environment", "more")}
    return Measured(**kept, right=correct)


@contextmanager
def drawn_by_the_step(run: Any) -> Iterator[None]:
    """Bayesian weights are drawn anew at each time step, as with weights.redraw = "step"."""
    drawn = [precision for _, precision, _ in binary_parametrizations(run.model) if precision.is_drawn]
    for precision in drawn:
        precision.each_step = True
    try:
        yield
    finally:
        for precision in drawn:
            precision.each_step = False


def environment_of(run: Any) -> dict[str, Any]:
    """What a run was made with and on, without its own seed and data."""
    return {key: value for key, value in run.environment.items() if key not in ("data", "seed")}


def right(run: Any) -> Tensor:
    """Whether each test example was answered correctly, float64 (N,), by its number in the data set."""
    with np.load(run.path / "predictions.npz") as found:
        correct = found["probabilities"][-1].argmax(-1) == found["targets"]
        return torch.from_numpy(correct[np.argsort(found["index"])]).double()


def held(run: Any) -> float:
    """Accuracy on validation at the end of training."""
    text = (run.path / "metrics.jsonl").read_text().splitlines()[-1]
    return float(json.loads(text)["validation"]["accuracy"])


def interval(paired: Paired) -> dict[str, Any]:
    """As the results hold it."""
    return {"mean": paired.difference, "low": paired.low, "high": paired.high, "seeds": list(paired.seeds)}


def gain(one: Sequence[float], other: Sequence[float], level: float = 0.95) -> dict[str, Any]:
    """Mean of one - other over paired runs with Student's interval, which few runs leave wide (none: without one)."""
    differences = np.subtract(one, other)
    mean, count = float(differences.mean()), len(differences)
    if count < 2:
        return {"mean": mean, "low": None, "high": None}
    half = float(student.ppf((1 + level) / 2, count - 1) * differences.std(ddof=1) / count**0.5)
    return {"mean": mean, "low": mean - half, "high": mean + half}


def spread(values: Sequence[float]) -> dict[str, Any]:
    """Mean and sample standard deviation."""
    return {"mean": float(np.mean(values)), "std": float(np.std(values, ddof=1)), "values": list(values)}
