"""A recipe: everything that decides a run, as one strict typed object.

Here is its frame; the tables of the things that it names (encoder, model, weights, learner) are those of the registry
(`bitspike.tables`). The text under a field is its documentation. An unknown or wrong key is refused with its path and
the nearest right name. `recipe_hash` is the SHA-256 of the resolved recipe without its seed: runs of one recipe differ
only by seed.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from bitspike.options import Count, Free, Options, Positive, Unread
from bitspike.registry import trait
from bitspike.tables.chosen import Chosen, usual
from bitspike.tables.federation import Federation
from bitspike.tables.population import Population

# Measurements on validation where a recipe counts updates: an epoch of a small set is over in a few.
MEASUREMENTS = 40


def _one_of(part: Options, key: str, instead: str) -> None:
    """Refuse a `key` that another one stands in for; a stored recipe holds its default."""
    value, default = getattr(part, key), type(part).model_fields[key].default
    if getattr(part, instead) is not None and value != default:
        raise ValueError(f"{key} = {value} beside {instead} = {getattr(part, instead)}: wanted one of the two")


class DataPart(Options):
    """Which examples."""

    set: str
    """Name of a data set, one of those that `bitspike doctor` lists."""
    validation: float | int | None = None
    """Validation part: a fraction below 1 or a number of examples; the set's default if left out."""
    test: float | None = None
    """Test fraction, for sets without an official test split."""
    split_seed: Annotated[int, Field(ge=0)] | Literal["seed"] = 0
    """Seed of the split of real data: a number, so that all seeds of a recipe share it, or "seed": the recipe's own."""
    folds: Annotated[int, Field(ge=2)] | None = None
    """Cross-validation: all examples, a test file's too, are divided into this many test parts (`--folds`)."""
    fold: Count | None = None
    """The one of `folds`, from 1, that is tested."""
    shift: Annotated[int, Field(ge=0)] = 0
    """Training images are shifted by up to this many pixels in each direction."""
    flip: bool = False
    """Half of the training images, drawn anew in each epoch, are seen in a mirror."""
    crop: Annotated[int, Field(ge=0)] = 0
    """Images are seen through a window of this side: at a place drawn anew in training, in the middle otherwise."""
    mean_image: bool = False
    """The mean training image is subtracted from every image."""
    pixel_range: Positive = 1.0
    """The brightest pixel (before `mean_image`); 255 gives the raw values of 8-bit images."""
    pixel_low: float = 0.0
    """The darkest pixel (before `mean_image`); -1 gives pixels from -1 to 1."""
    class_weights: bool = False
    """Weigh the loss by inverse class frequency, for unbalanced sets."""
    options: Free = Field(default_factory=dict)
    """Options of the data set itself, such as `path` of a folder or `train_size`."""

    def unread(self, recipe: Any) -> Iterator[Unread]:
        """How data are split that are drawn anew for each seed; what is said twice."""
        for key in {"validation", "test"} & self.options.keys():
            yield (key,), f"data.options.{key} beside it"
        if trait("data", self.set, "generated", False):
            yield ("split_seed",), f"data.set '{self.set}', which the recipe's seed draws"


class OptimizerPart(Options):
    """A torch optimiser."""

    name: str = "Adam"
    """A class of torch.optim."""
    lr: Positive = 1e-3
    """Learning rate, times the schedule's factor."""
    lr_sum: Positive | None = None
    """In place of `lr`: the sum of the learning rates of all updates, so that a latent weight can travel as far in few
    updates as in many; `lr` is then what the schedule and the number of updates leave of it."""
    options: Free = Field(default_factory=dict)
    """Its other arguments, such as `weight_decay` or `betas`."""
    decay: dict[str, Annotated[float, Field(ge=0)]] = Field(default_factory=dict)
    """Weight decay by path of a layer (wildcards allowed), in the place of the options'; biases keep theirs."""

    @model_validator(mode="after")
    def _one_rate(self) -> OptimizerPart:
        _one_of(self, "lr", "lr_sum")
        return self

    def unread(self, recipe: Any) -> Iterator[Unread]:
        """A rule with updates of its own has no optimiser."""
        if trait("learner", recipe.learner.rule, "own_rate", False):
            yield type(self).model_fields, f"learner.rule '{recipe.learner.rule}', which has learner.rate"


class SchedulePart(Options):
    """Learning rate over training."""

    kind: Literal["constant", "one-cycle", "cosine", "step", "drops"] = "constant"
    """How the learning rate changes."""
    warmup: Annotated[float, Field(gt=0, lt=1)] = 0.2
    """one-cycle: share of training in which it rises."""
    end: Annotated[float, Field(ge=0, le=1)] = 1e-3
    """one-cycle, cosine: its factor at the end."""
    halvings: Count = 5
    """step: how often it is halved."""
    drop: Positive = 0.2
    """drops: what it is multiplied with each time."""
    at: list[Annotated[float, Field(gt=0, lt=1)]] = Field(default_factory=lambda: [0.33, 0.66])
    """drops: the shares of training after which that is done."""

    def unread(self, recipe: Any) -> Iterator[Unread]:
        """What another kind reads."""
        known = {"one-cycle": ("warmup", "end"), "cosine": ("end",), "step": ("halvings",), "drops": ("drop", "at")}
        others = {name for names in known.values() for name in names} - set(known.get(self.kind, ()))
        yield others, f"schedule.kind '{self.kind}'"


