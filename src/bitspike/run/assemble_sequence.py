"""From a recipe to a recurrent network, and to the schedules of its step sizes."""

from __future__ import annotations

import torch
from torch import nn

from bitspike.cells import LMU, ParallelLMU
from bitspike.errors import refuse
from bitspike.models.sequence import Gated, SequenceNetwork
from bitspike.neurons import StepSchedule, TemporalQuantiser
from bitspike.run.recipe import GatedPart, HybridPart, LMUPart, ParallelLMUPart, Recipe


def build_sequence(recipe: Recipe, features: tuple[int, ...], outputs: int) -> nn.Module:
    """The network of a recipe whose model reads a sequence of `features` (F,)."""
    part, keys = recipe.model, (recipe.seed, "init")
    if len(features) != 1:
        refuse("model.kind", f"'{part.kind}' on inputs of shape {features}", "one vector per time step")
    for field, came, wanted in (
        ("learner.rule", recipe.learner.rule, "backprop"),
        ("weights.precision", recipe.weights.precision, "full"),
    ):
        if came != wanted:
            refuse(field, f"'{came}' with model.kind '{part.kind}'", f"'{wanted}'")
    cell: nn.Module
    if isinstance(part, GatedPart):
        cell = Gated(part.kind, features[0], part.hidden, keys, recipe.compute.back_end, recipe.compute.products)
    elif isinstance(part, LMUPart):
        memory, spikes = _quantisers(recipe, part.hybrid, part.signals * part.order)
        cell = LMU(
            features[0], part.hidden, part.order, part.window, part.signals, part.bias, memory, spikes,
            own_leak=part.hybrid is not None and part.hybrid.own_leak,
            memory_range=None if part.hybrid is None else part.hybrid.memory_range,
            normalise=part.normalise, keys=keys, back_end=recipe.compute.back_end, products=recipe.compute.products,
        )  # fmt: skip
    elif isinstance(part, ParallelLMUPart):
        memory, spikes = _quantisers(recipe, part.hybrid, part.signals * part.order, part.nonlinearity)
        cell = ParallelLMU(
            features[0], part.hidden, part.order, part.window, part.signals, part.nonlinearity, memory, spikes, keys
        )
    else:
        raise TypeError(f"no sequence network for {type(part).__name__}")
    return SequenceNetwork(cell, outputs, part.read, keys)


def _quantisers(
    recipe: Recipe, part: HybridPart | None, units: int, nonlinearity: str = "tanh"
) -> tuple[TemporalQuantiser | None, TemporalQuantiser | None]:
    """Those of the memory, for `units` with a root-mean-square of 1, and of the hidden units."""
    if part is None:
        return None, None
    memory = TemporalQuantiser(
        torch.full((units,), part.memory_limit / part.memory_range), keys=(recipe.seed, "memory"),
        limit=part.memory_limit, mode=part.mode,
    )  # fmt: skip
    spikes = TemporalQuantiser(
        part.hidden_limit / part.hidden_range, nonlinearity, keys=(recipe.seed, "hidden"), limit=part.hidden_limit,
        mode=part.mode,
    )  # fmt: skip
    return memory, spikes


def step_schedules(recipe: Recipe, epochs: int) -> dict[str, StepSchedule]:
    """Module path to schedule over `epochs`, for the learner."""
    hybrid = getattr(recipe.model, "hybrid", None)
    if hybrid is None:
        return {}
    return {
        path: StepSchedule(hybrid.kind, start, 1.0, hybrid.hold, hybrid.per, epochs)
        for path, start in (("cell.memory", hybrid.memory_start), ("cell.spikes", hybrid.hidden_start))
    }
