"""From a recipe and a data set to encoder, model and learner: the only place that knows their names."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bitspike.coding import ENCODERS, Encoder
from bitspike.coding.events import unseen
from bitspike.coding.population import outside
from bitspike.errors import refuse
from bitspike.learners import BackpropLearner, Learner, OnlineLearner, Optimisation, Schedule
from bitspike.learners.optimisation import OptimiserChoice
from bitspike.models import LocalNetwork, feedforward, local_network
from bitspike.neurons import CURVES, NEURONS, STATIC, Noise, SoftNeuron, Static, Surrogate
from bitspike.run.assemble_sequence import build_sequence, step_schedules
from bitspike.run.augment import check_augmentation, seen, seen_shape
from bitspike.run.foreign import BAYESIAN_FIELDS, NEURON_FIELDS
from bitspike.run.recipe import ModelPart, NeuronPart, OptimizerPart, Recipe, WeightsPart
from bitspike.weights import BayesianBinary, Precision, StraightThrough, quantise

GENERATED = ("two-moons", "regression-1d", "mackey-glass")


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


def load_data(recipe: Recipe, folder: Path | None = None) -> Any:
    """The recipe's data set."""
    from bitspike import data

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
    own = part.set in GENERATED or part.split_seed == "seed"
    dataset = data.load(part.set, folder=folder, seed=recipe.seed if own else int(part.split_seed), **options)
    if part.mean_image or part.pixel_range != 1:
        return data.centred(dataset, part.mean_image, part.pixel_range)
    return dataset


def form_of(dataset: Any) -> Form:
    """The form of a loaded data set."""
    values = dataset.train.y.shape[1] if dataset.kind == "regression" else 1
    return Form(
        dataset.kind, tuple(dataset.classes), tuple(dataset.shape), dataset.steps, dataset.form["input"], values
    )


def check_recipe(recipe: Recipe, dataset: Any) -> list[str]:
    """Refuse what the recipe asks and the data cannot give; returns notes on what is given only in part."""
    regression = dataset.kind == "regression"
    wanted = ("rmse", "nll") if regression else ("nll", "accuracy")
    if recipe.training.criterion not in wanted:
        refuse("training.criterion", f"'{recipe.training.criterion}'", f"one of {', '.join(wanted)} for {dataset.kind}")
    if recipe.data.class_weights and regression:
        refuse("data.class_weights", "true for regression", "false")
    _check_sequences(recipe, dataset)
    x = dataset.train.x
    check_augmentation(recipe.data, x)
    notes = []
    if dataset.lengths:
        notes.append("operations and energy are counted over all steps, also behind the ends of shorter sequences")
    if recipe.encoder.name == "population" and isinstance(x, Tensor):
        if outside(x) > 0:
            came = f"'population', and training values from {float(x.min()):.4g} to {float(x.max()):.4g}"
            refuse("encoder.name", came, "values in [0, 1]: outside it fades out (data.options.normalise = 'minmax')")
        for part in ("validation", "test"):
            if share := outside(getattr(dataset, part).x):
                notes.append(f"{share:.1%} of the {part} values lie outside [0, 1]: the population code fades there")
    if recipe.encoder.name == "events" and not isinstance(x, Tensor):
        seen = recipe.encoder.steps * recipe.encoder.dt
        late = float((x.t >= seen * 1000).double().mean()) if len(x.t) else 0.0
        if late > 0.01:
            notes.append(f"{late:.0%} of the events come after steps * dt = {seen:g} ms and are not seen")
        for part in ("train", "validation", "test"):
            recordings = getattr(dataset, part).x
            empty = unseen(recordings, recipe.encoder.steps, recipe.encoder.dt * 1000)
            if len(empty) and len(empty) == len(recordings):
                first = int(recordings.t.min()) / 1000
                came = f"{seen:g} ms (steps * dt), and no {part} recording has an event before {first:,.1f} ms"
                refuse("encoder", came, "a window with events in it")
            if len(empty):
                notes.append(
                    f"{len(empty):,} of {len(recordings):,} {part} recordings have no event before {seen:g} ms"
                )
    return notes


