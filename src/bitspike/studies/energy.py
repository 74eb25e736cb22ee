"""The energy account of a finished run, counted again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from bitspike.run.batches import Batches
from bitspike.run.energy import energy_of
from bitspike.run.finished import Run


def account_again(run: Run, data: Path | None = None) -> dict[str, Any]:
    """The account of a finished run's network, counted again as at the end of training."""
    dataset = run.dataset(data)
    dtype = next(run.model.parameters()).dtype
    test = Batches(run.recipe, run.encoder, dataset.test, torch.device("cpu"), dtype, dataset.target)
    return energy_of(run.recipe, run.learner, test, run.draws).to_dict()