class TrainingPart(Options):
    """How long, in what batches, and which epoch is kept."""

    epochs: Count = 10
    """Passes over the training examples."""
    updates: Count | None = None
    """In place of `epochs`: as many whole epochs as it takes to make this many updates, whatever the set's size."""
    validate_every: Count | None = None
    """Epochs (rounds of a federation) between two measurements on validation; left out: 1, or with `updates` so many
    that there are about 40."""
    patience: Count | None = None
    """With keep = "best": training stops when this many measurements on validation in a row bring nothing better."""
    batch: Annotated[int, Field(ge=1, le=10**12)] = 64
    """Examples of an update."""
    keep: Literal["last", "best"] = "last"
    """The epoch shipped: the last, or the best on validation (`criterion`)."""
    criterion: Literal["nll", "accuracy", "rmse"] = "nll"
    """What is measured on validation to say which epoch is best."""
    checkpoint_seconds: Annotated[float, Field(ge=0)] = 10.0
    """Least time between two checkpoints; 0 saves after every update."""

    def unread(self, recipe: Any) -> Iterator[Unread]:
        """A federation counts rounds, and is saved after so many."""
        if recipe.federation is not None:
            counts = ("epochs", "updates", "checkpoint_seconds")
            yield counts, "[federation], which counts rounds (federation.rounds, federation.epochs)"
        if recipe.population is not None:
            yield ("keep", "patience", "criterion", "checkpoint_seconds"), "[population], whose members end together"

    @model_validator(mode="after")
    def _consistent(self) -> TrainingPart:
        if self.patience is not None and self.keep != "best":
            raise ValueError(f"patience = {self.patience} wants keep = 'best', not '{self.keep}'")
        _one_of(self, "epochs", "updates")
        return self

    def span(self, per_epoch: int) -> tuple[int, int]:
        """(epochs, epochs between two measurements on validation) where an epoch makes `per_epoch` updates."""
        epochs = self.epochs if self.updates is None else math.ceil(self.updates / per_epoch)
        every = self.validate_every or (1 if self.updates is None else max(1, round(epochs / MEASUREMENTS)))
        return epochs, every


class EvaluationPart(Options):
    """How the network is measured."""

    draws: Count = 10
    """Members of a Bayesian ensemble."""
    ship: Literal["auto", "ensemble", "map"] = "auto"
    """What a network with Bayesian weights answers with: an ensemble of `draws` or its most probable weights;
    auto: what did better on validation (see `run.shipping`)."""
    validation_draws: Count = 3
    """Members during training."""
    bins: Annotated[int, Field(ge=2)] = 15
    """Bins of the calibration error."""
    batch: Count = 500
    """Examples that are answered at once."""
    energy_examples: Count = 500
    """Test examples on which operations are counted."""


class ComputePart(Options):
    """On what a network runs; the experiment stays the same."""

    back_end: Literal["auto", "reference", "cpu", "cuda"] = "auto"
    """Of the time loops; one that is asked for and cannot run is an error."""
    products: Literal["exact", "fast", "float32"] = "exact"
    """Products of spikes and binary weights: exact where provable and never worse than float32 by more than a
    factor of two; fast: reduced precision in the backward pass, and bfloat16 in the loops of recurrent cells where the
    processor has it; float32: plain."""

    def unread(self, recipe: Any) -> Iterator[Unread]:
        """Local rules step their own layers and loops."""
        if trait("learner", recipe.learner.rule, "own_loops", False):
            yield type(self).model_fields, f"learner.rule '{recipe.learner.rule}', which has loops of its own"


class Recipe(Options):
    """One experiment."""

    name: str
    """Name of the recipe, and of its run folder."""
    about: str = ""
    """A line about it."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Of every random number."""
    data: DataPart
    encoder: Annotated[Any, Chosen("encoder")] = usual("encoder")
    model: Annotated[Any, Chosen("model")]
    weights: Annotated[Any, Chosen("precision")] = usual("precision")
    learner: Annotated[Any, Chosen("learner")] = usual("learner")
    optimizer: OptimizerPart = OptimizerPart()
    latent_optimizer: OptimizerPart | None = None
    schedule: SchedulePart = SchedulePart()
    training: TrainingPart = TrainingPart()
    evaluation: EvaluationPart = EvaluationPart()
    compute: ComputePart = ComputePart()
    federation: Federation | None = None
    """How it is learned by clients that keep their data (`bitspike federate`); left out: by one, as ever."""
    population: Population | None = None
    """How many learn it side by side and which hyperparameters are searched (`bitspike tune`); left out: one does."""

    def unread(self, recipe: Any) -> Iterator[Unread]:
        """An optimiser of latent weights that there are none of."""
        if not trait("precision", self.weights.precision, "has_latents", True):
            yield ("latent_optimizer",), f"weights.precision '{self.weights.precision}'"

    def resolved(self) -> dict[str, Any]:
        """Every field with its value, defaults filled in, as plain data without empty entries."""
        data: dict[str, Any] = self.model_dump(mode="json", exclude_none=True)
        return data

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled as plain data: tables of options may be classes made on the way."""
        return Recipe.model_validate, (self.resolved(),)

    def recipe_hash(self) -> str:
        """SHA-256 of what the recipe says beyond defaults, without seed and `compute`.

        Defaults are left out, so that a field that a later version adds leaves earlier recipes their hash.
        """
        data = self.model_dump(mode="json", exclude_defaults=True, exclude={"seed", "compute"})
        return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()
