"""The session of a server: its epochs are rounds."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from bitspike.run.evaluation import predictions
from bitspike.run.outputs import fit_noise, summary, with_noise
from bitspike.run.session import Session


class Measured(Session):
    """The server's session: each of its epochs is a round. It keeps what a round's measurement says by class."""

    right: list[float] | None = None
    """Share of right answers among the examples of each class; NaN of one without an example."""

    def restore(self, state: Mapping[str, Any], source: str = "snapshot") -> None:
        """As any session; but there may be no sums since the last measurement, where nobody has answered."""
        epoch = state.get("epoch")
        between = isinstance(epoch, int) and epoch < self.epochs and epoch % self.validate_every > 0
        if not between or state.get("sums"):
            super().restore(state, source)
            return
        super().restore({**state, "sums": {"examples": 1.0, "loss": 0.0}}, source)
        self.sums = {}

    def validate(self) -> dict[str, float]:
        """Metrics on validation, or on the first `federation.measured` examples of it."""
        recipe, learner, batches = self.recipe, self.learner, self.validation
        most = recipe.federation.measured if recipe.federation is not None else None
        outputs, targets = predictions(learner, batches, recipe.evaluation.validation_draws, most)
        last = outputs[-1]
        if learner.task == "regression":
            last = with_noise(last, fit_noise(last, targets))
        else:
            hits = (last.argmax(-1) == targets).double()
            of_class = [hits[targets == one] for one in range(last.shape[-1])]
            self.right = [float(some.mean()) if len(some) else math.nan for some in of_class]
        result = summary(learner.task, last, targets, recipe.evaluation.bins)
        return {key: result[key] for key in ("accuracy", "nll", "brier", "ece", "rmse") if key in result}
