"""What studies share: trainings that may be stopped and gone on with, and what came of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import t as student
from torch import Tensor

import bitspike
from bitspike.metrics.paired import Paired


def trained(recipe: str, out: Path, overrides: Sequence[str], seed: int = 0) -> Any:
    """The run in folder `out`: read back, gone on with, or trained."""
    return _made(bitspike.train, recipe, out, overrides, seed)


def federated(recipe: str, out: Path, overrides: Sequence[str], seed: int = 0) -> Any:
    """The same of a federation."""
    return _made(bitspike.federate, recipe, out, overrides, seed)


def _made(make: Callable[..., Any], recipe: str, out: Path, overrides: Sequence[str], seed: int) -> Any:
    if (out / "result.json").exists():
        return bitspike.load(out)
    resume = (out / "checkpoints" / "last.json").exists()
    print(f"{out}: {'going on' if resume else 'training'}", flush=True)
    return make(recipe, out, overrides=overrides, seed=seed, resume=resume, overwrite=not resume)


def evolved(recipe: str, out: Path, overrides: Sequence[str], seed: int = 0) -> Any:
    """The same of a population, whose turns this process takes."""
    if (out / "result.json").exists():
        return bitspike.load(out)
    resume = any((out / "population").glob("*.json"))
    print(f"{out}: {'going on' if resume else 'evolving'}", flush=True)
    return bitspike.tune(recipe, out, overrides=overrides, seed=seed, workers=1, resume=resume, overwrite=not resume)


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
