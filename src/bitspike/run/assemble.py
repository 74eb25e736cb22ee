"""From a recipe and a data set to encoder, model and learner, which the registry finds by name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from bitspike import registry
from bitspike.coding import Encoder
from bitspike.coding.own import own_code, steps_of
from bitspike.errors import refuse
from bitspike.layers import Stepwise
from bitspike.learners import Learner, Optimisation, Schedule
from bitspike.learners.optimisation import OptimiserChoice
from bitspike.models import LocalNetwork
from bitspike.models.setting import Setting
from bitspike.paths import home, is_folder
from bitspike.run.augment import check_augmentation, seen, seen_shape
from bitspike.run.recipe import OptimizerPart, Recipe
from bitspike.weights import drawn_each_step, latent_parameters, quantise


@dataclass(frozen=True)
class Form:
    """What a model must know of its data: the task, classes or value columns, and an example's shape."""

    task: str
    classes: tuple[str, ...]
    shape: tuple[int, ...]
    steps: int | None
    input: str
    values: int = 1

    @property
    def outputs(self) -> int:
        """Number of read-outs: one per class (one for two classes, see `build_model`) or value."""
        return len(self.classes) if self.task == "classification" else self.values


def check_data(data: Path | str | None) -> None:
    """Refuse a data folder that is not there, also for a set that would not look into it."""
    if data is not None and not is_folder(home(data, "--data"), "--data"):
        refuse("--data", f"'{data}'", "an existing folder")


def load_data(recipe: Recipe, folder: Path | None = None) -> Any:
    """The recipe's data set."""
    from bitspike import data

    check_data(folder)
    part = recipe.data
    options = dict(part.options)
    for key in ("name", "folder", "seed"):
        if key in options:
            refuse(f"data.options.{key}", options[key], f"one of {', '.join(data.options(part.set)) or 'no options'}")
    for key in ("validation", "test"):
        if getattr(part, key) is not None:
            options[key] = getattr(part, key)
    if part.folds is None or part.fold is None:
        if part.folds is not part.fold:
            name, other = ("folds", "fold") if part.fold is None else ("fold", "folds")
            refuse(f"data.{name}", getattr(part, name), f"data.{other} beside it (bitspike train --folds gives both)")
    else:
        options["fold"] = (part.fold, part.folds)
    # Seeds of one recipe share their split of real data unless it says so; generated data are drawn anew for each.
    own = data.trait(part.set, "generated", False) or part.split_seed == "seed"
    dataset = data.load(part.set, folder=folder, seed=recipe.seed if own else int(part.split_seed), **options)
    if part.mean_image or part.pixel_range != 1 or part.pixel_low:
        return data.centred(dataset, part.mean_image, part.pixel_range, part.pixel_low)
    return dataset


def form_of(dataset: Any) -> Form:
    """The form of a loaded data set."""
    values = dataset.train.y.shape[1] if dataset.kind == "regression" else 1
    return Form(dataset.kind, tuple(dataset.classes), tuple(dataset.shape), dataset.steps, dataset.input, values)


def check_recipe(recipe: Recipe, dataset: Any) -> list[str]:
    """Refuse what the recipe asks and the data cannot give; returns notes on what is given only in part."""
    regression = dataset.kind == "regression"
    wanted = ("rmse", "nll") if regression else ("nll", "accuracy")
    if recipe.training.criterion not in wanted:
        refuse("training.criterion", f"'{recipe.training.criterion}'", f"one of {', '.join(wanted)} for {dataset.kind}")
    if recipe.data.class_weights and regression:
        refuse("data.class_weights", "true for regression", "false")
    rule = recipe.learner.rule
    if recipe.training.batch == 1 and not registry.trait("learner", rule, "single", False):
        refuse("training.batch", 1, f"2 or more with learner.rule '{rule}'")
    _check_sequences(recipe, dataset)
    x = dataset.train.x
    check_augmentation(recipe.data, x, dataset.steps)
    notes = []
    if dataset.lengths:
        notes.append("operations and energy are counted over all steps, also behind the ends of shorter sequences")
    return notes + build_encoder(recipe, form_of(dataset)).notes(dataset)


