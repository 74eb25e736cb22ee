"""Which kernels a recipe's network takes, on one training batch of its own data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from bitspike.models.explain import Explained, explain_backend
from bitspike.run.assemble import build_encoder, build_learner, build_model, check_recipe, form_of, load_data
from bitspike.run.batches import Batches
from bitspike.run.recipe import Recipe


def explain_recipe(recipe: Recipe, data: Path | None = None) -> list[Explained]:
    """One row per time loop and product, in order of execution; see `models.explain`."""
    dataset: Any = load_data(recipe, data)
    check_recipe(recipe, dataset)
    form = form_of(dataset)
    model = build_model(recipe, form)
    learner = build_learner(recipe, form, model, 1)
    batches = Batches(recipe, build_encoder(recipe, form), dataset.train, torch.device("cpu"), torch.float32)
    events = batches.batch(1, 0).events
    return explain_backend(model, events, lambda: learner.predict(events, 1))