def _check_sequences(recipe: Recipe, dataset: Any) -> None:
    """Refuse what a network cannot do with classes for each step, or with sequences of different lengths."""
    once = not isinstance(recipe.model, ModelPart)
    if dataset.per_step:
        if once:
            refuse(
                "model.kind",
                f"'{recipe.model.kind}' with a class for each step",
                "'feedforward', which answers at each",
            )
        if (stride := getattr(recipe.encoder, "stride", 1)) != 1:
            refuse("encoder.stride", f"{stride} with a class for each step", "1: the network has a step for each")
        if recipe.learner.decoder != "last":
            came = f"'{recipe.learner.decoder}' with a class for each step"
            refuse("learner.decoder", came, "'last': an answer for each step")
        if (stride := getattr(recipe.encoder, "stride", 1)) != 1:
            refuse("encoder.stride", f"{stride} with a class for each step", "1: an answer for each step")
    if dataset.lengths:
        encoder = build_encoder(recipe, form_of(dataset))
        parts = (dataset.train, dataset.validation, dataset.test)
        shortest = min(int(encoder.ends(part.lengths).min()) for part in parts)
        if getattr(recipe.model, "hybrid", None) is not None:
            refuse("model.hybrid", "given, with sequences of different lengths", "it left out, or one length")
        if recipe.learner.rule == "online" and recipe.learner.burn_in >= shortest:
            refuse(
                "learner.burn_in", recipe.learner.burn_in, f"fewer than the {shortest} steps of the shortest sequence"
            )
        if (read := getattr(recipe.model, "read", 1)) > shortest:
            refuse("model.read", read, f"at most the {shortest} steps of the shortest sequence")


def build_encoder(recipe: Recipe, form: Form) -> Encoder:
    """The encoder, checked against what the data set gives."""
    options = recipe.encoder.model_dump(exclude={"name", "frozen"})
    if recipe.encoder.name == "pixels":
        if form.input == "events" or form.steps:
            refuse("encoder.name", "'pixels' for data with a time axis of its own", "images or values")
        options["shape"] = seen_shape(recipe.data, form.shape)
    encoder = ENCODERS[recipe.encoder.name](**options)
    given = "events" if form.input == "events" else "sequence" if form.steps else "values"
    if encoder.takes != given:
        fitting = {
            "events": "'events'",
            "sequence": "'sequence' or 'windows'",
            "values": "'direct', 'rate', 'latency', 'population' or 'pixels'",
        }
        refuse("encoder.name", f"'{recipe.encoder.name}' for data with {given}", fitting[given])
    if form.steps and encoder.reads != form.steps:
        refuse("encoder.steps", encoder.reads, f"the data's {form.steps} time steps")
    return encoder


def encode(recipe: Recipe, encoder: Encoder, x: Any, index: Tensor, epoch: int) -> Tensor:
    """Events (T, B, *features) of examples `index`; epoch 0 is the draw used for validation and test."""
    frozen = getattr(recipe.encoder, "frozen", True)
    return encoder(seen(recipe.data, x), index, recipe.seed, "encode", 0 if frozen else epoch)


def _spike(part: NeuronPart) -> Surrogate:
    return Surrogate(**part.surrogate.model_dump())


def _neuron(part: NeuronPart, back_end: str) -> nn.Module:
    if part.kind in STATIC:
        return Static(part.kind)
    if part.kind in CURVES:
        soft = part.soft
        rate = CURVES[part.kind](soft.tau_ref, soft.tau_rc, soft.gamma, soft.amplitude, soft.gain)
        unit = SoftNeuron(rate, Noise(soft.noise, soft.sigma, soft.tau_s))
        unit.back_end = back_end
        return unit
    fields: dict[str, Any] = {name: getattr(part, name) for name in NEURON_FIELDS[part.kind]}
    neuron = NEURONS[part.kind](surrogate=_spike(part), **fields)
    neuron.back_end = back_end
    return neuron