def _check_sequences(recipe: Recipe, dataset: Any) -> None:
    """Refuse what a network cannot do with classes for each step, or with sequences of different lengths."""
    learner, model = recipe.learner, recipe.model
    if dataset.per_step:
        if registry.trait("model", model.kind, "answers_once", False):
            came = f"'{model.kind}' with a class for each step"
            refuse("model.kind", came, "'feedforward', which answers at each")
        if (stride := getattr(recipe.encoder, "stride", 1)) != 1:
            refuse("encoder.stride", f"{stride} with a class for each step", "1: the network has a step for each")
        if (decoder := getattr(learner, "decoder", "last")) != "last":
            came = f"'{decoder}' with a class for each step"
            refuse("learner.decoder", came, "'last': an answer for each step")
    if dataset.lengths:
        encoder = build_encoder(recipe, form_of(dataset))
        parts = (dataset.train, dataset.validation, dataset.test)
        shortest = min(int(encoder.ends(part.lengths).min()) for part in parts)
        if getattr(model, "norm", None) == "bntt":
            refuse("model.norm", "'bntt' with sequences of different lengths", "'batch', or one length")
        if getattr(model, "hybrid", None) is not None:
            refuse("model.hybrid", "given, with sequences of different lengths", "it left out, or one length")
        if (burn_in := getattr(learner, "burn_in", 0)) >= shortest:
            refuse("learner.burn_in", burn_in, f"fewer than the {shortest} steps of the shortest sequence")
        if (read := getattr(model, "read", 1)) > shortest:
            refuse("model.read", read, f"at most the {shortest} steps of the shortest sequence")


def build_encoder(recipe: Recipe, form: Form) -> Encoder:
    """The encoder, checked against what the data set gives."""
    name = recipe.encoder.name
    given = "events" if form.input == "events" else "sequence" if form.steps else "values"
    takes = {known: getattr(made, "takes", "values") for known, made in registry.classes("encoder").items()}
    if takes[name] != given:
        fitting = [repr(known) for known, what in takes.items() if what == given]
        refuse("encoder.name", f"'{name}' for data with {given}", f"one of {', '.join(fitting)}")
    encoder: Encoder = registry.make(recipe.encoder, shape=seen_shape(recipe.data, form.shape))
    steps_of(encoder, name)
    if form.steps and encoder.reads != form.steps:
        refuse("encoder.steps", encoder.reads, f"the data's {form.steps} time steps")
    return encoder


def encode(recipe: Recipe, encoder: Encoder, x: Any, index: Tensor, epoch: int) -> Tensor:
    """Events (T, B, *features) of examples `index`; epoch 0 is the draw used for validation and test."""
    name, keys = recipe.encoder.name, (recipe.seed, "encode", 0 if encoder.frozen else epoch)
    if registry.entry("encoder", name).is_own:
        return own_code(encoder, name, seen(recipe.data, x), index, *keys)
    return encoder(seen(recipe.data, x), index, *keys)


def setting_of(recipe: Recipe, form: Form, own: nn.Module | None = None) -> Setting:
    """What the recipe's network is built for; own: the module that it is."""
    encoder = build_encoder(recipe, form)
    shape, compute = encoder.features(seen_shape(recipe.data, form.shape)), recipe.compute
    binary = registry.trait("precision", recipe.weights.precision, "has_latents", True)
    kinds = (form.task, recipe.seed, encoder.emits, compute.back_end, compute.products, binary)
    return Setting(shape, form.outputs, encoder.steps, *kinds, own)


