"""A recipe being learned: it can be advanced, measured, copied, put back and given other hyperparameters.

    session = Session(recipe, dataset)
    session.advance(10)             # ten updates; measured on validation where the recipe says so
    state = session.snapshot()      # all that is carried on, as copies
    session.with_values({"optimizer.lr": 0.001}).advance(10)

A session is a function of its recipe, its key and the number of its updates: however it is cut into turns, put
aside and taken up again, it comes to the same end, bit for bit. Any number of them share one loaded data set.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from bitspike.draws import Key
from bitspike.errors import BitspikeError, damaged, refuse
from bitspike.kernels.cpu.works import Work, alone, side_by_side
from bitspike.models.own import OwnNetwork, probe
from bitspike.registry import trait
from bitspike.run import assemble
from bitspike.run.batches import Batches
from bitspike.run.checkpoint import load_model_state, save_checkpoint
from bitspike.run.evaluation import validate
from bitspike.run.recipe import Recipe
from bitspike.run.recipe_files import parse_recipe, print_recipe
from bitspike.run.stored import HISTOGRAM_BINS, check_progress
from bitspike.weights import histograms

CARRIED = ("epoch", "batch", "sums", "records", "history", "best", "best_epoch", "since_best")


CPU = torch.device("cpu")


@dataclass(frozen=True)
class Place:
    """Where a session computes: device, dtype, autocast, and which process of how many it is."""

    device: torch.device = CPU
    dtype: torch.dtype = torch.float32
    autocast: Callable[[], AbstractContextManager[Any]] = nullcontext
    precision: str = "32-true"
    rank: int = 0
    world: int = 1

    @classmethod
    def of(cls, fabric: Any) -> Place:
        """The place that a Lightning Fabric gives."""
        precision = fabric._precision.precision
        dtype = torch.float64 if "64" in precision else torch.float32
        return cls(fabric.device, dtype, fabric.autocast, precision, fabric.global_rank, fabric.world_size)


class Session:
    """A recipe's model and learner on a data set, and how far they are.

    dataset: a `DataSet` already loaded, which any number of sessions may share; None: the recipe's, from folder `data`.
    model: trained in place of the recipe's. span: (epochs, epochs between two measurements, updates that schedules are
    for), in place of what the recipe's `training` says. key: names this session's draws beside the seed, so that
    clients of a federation and members of a population draw numbers of their own; () draws as an ordinary run does.
    notes: those of a session like it, where the recipe was checked against the data set before.
    """

    def __init__(
        self,
        recipe: Recipe,
        dataset: Any = None,
        *,
        model: nn.Module | None = None,
        key: tuple[Key, ...] = (),
        place: Place | None = None,
        data: Path | None = None,
        span: tuple[int, int, int] | None = None,
        notes: list[str] | None = None,
    ) -> None:
        self.recipe, self.key, self.place = recipe, tuple(key), place or Place()
        self.dataset = assemble.load_data(recipe, data) if dataset is None else dataset
        self.form = assemble.form_of(self.dataset)
        self.notes = assemble.check_recipe(recipe, self.dataset) if notes is None else notes
        encoder = assemble.build_encoder(recipe, self.form)
        device, dtype = self.place.device, self.place.dtype
        self.train, self.validation, self.test = (
            Batches(recipe, encoder, part, device, dtype, self.dataset.target)
            for part in (self.dataset.train, self.dataset.validation, self.dataset.test)
        )
        self.own = model
        self.model = (model if model is not None else assemble.build_model(recipe, self.form)).to(device, dtype)
        self.per_epoch = self.train.per_epoch()
        updates = self.per_epoch * assemble.updates_per_batch(recipe, encoder)
        if span is None:
            span = (*(counts := recipe.training.span(updates)), updates * counts[0])
        self.epochs, self.validate_every, self.total_updates = span
        weights = self.dataset.class_weights() if recipe.data.class_weights else None
        self.learner = assemble.build_learner(recipe, self.form, self.model, self.total_updates, weights, self.epochs)
        assemble.check_learner(recipe, self.form, self.learner)
        if "mixed" in self.place.precision and trait("learner", recipe.learner.rule, "alone", False):
            came = f"'{self.place.precision}' with learner.rule '{recipe.learner.rule}'"
            refuse("--precision", came, "'32-true' or '64-true', in which its loops compute")
        self.learner.key = self.key
        self.learner.start()
        if notes is None and isinstance(self.model, OwnNetwork):
            probe(self)
        self.epoch, self.batch = 0, 0
        self.sums: dict[str, float] = {}
        self.records: list[dict[str, Any]] = []
        self.history: list[list[list[int]]] = []
        self.best: float | None = None
        self.best_epoch, self.since_best = 0, 0

    @property
    def finished(self) -> bool:
        """True once all epochs are learned, or training has stopped getting better (training.patience)."""
        patience = self.recipe.training.patience
        return self.epoch >= self.epochs or (patience is not None and self.since_best >= patience)

    @property
    def epoch_over(self) -> bool:
        """True between an epoch's last batch and `close_epoch`."""
        return self.batch == self.per_epoch

    def advance(self, updates: int = 1) -> int:
        """Learn until `updates` more are made, or to the end; returns how many were.

        Batches are not cut: where one makes several updates (the online rule), there may be more than asked for.
        """
        return alone(self.advancing(updates))

    def advancing(self, updates: int = 1) -> Work[int]:
        """`advance` as work that stops at loops which need no interpreter; see `advance_together`."""
        before = self.learner.updates
        while self.learner.updates - before < updates and not self.finished:
            if not self.epoch_over:
                yield from self.learning()
            if self.epoch_over:
                self.close_epoch()
        return self.learner.updates - before

    def learn(self) -> dict[str, float]:
        """Learn from the next batch of the epoch; returns what the learner measured."""
        return alone(self.learning())

    def learning(self) -> Work[dict[str, float]]:
        """`learn` as such work."""
        if self.epoch_over:
            raise BitspikeError("learn: the epoch is over; close_epoch() begins the next one, advance() does both")
        place = self.place
        events, targets, examples = self.train.batch(self.epoch + 1, self.batch, self.key, place.rank, place.world)
        fitting = self.learner.fitting(events, targets, examples=examples)
        while True:
            with place.autocast():  # which is a thread's: it must not be on while others go on
                try:
                    loop = next(fitting)
                except StopIteration as over:
                    metrics: dict[str, float] = over.value
                    break
            yield loop
        self.count(metrics)
        self.batch += 1
        return metrics

    def count(self, metrics: dict[str, float]) -> None:
        """Add what a learner measured to the sums since the last record."""
        weight = metrics["examples"]
        self.sums["examples"] = self.sums.get("examples", 0.0) + weight
        for name in ("loss", "accuracy"):
            if name in metrics:
                self.sums[name] = self.sums.get(name, 0.0) + metrics[name] * weight

    def close_epoch(self) -> dict[str, Any] | None:
        """Count the epoch and, where a measurement is due, take it: returns its record, and notes the best."""
        self.epoch, self.batch = self.epoch + 1, 0
        if self.epoch % self.validate_every and self.epoch < self.epochs:
            return None
        examples = self.sums.pop("examples", 0.0)  # none where no client of a federation answered
        train = {name: value / examples for name, value in self.sums.items()}
        self.sums = {}
        validation = self.validate()
        rate = self.learner.rate_reached(self.recipe.optimizer.lr)
        record: dict[str, Any] = {"epoch": self.epoch, "updates": self.learner.updates, "learning_rate": rate}
        record |= {"train": train, "validation": validation}
        self.records.append(record)
        self.history += [[[self.epoch], counts.tolist()] for counts in histograms(self.model, HISTOGRAM_BINS).values()]
        criterion = self.recipe.training.criterion
        score = -validation[criterion] if criterion == "accuracy" else validation[criterion]
        self.since_best += 1
        if self.best is None or score < self.best:
            self.best, self.best_epoch, self.since_best = score, self.epoch, 0
        return record

    def validate(self) -> dict[str, float]:
        """Metrics on the validation split, as the network is now."""
        return validate(self.recipe, self.learner, self.validation)

    def snapshot(self) -> dict[str, Any]:
        """All that is carried on, as copies: what `restore` takes, in memory or saved as a checkpoint."""
        return {
            "recipe_hash": self.recipe.recipe_hash(),
            "seed": self.recipe.seed,
            "key": list(self.key),
            **{name: copy.deepcopy(getattr(self, name)) for name in CARRIED},
            "model": {name: tensor.clone() for name, tensor in self.model.state_dict().items()},
            "learner": self.learner.state_dict(),
        }

    def restore(self, state: Mapping[str, Any], source: str = "snapshot") -> None:
        """Go on from a snapshot of this recipe, seed and key; another one, or a damaged one, is refused by `source`."""
        self.take(state, source)
        # Runs begun before there was a patience do not have it.
        carried = {"since_best": 0, **state}
        tensors = len(histograms(self.model, HISTOGRAM_BINS))
        check_progress(carried, source, self.per_epoch, self.validate_every, self.epochs, tensors)
        for name in CARRIED:
            setattr(self, name, copy.deepcopy(carried[name]))

    def take(self, state: Mapping[str, Any], source: str = "snapshot") -> None:
        """Take over the model and the learner of a snapshot, and stay where the session is."""
        if (state.get("recipe_hash"), state.get("seed")) != (self.recipe.recipe_hash(), self.recipe.seed):
            raise BitspikeError(f"{source}: saved by another recipe or seed")
        key = state.get("key", ())
        if not isinstance(key, list | tuple) or tuple(key) != self.key:
            refuse(f"{source} key", key, f"{list(self.key)}; with_values(key=...) makes a copy of another")
        self._take(state, source)

    def _take(self, state: Mapping[str, Any], source: str) -> None:
        with damaged(source):
            load_model_state(self.model, state["model"], source)
            self.learner.load_state_dict(state["learner"])

    def save(self, folder: Path, name: str, **more: Any) -> None:
        """Save a snapshot, with what else is given, as checkpoint `name` in `folder`."""
        save_checkpoint(folder, name, {**self.snapshot(), **more})

    def with_values(self, values: Mapping[str, Any] | None = None, key: tuple[Key, ...] | None = None) -> Session:
        """A new session that goes on from here with other hyperparameters: same weights, moments and position.

        values: by the recipe's paths, such as {"optimizer.lr": 0.01, "learner.rho": 1e-4}. What they make of the model
        and of the optimiser must fit the tensors there are, and must not be what these began with. key: of the new
        session; None: as here.
        """
        new = going_on(self, values, key)
        built = [f"'{path}'" for path in values or {} if path.partition(".")[0] in ("model", "weights")]
        if built and self.own is None:
            tensor = assemble.begins_otherwise([self.recipe, new.recipe], self.form)
            if tensor is not None:
                refuse("with_values", f"{', '.join(built)}, which says what '{tensor}' begins with", "it as it is")
        return new


