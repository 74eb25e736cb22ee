"""A model in evaluation for a while, every module of it in its own mode again afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation in the block; a part that was frozen in evaluation before stays so, whatever happens."""
    # What a converted network was made of shares its layers.
    wholes = [model, *(whole for m in model.modules() if isinstance(whole := m.__dict__.get("original"), nn.Module))]
    modes = {module: module.training for whole in wholes for module in whole.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode
