"""A finished run: loaded from its folder, it predicts, records, streams and is measured again."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from numbers import Integral
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bitspike import metrics
from bitspike.checks import as_tensor
from bitspike.coding import Encoder
from bitspike.coding.windows import Windows
from bitspike.data import DataSet, Split, ends, prepare, prepare_labelled, trait
from bitspike.data.base import filled
from bitspike.data.given import labelled
from bitspike.data.givenevents import checked
from bitspike.data.sources import sha256_of_file
from bitspike.errors import BitspikeError, check_name, damaged, refuse
from bitspike.layers.ends import with_lengths
from bitspike.learners import Learner
from bitspike.models.own import made
from bitspike.models.plan import Plan
from bitspike.neurons.recordings import Monitor, Recording, beside
from bitspike.notices import notice
from bitspike.run.assemble import Form, build_encoder, build_learner, build_model, encode, form_of, load_data
from bitspike.run.augment import seen_shape
from bitspike.run.batches import Batches
from bitspike.run.checkpoint import load_checkpoint, load_model_state
from bitspike.run.evaluation import predictions
from bitspike.run.folder import RunFolder, other_own_files
from bitspike.run.outputs import in_data_units, read_noise, summary, with_noise
from bitspike.run.stored import PARTS, check_split, read_environment
from bitspike.run.streaming import Stream, chosen, plan_of_run


class Run:
    """A finished run, ready to predict: its recipe, its data's form, its model and its learner."""

    def __init__(self, path: Path | str, rank: int = 0, model: Any = None, dataset: DataSet | None = None) -> None:
        self.rank, self._given = rank, dataset
        self.folder = RunFolder.existing(Path(path))
        self.path = self.folder.path
        self.recipe = self.folder.recipe()
        self.environment: dict[str, Any] = read_environment(self.path / "environment.json")
        if changed := other_own_files(self.environment, self.recipe):
            notice(f"'{self.path}': {changed}; answers may be others than those in result.json")
        self.result: dict[str, Any] = self.folder.result()
        data = self.environment["data"]
        self.form = form = Form(
            data["kind"], tuple(data["classes"]), tuple(data["shape"]), data["steps"], data["form"]["input"],
            data["values"],
        )  # fmt: skip
        own = None if model is None else made(model, self.recipe.seed)
        if own is not None and self.recipe.model.kind != "module":
            refuse("load model", type(own).__name__, f"it left out: the recipe '{self.recipe.name}' makes its own")
        with damaged(f"run '{self.path}'"):
            self._build(form, own)
        self.model.eval()

    def _build(self, form: Form, own: nn.Module | None) -> None:
        """Encoder, model and learner, with what the shipped checkpoint holds."""
        state = load_checkpoint(self.folder.checkpoints, "shipped")
        source = f"checkpoint '{self.folder.checkpoints / 'shipped.json'}'"
        # The hash as written at training time: a later version may know more defaults.
        if state.get("recipe_hash") != self.environment.get("recipe_hash"):
            raise BitspikeError(f"{source}: saved by another recipe")
        self.encoder: Encoder = build_encoder(self.recipe, form)
        self.model = build_model(self.recipe, form, own)
        model_state = state["model"]
        self.model.to("cpu", next(t.dtype for t in model_state.values() if t.is_floating_point()))
        load_model_state(self.model, model_state, source)
        with damaged(source):
            self.temperature, self.noise = float(state["temperature"]), read_noise(state["noise"])
        of_each = self.noise if isinstance(self.noise, list) else [self.noise]
        fits = len(of_each) == (form.values if isinstance(self.noise, list) else 1)
        if not (fits and 0 < self.temperature < math.inf and all(0 <= each < math.inf for each in of_each)):
            raise BitspikeError(f"{source}: temperature {self.temperature:g}, noise {self.noise}")
        self.learner: Learner = build_learner(self.recipe, form, self.model, 1)
        # Runs of earlier versions shipped the ensemble always.
        as_before = self.recipe.evaluation.draws if self.learner.bayesian else 1
        self.draws = int(state.get("samples", as_before))
        """Members of the ensemble as shipped; 0: the most probable weights."""
        if not 0 <= self.draws <= as_before:
            raise BitspikeError(f"{source}: {self.draws} draws shipped, of {as_before}")

    def __repr__(self) -> str:
        """Recipe, data, test figure and what the run answers with."""
        data, test = self.environment["data"], self.result["test"]
        figure = next((f"{name} {test[name]:.4f}" for name in ("accuracy", "rmse") if name in test), "not measured")
        answers = f"an ensemble of {self.draws} draws" if self.draws > 1 else "one network"
        if self.form.task == "classification":
            answers += f", T = {self.temperature:.3g}"
        return f"<Run '{self.path}': {self.recipe.name} on {data['name']}, test {figure}, answers with {answers}>"

    @property
    def dtype(self) -> torch.dtype:
        """That of the network's weights."""
        return next(self.model.parameters()).dtype

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names; empty for regression."""
        return self.form.classes

    def predict(self, x: Any, *, samples: int | None = None, scaled: bool = True, over_time: bool = False) -> Tensor:
        """Class probabilities (N, C), or value and spread (N, 2D), for inputs as the data set gives them.

        x: (N, *shape), (N, T, *shape) or Events, normalised (see `bitspike.data.prepare`). samples: ensemble
        draws (default: as shipped; 0: MAP). scaled: apply the temperature chosen on validation (1: none was).
        over_time: the answer after every step, (T, N, ...). Of a run with sequences of different lengths, x is NaN
        behind a sequence's end, and its answer the one at its last step. Of a run with a class for each step the
        answers are (N, T, C), NaN behind the end.
        """
        samples = self._members("predict samples", samples)
        x, lengths = self._ended(x)
        parts = [self.learner.predict(events, samples, over_time) for events in self._encoded(x, lengths)]
        outputs = self.in_units(torch.cat(parts, 1), scaled)
        if over_time or not self._data_form.get("per_step"):
            return outputs if over_time else outputs[-1]
        return filled(outputs.transpose(0, 1), lengths, torch.nan)

    def _members(self, field: str, samples: int | None) -> int:
        """Draws asked for, or those that are shipped; weights that are not drawn have no more than one."""
        if samples is None:
            return self.draws
        if isinstance(samples, bool) or not isinstance(samples, Integral) or samples < 0:
            refuse(field, samples, "0 (MAP) or more draws")
        if samples > 1 and not self.learner.bayesian:
            refuse(field, samples, "it left out, or 1: this network's weights are not drawn")
        return int(samples)

    def prepare(self, source: Path | str) -> tuple[Any, list[str]]:
        """New examples from a file, a folder of files or "-" (CSV on standard input), as the run's data set reads them.

        Returns them as `predict` takes them, and their names.
        """
        x, names = trait(self.recipe.data.set, "prepare", prepare)(source, self._data_form)
        return x, names

    def record(self, x: Any, *, states: bool = True) -> dict[str, Recording]:
        """Spikes and states of every layer by its name, (T, N, *features), for inputs as `predict` takes them.

        Of Bayesian weights, those of the first draw of the ensemble, or the most probable where these are shipped.
        """
        parts = []
        for events in self._encoded(*self._ended(x)):
            with Monitor(self.model, states=states) as monitor:
                self.learner.predict(events, min(self.draws, 1))
            parts.append(dict(monitor))
        return beside(parts)

    def _encoded(self, x: Any, lengths: Tensor | None) -> Iterator[Tensor]:
        """Checked inputs as the model takes them, a batch at a time."""
        x = self._checked(x)
        for rows in torch.arange(len(x)).split(self.recipe.evaluation.batch):
            events = encode(self.recipe, self.encoder, x[rows], rows, 0).to(self.dtype)
            yield with_lengths(events, None if lengths is None else self.encoder.ends(lengths[rows]))

    def in_units(self, outputs: Tensor, scaled: bool = True) -> Tensor:
        """The learner's outputs (T, N, *) at the chosen temperature, or in the data's own units with their noise."""
        if self.form.task == "classification":
            return metrics.apply_temperature(outputs, self.temperature) if scaled else outputs
        return with_noise(in_data_units(outputs, self._data_form["target"]), self.noise)

    @property
    def seen_shape(self) -> tuple[int, ...]:
        """An example as the encoder is given it."""
        return seen_shape(self.recipe.data, self.form.shape)

    def plan(self, member: int | str | None = None) -> Plan:
        """The network as typed nodes with its encoder and decoder; see `bitspike.models.plan`.

        member: of Bayesian weights, a draw of the ensemble by its number, or "map"; it may be left out where the run
        ships one of these.
        """
        return plan_of_run(self, chosen(self, member))

    def encode(self, x: Any) -> Tensor:
        """Inputs as `predict` takes them, (T, N, *features): what `stream` is fed, slice by slice.

        Of data with a time axis of their own that are the values themselves, time first.
        """
        x = self._checked(x)
        if isinstance(self.encoder, Windows):
            moved: Tensor = x.transpose(0, 1)
            return moved
        return encode(self.recipe, self.encoder, x, torch.arange(len(x)), 0)

    def stream(self, *, samples: int | None = None, scaled: bool = True) -> Stream:
        """Answers while an input still comes in: `stream().feed(x)`, x (T, N, *features) a slice of time of any length.

        They are those of `predict(over_time=True)` at these steps; samples and scaled as there. What is fed is the
        network's input, see `encode`. A hybrid lmu-parallel draws its carries in `predict` anew where each answer's
        read-out begins; in a stream they run on from the first step: as good answers, from other draws.
        """
        samples = self._members("stream samples", samples)
        drawn = self.learner.bayesian and samples > 0
        members: list[int | None] = list(range(samples)) if drawn else [None]
        return Stream(self, members, scaled)

    @property
    def _data_form(self) -> dict[str, Any]:
        form: dict[str, Any] = self.environment["data"]["form"]
        return form

    def _ended(self, x: Any) -> tuple[Any, Tensor | None]:
        """x with zeros behind the ends of its sequences, and their lengths, where the run knows different ones."""
        if not self._data_form.get("lengths"):
            return x, None
        x = as_tensor("predict x", x)
        if x.ndim < 3 or not x.is_floating_point():
            return x, None
        lengths = ends(x)
        if len(lengths) and int(lengths.min()) == 0:
            refuse(f"predict x[{int(lengths.argmin())}]", "a sequence of NaN alone", "at least one step")
        return filled(x, lengths), lengths

    def check_seen(self, x: Any, names: Sequence[str] | None = None) -> None:
        """Refuse examples (called `names`) of which the encoder shows the network nothing."""
        self.encoder.check_seen(x, names)

    def _checked(self, x: Any) -> Any:
        """Inputs as the model takes them, or one line on what is wrong with them."""
        if self.form.input == "events":
            if not hasattr(x, "offsets") or tuple(x.shape) != self.form.shape:
                came = f"Events on a sensor of shape {tuple(x.shape)}" if hasattr(x, "offsets") else type(x).__name__
                refuse("predict x", came, f"Events on a sensor of shape {self.form.shape}")
            x = checked(x, "predict x")
            self.check_seen(x)
            return x
        x = as_tensor("predict x", x)
        shape = (self.form.steps, *self.form.shape) if self.form.steps else self.form.shape
        if tuple(x.shape[1:]) != shape:
            refuse("predict x", tuple(x.shape), f"(N, {', '.join(map(str, shape))})")
        if not x.is_floating_point():
            refuse("predict x", x.dtype, "floating-point values, normalised as in training (see data.prepare)")
        if not bool(torch.isfinite(x).all()):
            refuse("predict x", "values that are not finite", "finite values")
        self.check_seen(x)
        return x

    def dataset(self, data: Path | None = None) -> Any:
        """The run's data set, read again; other data than it was trained on are refused."""
        dataset = load_data(self.recipe, data) if self._given is None else self._given
        if form_of(dataset) != self.form:
            refuse("data", f"{form_of(dataset)}", f"what the run was trained on, {self.form}")
        trained_on = self.environment["data"].get("digests")
        if dict(dataset.digests) != trained_on:
            # Another file, another split: its test part may hold what was trained on.
            refuse("data", f"SHA-256 {dict(dataset.digests)}", f"the data of the run, {trained_on}")
        check_split(self.path / "split.npz", dataset)
        return dataset

    def split(self, part: str, data: Path | None = None) -> Split:
        """A part of the run's data set: train, validation or test."""
        check_name("--split", part, PARTS, "train, validation or test")
        found: Split = getattr(self.dataset(data), part)
        return found

    def batches(self, split: Split, target: dict[str, Any] | None = None) -> Batches:
        """Examples as the network takes them; target: what normalised their values, where these are measured."""
        return Batches(self.recipe, self.encoder, split, torch.device("cpu"), self.dtype, target)

    def evaluate(
        self,
        part: str = "test",
        *,
        file: Path | str | None = None,
        samples: int | None = None,
        step: int | None = None,
        data: Any = None,
    ) -> dict[str, Any]:
        """Metrics on a split of the run's data set, after time step `step` (default: the last).

        file: measure on this labelled file (or on class folders) instead, read as the run's data set was. data: the
        folder of the run's data set; or labelled examples to measure on, as `fit` takes them.
        """
        target, known = self._data_form.get("target"), False
        digests = (self.environment["data"].get("digests") or {}).values()
        if file is not None:
            read, path = trait(self.recipe.data.set, "prepare_labelled", prepare_labelled), Path(file).expanduser()
            split, names = read(file, self._data_form, self.classes)
            self.check_seen(split.x, names)
            # Byte by byte one of those that the run's data set was read from?
            part, known = str(file), path.is_file() and sha256_of_file(path) in digests
        elif data is not None and not isinstance(data, str | Path):
            split, digest = labelled(data, self._data_form, self.classes, "data")
            part, known = "data", digest in digests
        else:
            check_name("--split", part, PARTS, "train, validation or test")
            dataset = self.dataset(None if data is None else Path(data))
            split, target = getattr(dataset, part), dataset.target
        batches = self.batches(split, target)
        outputs, targets = predictions(self.learner, batches, self._members("evaluate samples", samples))
        steps = len(outputs)
        if step is not None and self._data_form.get("per_step"):
            refuse("--time", step, "it left out: this run has an answer for each step, and all are measured")
        if step is not None and not 1 <= step <= steps:
            refuse("--time", step, f"a time step from 1 to {steps}")
        now = outputs[(step or steps) - 1]
        if self.form.task == "regression":
            now = with_noise(now, self.noise)
        bins = self.recipe.evaluation.bins
        reading: dict[str, Any] = dict(summary(self.form.task, now, targets, bins))
        if self.form.task == "classification":
            scaled = metrics.apply_temperature(now, self.temperature)
            reading["scaled"] = {"temperature": self.temperature, **metrics.classification(scaled, targets, bins=bins)}
        found = {"split": part, "examples": len(split), "step": step or steps, "samples": samples, **reading}
        if known:
            these = "this file" if file else "these"
            found["note"] = f"the run was trained on examples of {these}: no measure of new ones"
        return found


def load(path: Path | str, model: nn.Module | Callable[[], nn.Module] | None = None) -> Run:
    """The finished run in folder `path`, ready to predict.

    model: the module of a run of `fit`, or what makes it, where it cannot be imported; its weights become the run's.
    """
    return Run(path, model=model)
