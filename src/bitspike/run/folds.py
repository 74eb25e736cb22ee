"""Cross-validation: a run for each of k disjoint test parts, which together hold every example once.

`mean` and `std` (sample standard deviation) are over folds; they say how much a result owes to its split.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bitspike.errors import BitspikeError, refuse
from bitspike.paths import run_name
from bitspike.run.checkpoint import write_json
from bitspike.run.finished import Run
from bitspike.run.recipe import Recipe
from bitspike.run.recipe_files import load_recipe
from bitspike.run.results import combined, deviation, in_short
from bitspike.run.start import train

# What every fold measured on its test part.
PARTS = ("test", "test_map", "test_ensemble", "test_single_draw", "baselines")


@dataclass(frozen=True)
class CrossValidation:
    """Finished runs, one for each fold; `mean` and `std` are nested like result.json: mean["test"]["accuracy"]."""

    runs: tuple[Run, ...]
    mean: dict[str, Any]
    std: dict[str, Any]
    path: Path
    """The file that holds all this, NAME-folds.json."""

    def line(self) -> str:
        """The test numbers as mean +- standard deviation."""
        mean, std = self.mean["test"], self.std["test"]
        known = [key for key in ("accuracy", "nll", "rmse", "ece") if key in mean]
        return f"{len(self.runs)} folds: " + ", ".join(f"{key} {mean[key]:.4f} +- {std[key]:.4f}" for key in known)


def fold_path(base: Path, fold: int) -> Path:
    """The run folder of a fold (from 1)."""
    return base.with_name(f"{base.name}-fold-{fold}")


def in_fold(recipe: Recipe, fold: int, folds: int) -> Recipe:
    """The recipe tested on fold `fold` of `folds`."""
    return recipe.model_copy(update={"data": recipe.data.model_copy(update={"fold": fold, "folds": folds})})


def cross_validate(
    recipe: Recipe | str | Path,
    folds: int = 5,
    out: Path | str | None = None,
    *,
    overrides: Iterable[str] = (),
    seed: int | None = None,
    **options: Any,
) -> CrossValidation:
    """Train `recipe` (as `bitspike.train` takes it, with its other `options`) on each of `folds` folds.

    Folders are OUT-fold-1, ... (default runs/NAME-fold-1, ...), the summary OUT-folds.json.
    """
    if folds < 2:
        refuse("--folds", folds, "2 or more")
    if isinstance(recipe, str | Path):
        recipe = load_recipe(str(recipe), overrides, seed)
    elif overrides or seed is not None:
        refuse("cross_validate", "overrides or a seed beside a Recipe object", "a recipe's name or path with them")
    base = Path(out) if out is not None else Path("runs") / run_name(recipe.name)
    runs = [train(in_fold(recipe, k, folds), fold_path(base, k), **options) for k in range(1, folds + 1)]
    return summarised(runs, base)


def summarised(runs: Sequence[Run], base: Path) -> CrossValidation:
    """Finished folds with their mean and deviation, written to BASE-folds.json by the first process."""
    for run in runs[1:]:
        if run.environment["data"]["digests"] != runs[0].environment["data"]["digests"]:
            raise BitspikeError(f"folds: '{run.path}' is a run on other data than '{runs[0].path}'")
    entries = [{key: run.result[key] for key in PARTS if key in run.result} for run in runs]
    path = base.with_name(f"{base.name}-folds.json")
    found = CrossValidation(tuple(runs), combined(entries), combined(entries, deviation), path)
    if runs[0].rank == 0:
        short = [in_short(run.result) for run in runs]
        names = [run.path.name for run in runs]
        content = {"folds": len(runs), "names": names, "mean": found.mean, "std": found.std, "runs": short}
        write_json(found.path, content)
    return found
