"""The energy account of a finished run, counted again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bitspike.run.evaluation import energy_of
from bitspike.run.finished import Run


def account_again(run: Run, data: Path | None = None) -> dict[str, Any]:
    """The account of a finished run's network, counted again as at the end of training."""
    test = run.batches(run.split("test", data))
    return energy_of(run.recipe, run.learner, test, run.draws).to_dict()