def changed(recipe: Recipe, values: Mapping[str, Any] | None, source: str) -> Recipe:
    """A recipe with other values, by their paths."""
    given = [f"{path}={json.dumps(value)}" for path, value in (values or {}).items()]
    return parse_recipe(print_recipe(recipe), source, given) if given else recipe


def going_on(session: Session, values: Mapping[str, Any] | None, key: tuple[Key, ...] | None = None) -> Session:
    """`Session.with_values`, also where values say what tensors begin with, which stay as they are."""
    recipe = changed(session.recipe, values, "with_values")
    own = None if session.own is None else copy.deepcopy(session.model)
    key = session.key if key is None else key
    new = Session(recipe, session.dataset, model=own, key=key, place=session.place)
    for what in ("seed", "data", "encoder"):
        if getattr(recipe, what) != getattr(session.recipe, what):
            refuse("with_values", f"another {what}", "it as it is: a session of its own has it")
    for table in ("optimizer", "latent_optimizer"):
        kinds = [getattr(getattr(one, table), "name", None) for one in (recipe, session.recipe)]
        if kinds[0] != kinds[1]:
            refuse(f"with_values {table}.name", kinds[0], f"{kinds[1]}, whose moments there are")
    if new.per_epoch != session.per_epoch:
        refuse("with_values training.batch", recipe.training.batch, f"{session.per_epoch} batches an epoch, as here")
    state = session.snapshot()
    new._take(state, "with_values")
    for name in CARRIED:
        setattr(new, name, state[name])
    return new


def advance_together(sessions: Sequence[Session], updates: int = 1) -> list[int]:
    """`advance` each of them, side by side where learners have loops that need no interpreter (circuits): same bits.

    Sessions of any recipes, such as one of each seed.
    """
    return side_by_side([session.advancing(updates) for session in sessions])
