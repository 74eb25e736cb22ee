"""Train a recipe into a folder: a session with a clock, a progress bar, checkpoints and signals."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import torch
from torch import nn

from bitspike.run.assemble import build_model, form_of
from bitspike.run.checkpoint import load_checkpoint
from bitspike.run.conclude import check_ground, conclude, describe
from bitspike.run.folder import RunFolder
from bitspike.run.progress import Board, Progress
from bitspike.run.recipe import Recipe
from bitspike.run.session import Place, Session
from bitspike.run.signals import Handled, Interrupted


class Trainer:
    """One run of a recipe in a folder. `fabric` places it on devices, in a precision, over processes."""

    def __init__(
        self,
        recipe: Recipe,
        folder: RunFolder,
        fabric: Any,
        data: Path | None = None,
        quiet: bool = True,
        dataset: Any = None,
        own: nn.Module | None = None,
    ) -> None:
        self.recipe, self.folder, self.fabric = recipe, folder, fabric
        model = None if own is None else build_model(recipe, form_of(dataset), own)
        self.session = Session(recipe, dataset, model=model, place=Place.of(fabric), data=data)
        self.own = own is not None
        self.writes = fabric.global_rank == 0
        self.quiet = quiet or not self.writes
        self.seconds = 0.0
        self.stop_asked = 0  # the number of the signal that asked
        self.board: Board | None = None

    def run(self, tensorboard: bool = False) -> dict[str, Any]:
        """Train to the end (from the last checkpoint if there is one), measure, and return result.json."""
        self.board = Board(self.folder.path) if tensorboard and self.writes else None
        if self.folder.finished:
            if self.writes:
                check_ground(self.session, self.folder)
            result: dict[str, Any] = self.folder.read("result.json")
            return result
        resumed = (self.folder.checkpoints / "last.json").exists()
        describe(self.session, self.folder, resumed)
        if resumed:
            state, source = self._stored("last")
            self.session.restore(state, source)
            self.seconds = state.get("seconds", 0.0)
        elif self.own:
            self._save("last")  # the first weights of a module of one's own are drawn by nobody here
        with Handled(self._ask):
            self._train()
        kept = None
        if self.recipe.training.keep == "best":
            self.fabric.barrier()  # until the first process has written it
            self.session.take(*self._stored("best"))
            kept = self.session.best_epoch
        return conclude(self.session, self.folder, kept, self.seconds)

    def _train(self) -> None:
        session, name = self.session, self.recipe.name
        done = session.epoch * session.per_epoch + session.batch
        progress = Progress(name, session.per_epoch * session.epochs, done, self.quiet)
        started = saved = time.monotonic()
        for note in (*session.dataset.notes, *session.notes):
            progress.line(f"{name}  note: {note}")
        try:
            while not session.finished:
                if not session.epoch_over:
                    session.learn()
                    progress.advance()
                    now = time.monotonic()
                    # A signal that comes while they exchange it is told at the next update.
                    stop = self._any_process(self.stop_asked)
                    if stop or now - saved >= self.recipe.training.checkpoint_seconds:
                        self.seconds, started = self.seconds + now - started, now
                        self._save("last")
                        saved = now
                    if stop:
                        where = f"epoch {session.epoch + 1}; everything is saved in '{self.folder.path}'"
                        raise Interrupted(f"stopped at {where}", stop)
                if session.epoch_over and (record := session.close_epoch()) is not None:
                    self._note(record, progress)
            self.seconds += time.monotonic() - started
            self._save("last")
        finally:
            progress.close()

    def _note(self, record: dict[str, Any], progress: Progress) -> None:
        """Keep the best, and show and write a measurement."""
        session = self.session
        if session.best_epoch == session.epoch and self.recipe.training.keep == "best":
            self._save("best")
        if self.writes:
            self.folder.write_epochs(session.records)
            if self.board is not None:
                self.board.write(record)
        shown = "  ".join(f"{key} {value:.4f}" for key, value in record["validation"].items())
        loss = record["train"]["loss"]
        progress.line(f"{self.recipe.name}  epoch {session.epoch}  loss {loss:.4f}  validation: {shown}")

    def _ask(self, number: int) -> None:
        self.stop_asked = number

    def _any_process(self, asked: int) -> int:
        """The signal that asked any process to stop, or 0: they must all stop after the same update."""
        if self.fabric.world_size == 1:
            return asked
        flag = torch.tensor(float(asked), device=self.fabric.device)
        return int(self.fabric.all_reduce(flag, reduce_op="max"))

    def _save(self, name: str) -> None:
        if self.writes:
            self.session.save(self.folder.checkpoints, name, seconds=self.seconds)

    def _stored(self, name: str) -> tuple[dict[str, Any], str]:
        """A checkpoint, and what errors name it by."""
        return load_checkpoint(self.folder.checkpoints, name), f"checkpoint '{self.folder.checkpoints / name}.json'"