def _precision(part: WeightsPart) -> Callable[[], Precision] | None:
    start: dict[str, Any] = {"init": part.init, "init_at_ends": part.init_at_ends}
    if part.precision == "straight-through":
        return lambda: StraightThrough(clip=part.clip, **start)
    if part.precision == "bayesian":
        own = part.model_dump(include=set(BAYESIAN_FIELDS))
        return lambda: BayesianBinary(**own, **start)
    return None


def build_model(recipe: Recipe, form: Form) -> nn.Module:
    """The network with its weight precision; a function of the recipe (its seed included) and the data's form."""
    encoder = build_encoder(recipe, form)
    shape = encoder.features(seen_shape(recipe.data, form.shape))
    part = recipe.model
    if not isinstance(part, ModelPart):
        return build_sequence(recipe, shape, form.outputs)
    neuron = part.neuron
    # Two classes need one read-out in the paper's rule: sigmoid(r) is the probability of class 1.
    online = recipe.learner.rule == "online"
    outputs = 1 if online and form.task == "classification" and form.outputs == 2 else form.outputs
    model: nn.Module
    if online:
        if recipe.learner.burn_in >= encoder.steps:
            refuse("learner.burn_in", recipe.learner.burn_in, f"fewer than the {encoder.steps} time steps")
        if neuron.kind != "bisnn":
            refuse("model.neuron.kind", f"'{neuron.kind}'", "'bisnn' with the online rule")
        if len(shape) != 3 and any("c" in layer for layer in part.layers):
            refuse("model.layers", part.layers, f"dense layers on inputs of shape {shape}")
        flat = (math.prod(shape),) if not part.layers or "c" not in part.layers[0] else shape
        taus = neuron.model_dump(include={"tau_mem", "tau_syn", "tau_ref"})
        keys = (recipe.seed, "init")
        model = local_network(flat, outputs, part.layers, bias=part.bias, surrogate=_spike(neuron), keys=keys, **taus)
    else:
        model = feedforward(
            shape,
            outputs,
            part.layers,
            lambda: _neuron(neuron, recipe.compute.back_end),
            part.norm,
            (recipe.seed, "init"),
            encoder.emits,
            recipe.compute.products,
            part.deviations,
            part.norm_gain,
        )
        if neuron.kind in STATIC or neuron.kind in CURVES:
            # Real convolutions are a good quarter faster with channels last; time loops want them first.
            placed: Any = model
            model = placed.to(memory_format=torch.channels_last)
    make = _precision(recipe.weights)
    if make is not None:
        # The layers are fresh: their signs are drawn with the latents.
        quantise(model, make, recipe.seed, "latent", biases=recipe.weights.biases, start="draw")
    return model


def build_learner(
    recipe: Recipe,
    form: Form,
    model: nn.Module,
    total_updates: int,
    class_weights: Tensor | None = None,
    epochs: int = 1,
) -> Learner:
    """The learner around a model, for `total_updates` in `epochs`."""
    schedule = Schedule(**recipe.schedule.model_dump())

    def choice(part: OptimizerPart) -> OptimiserChoice:
        lr = part.lr if part.lr_sum is None else schedule.rate_for(part.lr_sum, total_updates)
        return OptimiserChoice(part.name, lr, part.options, part.decay)

    latent = None if recipe.latent_optimizer is None else choice(recipe.latent_optimizer)
    optimisation = Optimisation(model, choice(recipe.optimizer), latent, schedule, total_updates)
    part = recipe.learner
    common: dict[str, Any] = {"rho": part.rho, "decoder": part.decoder, "class_weights": class_weights}
    if part.rule == "online" and isinstance(model, LocalNetwork):
        loss = "cross-entropy" if part.loss == "final" else part.loss
        return OnlineLearner(
            model,
            optimisation,
            form.task,
            recipe.seed,
            burn_in=part.burn_in,
            loss=loss,
            **common,
        )
    return BackpropLearner(
        model, optimisation, form.task, recipe.seed, loss=part.loss, draws=part.draws, clip=part.clip,
        steps=step_schedules(recipe, epochs), feed_forward=getattr(recipe.model, "feed_forward", 0.0), **common
    )  # fmt: skip
