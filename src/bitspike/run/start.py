"""Start runs from Python: train, resume, load, evaluate, predict."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bitspike import metrics
from bitspike.coding import Encoder
from bitspike.errors import BitspikeError, refuse
from bitspike.learners import Learner
from bitspike.run.assemble import Form, build_encoder, build_learner, build_model, encode, form_of, load_data
from bitspike.run.batches import Batches
from bitspike.run.checkpoint import load_checkpoint, load_model_state
from bitspike.run.evaluation import in_data_units, predictions, summary
from bitspike.run.folder import RunFolder
from bitspike.run.recipe import Recipe
from bitspike.run.recipe_files import load_recipe
from bitspike.run.trainer import Trainer


def train(
    recipe: Recipe | str,
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
) -> Run:
    """Train a recipe (an object, a name, or a path) into folder `out` (default runs/NAME) and return the run.

    overrides: "a.b=value". data: a folder that wins over BITSPIKE_DATA. resume: go on from the last checkpoint.
    device: auto, cpu, cuda, mps. processes: data-parallel processes (gloo on a CPU). precision: as in Lightning
    Fabric, for example 32-true, 64-true, bf16-mixed.
    """
    if isinstance(recipe, str):
        recipe = load_recipe(recipe, overrides, seed)
    elif overrides or seed is not None:
        refuse("train", "overrides or a seed beside a Recipe object", "a recipe's name or path with them")
    folder = RunFolder(Path(out) if out is not None else Path("runs") / recipe.name)
    fabric = _fabric(device, processes, precision)
    if processes > 1:
        fabric.launch()
    if fabric.global_rank == 0:
        folder.create(recipe, resume, overwrite)
    fabric.barrier()
    try:
        trainer = Trainer(recipe, folder, fabric, Path(data) if data is not None else None, quiet, tensorboard)
        trainer.run()
    finally:
        folder.unlock()
    fabric.barrier()
    return Run(folder.path, rank=fabric.global_rank)


def _fabric(device: str, processes: int, precision: str) -> Any:
    from lightning_fabric import Fabric

    try:
        strategy = "ddp" if processes > 1 else "auto"
        wanted: Any = precision
        return Fabric(accelerator=device, devices=processes, strategy=strategy, precision=wanted)
    except (ValueError, RuntimeError, TypeError) as error:
        raise BitspikeError(" ".join(f"--device {device}, --precision {precision}: {error}".split())) from None


class Run:
    """A finished run, ready to predict: its recipe, its data's form, its model and its learner."""

    def __init__(self, path: Path | str, rank: int = 0) -> None:
        self.rank = rank
        self.folder = RunFolder.existing(Path(path))
        self.path = self.folder.path
        self.recipe = self.folder.recipe()
        if not self.folder.finished:
            raise BitspikeError(f"run '{self.path}': not finished; `bitspike train ... --resume` goes on with it")
        self.environment: dict[str, Any] = self.folder.read("environment.json")
        self.result: dict[str, Any] = self.folder.read("result.json")
        try:
            data = self.environment["data"]
            form = Form(
                data["kind"], tuple(data["classes"]), tuple(data["shape"]), data["steps"], data["form"]["input"],
                data["values"],
            )  # fmt: skip
        except KeyError as error:
            raise BitspikeError(f"'{self.path / 'environment.json'}': no {error} in it") from None
        self.form = form
        self.encoder: Encoder = build_encoder(self.recipe, form)
        self.model = build_model(self.recipe, form)
        state = load_checkpoint(self.folder.checkpoints, "shipped")
        source = f"checkpoint '{self.folder.checkpoints / 'shipped.json'}'"
        # The hash as written at training time: a later version may know more defaults.
        if state.get("recipe_hash") != self.environment.get("recipe_hash"):
            raise BitspikeError(f"{source}: saved by another recipe")
        model_state = state["model"]
        self.model.to(next(iter(model_state.values())).dtype)
        load_model_state(self.model, model_state, source)
        self.temperature, self.noise = float(state["temperature"]), float(state["noise"])
        self.learner: Learner = build_learner(self.recipe, form, self.model, 1)
        self.model.eval()

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names; empty for regression."""
        return self.form.classes

    @property
    def draws(self) -> int:
        """Members of the ensemble as shipped."""
        return self.recipe.evaluation.draws if self.learner.bayesian else 1

    def predict(self, x: Any, *, samples: int | None = None, scaled: bool = True, over_time: bool = False) -> Tensor:
        """Class probabilities (N, C), or value and spread (N, 2D), for inputs as the data set gives them.

        x: (N, *shape), (N, T, *shape) or Events, normalised (see `bitspike.data.prepare`). samples: ensemble
        draws (default: as shipped; 0: MAP). scaled: apply the temperature fitted on validation.
        over_time: the answer after every step, (T, N, ...).
        """
        parts = []
        dtype = next(self.model.parameters()).dtype
        for rows in torch.arange(len(x)).split(self.recipe.evaluation.batch):
            events = encode(self.recipe, self.encoder, x[rows], rows, 0).to(dtype)
            parts.append(self.learner.predict(events, self.draws if samples is None else samples))
        outputs = torch.cat(parts, 1)
        if self.form.task == "classification":
            outputs = metrics.apply_temperature(outputs, self.temperature) if scaled else outputs
        else:
            value, spread = in_data_units(outputs, self.environment["data"]["form"]["target"]).chunk(2, -1)
            outputs = torch.cat([value, (spread.square() + self.noise**2).sqrt()], -1)
        return outputs if over_time else outputs[-1]

    def evaluate(
        self, part: str = "test", *, samples: int | None = None, step: int | None = None, data: Path | None = None
    ) -> dict[str, Any]:
        """Metrics on a split of the run's data set, after time step `step` (default: the last)."""
        if part not in ("train", "validation", "test"):
            refuse("--split", repr(part), "train, validation or test")
        dataset = load_data(self.recipe, data)
        if form_of(dataset) != self.form:
            refuse("data", f"{form_of(dataset)}", f"what the run was trained on, {self.form}")
        split = getattr(dataset, part)
        dtype = next(self.model.parameters()).dtype
        batches = Batches(self.recipe, self.encoder, split, torch.device("cpu"), dtype, dataset.target)
        outputs, targets = predictions(self.learner, batches, self.draws if samples is None else samples)
        steps = len(outputs)
        if step is not None and not 1 <= step <= steps:
            refuse("--time", step, f"a time step from 1 to {steps}")
        now = outputs[(step or steps) - 1]
        if self.form.task == "regression":
            value, spread = now.chunk(2, -1)
            now = torch.cat([value, (spread.square() + self.noise**2).sqrt()], -1)
        bins = self.recipe.evaluation.bins
        reading: dict[str, Any] = dict(summary(self.form.task, now, targets, bins))
        if self.form.task == "classification":
            scaled = metrics.apply_temperature(now, self.temperature)
            reading["scaled"] = {"temperature": self.temperature, **metrics.classification(scaled, targets, bins=bins)}
        return {"split": part, "examples": len(split), "step": step or steps, "samples": samples, **reading}


def load(path: Path | str) -> Run:
    """The finished run in folder `path`, ready to predict."""
    return Run(path)