def build_model(recipe: Recipe, form: Form, own: nn.Module | None = None) -> nn.Module:
    """The network with its weight precision; a function of the recipe (its seed included) and the data's form.

    own: the module that a recipe of a module of one's own is about; None: made anew by the recipe's import path.
    """
    weights, kind = recipe.weights, recipe.model.kind
    latents = registry.trait("precision", weights.precision, "has_latents", True)
    if latents and registry.trait("model", kind, "real_weights", False):
        refuse("weights.precision", f"'{weights.precision}' with model.kind '{kind}'", "'full'")
    learner = registry.find("learner", recipe.learner.rule)
    model: nn.Module = learner.network(recipe.learner, recipe.model, setting_of(recipe, form, own))
    if latents and not latent_parameters(model):
        # Layers of ours are fresh: their signs are drawn with the latents.
        biases = getattr(weights, "biases", False)
        start: Any = "draw" if own is None else "signs"
        quantise(model, lambda: registry.make(weights), recipe.seed, "latent", biases=biases, start=start)
    if drawn_each_step(model):
        _check_steps(model)
    return model


def begins_otherwise(recipes: Sequence[Recipe], form: Form) -> str | None:
    """The first tensor that new networks of these recipes begin with differently."""
    first, *others = (build_model(recipe, form).state_dict() for recipe in recipes)
    for other in others:
        for name, tensor in other.items():
            if name not in first or not torch.equal(tensor, first[name]):
                return name
    return None


def _check_steps(model: nn.Module) -> None:
    """Refuse layers that run over all steps with one draw of their weights."""
    if isinstance(model, LocalNetwork):
        return
    stepped = {id(module.layer) for module in model.modules() if isinstance(module, Stepwise)}
    for name, module in model.named_modules():
        if parametrize.is_parametrized(module) and id(module) not in stepped:
            came = f"'step' with layer '{name}', whose loop over time takes one draw"
            refuse("weights.redraw", came, "'pass', or dense layers, convolutions and local ones")


def updates_per_batch(recipe: Recipe, encoder: Encoder) -> int:
    """Updates that the recipe's learner makes of one batch."""
    updates: int = registry.find("learner", recipe.learner.rule).updates_per_batch(recipe.learner, encoder.steps)
    return updates


def build_learner(
    recipe: Recipe,
    form: Form,
    model: nn.Module,
    total_updates: int,
    class_weights: Tensor | None = None,
    epochs: int = 1,
) -> Learner:
    """The learner around a model, for `total_updates` in `epochs`."""
    rule = recipe.learner.rule
    if class_weights is not None and not registry.takes("learner", rule, "class_weights"):
        came = f"true with learner.rule '{rule}', whose __init__ takes none"
        refuse("data.class_weights", came, "false, or a rule that weighs its loss by them")
    schedule = Schedule(**dict(recipe.schedule))

    def choice(part: OptimizerPart) -> OptimiserChoice:
        lr = part.lr if part.lr_sum is None else schedule.rate_for(part.lr_sum, total_updates)
        return OptimiserChoice(part.name, lr, part.options, part.decay)

    latent = None if recipe.latent_optimizer is None else choice(recipe.latent_optimizer)
    given: dict[str, Any] = {"model": model, "task": form.task, "seed": recipe.seed, "class_weights": class_weights}
    given["optimisation"] = Optimisation(model, choice(recipe.optimizer), latent, schedule, total_updates)
    learner: Learner = registry.make(recipe.learner, model_options=recipe.model, epochs=epochs, **given)
    return learner


def check_learner(recipe: Recipe, form: Form, learner: Learner) -> None:
    """Refuse one that keeps its parent's task or seed: it would learn something else, or draw alike for all seeds."""
    for name, wanted in (("task", form.task), ("seed", recipe.seed)):
        if (came := getattr(learner, name)) != wanted:
            field = f"learner.rule '{recipe.learner.rule}': its {name}"
            refuse(field, came, f"{wanted}, which its __init__ is given and hands on to Learner's")
