"""Train a recipe: epochs of batches, checkpoints, resume, and the final measurement."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bitspike.errors import BitspikeError, damaged, refuse
from bitspike.run.assemble import build_encoder, build_learner, build_model, check_recipe, form_of, load_data
from bitspike.run.batches import Batches
from bitspike.run.checkpoint import load_checkpoint, load_model_state, save_checkpoint
from bitspike.run.evaluation import Evaluation, validate
from bitspike.run.folder import RunFolder, environment
from bitspike.run.progress import Board, Progress
from bitspike.run.recipe import Recipe
from bitspike.run.shown import shown
from bitspike.run.signals import Handled, Interrupted
from bitspike.run.stored import HISTOGRAM_BINS, PARTS, check_progress, check_split
from bitspike.weights import histograms

STATISTICS_BATCHES = 40


class Trainer:
    """One run of a recipe in a folder. `fabric` places it on devices, in a precision, over processes."""

    def __init__(
        self, recipe: Recipe, folder: RunFolder, fabric: Any, data: Path | None = None, quiet: bool = True
    ) -> None:
        self.recipe, self.folder, self.fabric = recipe, folder, fabric
        self.writes = fabric.global_rank == 0
        self.quiet = quiet or not self.writes
        dtype = torch.float64 if "64" in fabric._precision.precision else torch.float32
        self.dataset = load_data(recipe, data)
        form = form_of(self.dataset)
        self.notes = check_recipe(recipe, self.dataset)
        encoder = build_encoder(recipe, form)
        parts = (self.dataset.train, self.dataset.validation, self.dataset.test)
        self.train, self.validation, self.test = (
            Batches(recipe, encoder, part, fabric.device, dtype, self.dataset.target) for part in parts
        )
        self.model = build_model(recipe, form).to(fabric.device, dtype)
        per_epoch = self.train.per_epoch()
        if recipe.learner.rule == "online":
            per_epoch *= max(1, encoder.steps - recipe.learner.burn_in)
        self.epochs, self.validate_every = recipe.training.span(per_epoch)
        self.total_updates = per_epoch * self.epochs
        weights = self.dataset.class_weights() if recipe.data.class_weights else None
        self.learner = build_learner(recipe, form, self.model, self.total_updates, weights, self.epochs)
        _ = self.learner.optimisation.optimisers  # wrong options are refused here
        self.epoch, self.batch = 0, 0
        self.sums: dict[str, float] = {}
        self.records: list[dict[str, Any]] = []
        self.history: list[list[list[int]]] = []
        self.best: float | None = None
        self.best_epoch, self.since_best = 0, 0
        self.seconds = 0.0
        self.stop_asked = 0  # the number of the signal that asked
        self.board: Board | None = None

    def run(self, tensorboard: bool = False) -> dict[str, Any]:
        """Train to the end (from the last checkpoint if there is one), measure, and return result.json."""
        self.board = Board(self.folder.path) if tensorboard and self.writes else None
        if self.folder.finished:
            result: dict[str, Any] = self.folder.read("result.json")
            return result
        device = str(self.fabric.device)
        if self.writes:
            precision, world = self.fabric._precision.precision, self.fabric.world_size
            described = environment(self.dataset, self.recipe, device, precision, world)
            if (self.folder.checkpoints / "last.json").exists():
                _same_ground(self.folder.read("environment.json"), described)
                check_split(self.folder.path / "split.npz", self.dataset)
            self.folder.write("environment.json", described)
            self.folder.write_arrays("split.npz", {part: getattr(self.dataset, part).index.numpy() for part in PARTS})
        if (self.folder.checkpoints / "last.json").exists():
            self._resume()
        with Handled(self._ask):
            self._train()
        return self._finish()

    def _train(self) -> None:
        per_epoch, patience = self.train.per_epoch(), self.recipe.training.patience
        progress = Progress(self.recipe.name, per_epoch * self.epochs, self.epoch * per_epoch + self.batch, self.quiet)
        started = saved = time.monotonic()
        for note in (*self.dataset.notes, *self.notes):
            progress.line(f"{self.recipe.name}  note: {note}")
        try:
            while self.epoch < self.epochs and (patience is None or self.since_best < patience):
                batches = self.train.training(self.epoch + 1, self.fabric.global_rank, self.fabric.world_size)
                for number, (events, targets) in enumerate(batches):
                    if number < self.batch:
                        continue
                    with self.fabric.autocast():
                        metrics = self.learner.fit_batch(events, targets)
                    self._count(metrics)
                    self.batch = number + 1
                    progress.advance()
                    now = time.monotonic()
                    self.stop_asked = self._any_process(self.stop_asked)
                    if self.stop_asked or now - saved >= self.recipe.training.checkpoint_seconds:
                        self.seconds, started = self.seconds + now - started, now
                        self._save("last")
                        saved = now
                        if self.stop_asked:
                            raise Interrupted(
                                f"stopped at epoch {self.epoch + 1}; everything is saved in '{self.folder.path}'",
                                self.stop_asked,
                            )
                self._close_epoch(progress)
            self.seconds += time.monotonic() - started
            self._save("last")
        finally:
            progress.close()

    def _ask(self, number: int) -> None:
        self.stop_asked = number

    def _any_process(self, asked: int) -> int:
        """The signal that asked any process to stop, or 0: they must all stop after the same update."""
        if self.fabric.world_size == 1:
            return asked
        flag = torch.tensor(float(asked), device=self.fabric.device)
        return int(self.fabric.all_reduce(flag, reduce_op="max"))

    def _count(self, metrics: dict[str, float]) -> None:
        """Sum an epoch's training metrics, weighted by examples."""
        examples = metrics["examples"]
        self.sums["examples"] = self.sums.get("examples", 0.0) + examples
        for key in ("loss", "accuracy"):
            if key in metrics:
                self.sums[key] = self.sums.get(key, 0.0) + metrics[key] * examples

    def _close_epoch(self, progress: Progress) -> None:
        """Where a measurement is due: validate, note what was trained since the last one, keep the best."""
        self.epoch, self.batch = self.epoch + 1, 0
        if self.epoch % self.validate_every and self.epoch < self.epochs:
            return
        examples = self.sums.pop("examples")
        train = {key: value / examples for key, value in self.sums.items()}
        self.sums = {}
        validation = validate(self.recipe, self.learner, self.validation)
        factor = self.learner.optimisation.schedule.factor(min(self.learner.updates / self.total_updates, 1 - 1e-9))
        record = {
            "epoch": self.epoch,
            "updates": self.learner.updates,
            "learning_rate": self.recipe.optimizer.lr * factor,
        }
        self.records.append({**record, "train": train, "validation": validation})
        counts = histograms(self.model, HISTOGRAM_BINS).values()
        self.history += [[[self.epoch], each.tolist()] for each in counts]
        criterion = self.recipe.training.criterion
        score = -validation[criterion] if criterion == "accuracy" else validation[criterion]
        self.since_best += 1
        if self.best is None or score < self.best:
            self.best, self.best_epoch, self.since_best = score, self.epoch, 0
            if self.recipe.training.keep == "best":
                self._save("best")
        if self.writes:
            self.folder.write_epochs(self.records)
            if self.board is not None:
                self.board.write(self.records[-1])
        shown = "  ".join(f"{key} {value:.4f}" for key, value in validation.items())
        progress.line(f"{self.recipe.name}  epoch {self.epoch}  loss {train['loss']:.4f}  validation: {shown}")

    def _state(self) -> dict[str, Any]:
        return {
            "recipe_hash": self.recipe.recipe_hash(),
            "seed": self.recipe.seed,
            "epoch": self.epoch,
            "batch": self.batch,
            "sums": self.sums,
            "records": self.records,
            "history": self.history,
            "best": self.best,
            "best_epoch": self.best_epoch,
            "since_best": self.since_best,
            "seconds": self.seconds,
            "model": dict(self.model.state_dict()),
            "learner": self.learner.state_dict(),
        }

    def _save(self, name: str) -> None:
        if self.writes:
            save_checkpoint(self.folder.checkpoints, name, self._state())

    def _load(self, name: str) -> dict[str, Any]:
        state: dict[str, Any] = load_checkpoint(self.folder.checkpoints, name)
        source = f"checkpoint '{self.folder.checkpoints / name}.json'"
        if (state.get("recipe_hash"), state.get("seed")) != (self.recipe.recipe_hash(), self.recipe.seed):
            raise BitspikeError(f"{source}: saved by another recipe or seed")
        with damaged(source):
            load_model_state(self.model, state["model"], source)
            self.learner.load_state_dict(state["learner"])
        return state

    def _resume(self) -> None:
        state = self._load("last")
        source = f"checkpoint '{self.folder.checkpoints / 'last.json'}'"
        per_epoch, tensors = self.train.per_epoch(), len(histograms(self.model, HISTOGRAM_BINS))
        check_progress(state, source, per_epoch, self.validate_every, self.epochs, tensors)
        for key in ("epoch", "batch", "sums", "records", "history", "best", "best_epoch", "seconds"):
            setattr(self, key, state[key])
        # Runs begun before there was a patience do not have it.
        self.since_best = state.get("since_best", 0)

    def _finish(self) -> dict[str, Any]:
        """Take the kept epoch, settle its statistics, measure it, and write what describes it."""
        started = time.monotonic()
        kept = self.epoch
        if self.recipe.training.keep == "best":
            self._load("best")
            kept = self.best_epoch
        self.learner.finish(lambda: self.train.statistics(STATISTICS_BATCHES, self.epochs))
        evaluation = Evaluation(self.recipe, self.learner, self.validation, self.test)
        result = evaluation.result(self.dataset)
        self.seconds += time.monotonic() - started
        result.update(epochs=self.epoch, kept_epoch=kept, seconds=round(self.seconds, 3))
        if self.writes:
            shipped = {
                "recipe_hash": self.recipe.recipe_hash(),
                "model": dict(self.model.state_dict()),
                "temperature": evaluation.shipped.temperature,
                "noise": evaluation.shipped.noise,
                "samples": evaluation.shipped.samples,
            }
            save_checkpoint(self.folder.checkpoints, "shipped", shipped)
            drawn = shown(self.dataset, self.test, evaluation.arrays["raster_index"])
            self.folder.write_arrays("predictions.npz", evaluation.arrays | drawn)
            self._write_history()
            self.folder.write("result.json", result)
        return result

    def _write_history(self) -> None:
        """history.npz: histograms of p(w = +1) over training, one array per weight tensor that has one."""
        names = list(histograms(self.model, HISTOGRAM_BINS))
        if not names or not self.history:
            return
        epochs = [row[0][0] for row in self.history[:: len(names)]]
        counts = np.asarray([row[1] for row in self.history]).reshape(-1, len(names), HISTOGRAM_BINS)
        arrays = {f"counts/{name}": counts[:, number] for number, name in enumerate(names)}
        edges = np.linspace(0, 1, HISTOGRAM_BINS + 1)
        self.folder.write_arrays("history.npz", {"epochs": np.asarray(epochs), "edges": edges, **arrays})


def _same_ground(before: dict[str, Any], now: dict[str, Any]) -> None:
    """Refuse to go on with other data, precision or number of processes than a run began with."""
    try:
        stood = {"precision": before["precision"], "processes": before["processes"], **before["data"]}
    except (KeyError, TypeError):
        raise BitspikeError("--resume: the run's environment.json is incomplete") from None
    for key, value in {"precision": now["precision"], "processes": now["processes"], **now["data"]}.items():
        # What the run wrote went through JSON; so must what it is compared with.
        if key != "notes" and stood.get(key) != json.loads(json.dumps(value)):
            refuse(f"--resume: {key}", value, f"what the run began with, {stood.get(key)}")
