"""Start or resume a training from Python: devices, processes, and the run folder."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from torch import nn

from bitspike.data import DataSet
from bitspike.errors import BitspikeError, check_name, refuse
from bitspike.paths import run_name
from bitspike.run import several
from bitspike.run.assemble import check_data
from bitspike.run.finished import Run
from bitspike.run.folder import RunFolder
from bitspike.run.recipe import Recipe
from bitspike.run.recipe_files import load_recipe
from bitspike.run.session import Place
from bitspike.run.trainer import Trainer

PRECISIONS = ("32-true", "64-true", "bf16-mixed")


def recipe_asked(verb: str, recipe: Recipe | str | Path, overrides: Iterable[str], seed: int | None) -> Recipe:
    """The recipe that `verb` was called with, by its name, its path, or as an object."""
    if isinstance(recipe, str | Path):
        return load_recipe(str(recipe), overrides, seed)
    if overrides or seed is not None:
        refuse(verb, "overrides or a seed beside a Recipe object", "a recipe's name or path with them")
    return recipe


def train(
    recipe: Recipe | str | Path,
    out: Path | str | None = None,
    *,
    overrides: Iterable[str] = (),
    seed: int | None = None,
    data: Path | str | None = None,
    resume: bool = False,
    overwrite: bool = False,
    device: str = "auto",
    processes: int = 1,
    precision: str = "32-true",
    quiet: bool = True,
    tensorboard: bool = False,
    dataset: DataSet | None = None,
    model: nn.Module | None = None,
) -> Run:
    """Train a recipe (an object, a name, or a path) into folder `out` (default runs/NAME) and return the run.

    overrides: "a.b=value". data: a folder that wins over BITSPIKE_DATA. resume: go on from the last checkpoint.
    device: auto, cpu, cuda, mps. processes: data-parallel processes (gloo on a CPU). precision: 32-true,
    64-true or bf16-mixed (as in Lightning Fabric). dataset, model: in place of the recipe's, as `fit` has them.
    """
    if resume and overwrite:
        refuse("--resume", "--overwrite as well", "one of the two")
    recipe = recipe_asked("train", recipe, overrides, seed)
    if recipe.federation is not None:
        refuse(f"recipe '{recipe.name}'", "a table [federation]", "`bitspike federate`, which learns with clients")
    if recipe.population is not None:
        refuse(f"recipe '{recipe.name}'", "a table [population]", "`bitspike tune`, which learns with members")
    folder = RunFolder(Path(out) if out is not None else Path("runs") / run_name(recipe.name))
    check_data(data)
    if not 1 <= processes <= recipe.training.batch:
        refuse("--processes", processes, f"1 to training.batch = {recipe.training.batch}, one example each at least")
    if processes > 1 and (dataset is not None or model is not None):
        refuse("--processes", processes, "1 with examples or a module in memory")
    several.check_launchers()
    fabric = _fabric(device, processes, precision)
    # Only the first process owns the folder, and it looks before the others are started.
    first = several.rank() == 0
    if first:
        folder.check(recipe, resume, overwrite)
    group = None
    try:
        if processes > 1:
            logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
            group = several.join(processes, fabric.device.type)
            group.said = f"; '{folder.path}' keeps its last checkpoint, and --resume goes on from it"
            fabric.launch()
        # Data and model first: what is refused there leaves no folder behind.
        where = Path(data) if data is not None else None
        trainer = Trainer(recipe, folder, fabric, where, quiet, dataset, model)
        if first:
            folder.create(recipe, resume, overwrite)
        fabric.barrier()
        trainer.run(tensorboard)
        folder.unlock()
        fabric.barrier()
    except RuntimeError:
        if group is not None:
            group.lost()
        raise
    finally:
        if group is not None:
            group.over = True
        folder.unlock()
    return Run(folder.path, rank=fabric.global_rank, model=model, dataset=dataset)


def place_on(device: str) -> Place:
    """Where a single process computes in single precision: auto, cpu, cuda, mps."""
    return Place() if device == "cpu" else Place.of(_fabric(device, 1, "32-true"))


def _fabric(device: str, processes: int, precision: str) -> Any:
    from lightning_fabric import Fabric

    check_name("--precision", precision, PRECISIONS)
    try:
        strategy = "ddp" if processes > 1 else "auto"
        wanted: Any = precision
        plugins = several.environment() if processes > 1 else None
        return Fabric(
            accelerator=device, devices=processes, strategy=strategy, precision=wanted, plugins=plugins
        )  # fmt: skip
    except (ValueError, RuntimeError, TypeError) as error:
        raise BitspikeError(" ".join(f"--device {device}, --precision {precision}: {error}".split())) from None
