"""Copies of a network that are learned side by side by back-propagation through time."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.func import functional_call, vmap

from bitspike.errors import refuse
from bitspike.kernels.cpu.subnormal import flushed
from bitspike.layers.filled import filled_up
from bitspike.learners.backprop import BackpropLearner
from bitspike.learners.stacked.rows import part, put_back, rows_of, together
from bitspike.learners.stacked.stack import Stack
from bitspike.targets import answers


class BackpropStack(Stack):
    """See `stack`."""

    def __init__(self, learner: BackpropLearner, size: int, asked: str) -> None:
        if learner.steps or learner.feed_forward:
            refuse(asked, f"{size} with a network that changes over training", "1, or one that stays as it is")
        if learner.spike_penalty:
            refuse(asked, f"{size} with learner.spike_penalty {learner.spike_penalty:g}", "1, or a penalty of 0")
        super().__init__(learner, learner.optimisation, size, asked)
        self.learner = learner

    def repeated(self, events: Tensor) -> Tensor:
        """See `Stack`."""
        found: Tensor = self.model(events)
        return found

    @flushed()
    def fit(
        self, numbers: Sequence[int], events: Sequence[Tensor], targets: Sequence[Tensor]
    ) -> list[dict[str, float]]:
        """One update of each row; see `Stack`."""
        learner = self.learner
        self.model.train()
        rows = rows_of(numbers, events[0].device)
        x, y, counted = together(events, targets)
        sizes = [batch.shape[1] for batch in events]
        weights = {name: part(stack, rows).requires_grad_() for name, stack in self.weights.items()}
        statistics = {name: part(stack, rows) for name, stack in self.statistics.items()}
        grads: dict[str, Tensor | None] = dict.fromkeys(weights)
        losses, scores = torch.zeros(len(numbers), dtype=x.dtype, device=x.device), x
        passes = torch.tensor([size * learner.draws for size in sizes], dtype=x.dtype, device=x.device)
        for k in range(learner.draws):
            draws = self._drawn(numbers, "weights", k)
            readout = self._readout(weights, statistics | draws, x, counted)
            self._with_margins(numbers, x.shape[2])
            loss, scores = self._losses(readout, y, counted)
            found = torch.autograd.grad((loss / passes).sum(), list(weights.values()), allow_unused=True)
            for name, grad in zip(weights, found, strict=True):
                before = grads[name]
                grads[name] = grad if before is None or grad is None else before.add_(grad)
            losses += loss.detach() / learner.draws
        sums, hits = losses.tolist(), self._hits(scores.detach(), y, counted)
        means = [total / size for total, size in zip(sums, sizes, strict=True)]
        self._check_finite(numbers, events, means, grads)
        factors = self._update(rows, numbers, weights, grads, learner.rho, learner.clip)
        with torch.no_grad():
            for stacks, some in ((self.weights, weights), (self.statistics, statistics)):
                for name, stack in stacks.items():
                    put_back(stack, rows, some[name].requires_grad_(False))
        found_out = zip(means, map(float, sizes), factors, strict=True)
        metrics = [{"loss": mean, "examples": size, "rate_factor": factor} for mean, size, factor in found_out]
        for own, right in zip(metrics, hits or (), strict=False):
            own["accuracy"] = right / own["examples"]
        return metrics

    def _readout(
        self, weights: dict[str, Tensor], buffers: dict[str, Tensor], x: Tensor, counted: Tensor | None
    ) -> Tensor:
        """Read-outs (T, R, B, C) of events (R, T, B, *features)."""

        def alone(own: dict[str, Tensor], kept: dict[str, Tensor], events: Tensor, there: Tensor | None) -> Tensor:
            with filled_up(there):
                found: Tensor = functional_call(self.model, (own, kept), (events,))
            return found

        dims = (0, 0, 0, None if counted is None else 0)
        found: Tensor = vmap(alone, dims, out_dims=1)(weights, buffers, x, counted)
        return found

    def _losses(self, readout: Tensor, y: Tensor, counted: Tensor | None) -> tuple[Tensor, Tensor]:
        """Sums of each row's losses (R,), and the scores (R B, C): readout (T, R, B, C), targets (R, B, ...)."""
        values, scores = self.learner.example_losses(readout.flatten(1, 2), y.flatten(0, 1))
        values = values.view(len(values), *y.shape[:2])
        if counted is not None:
            values = torch.where(counted, values, 0.0)
        return values.sum((0, 2)) / len(values), scores

    def _hits(self, scores: Tensor, y: Tensor, counted: Tensor | None) -> list[float] | None:
        """Right answers of each row."""
        if self.learner.task != "classification":
            return None
        right = (answers(scores) == y.flatten()).view(y.shape)
        return list((right if counted is None else right & counted).sum(1).double().tolist())
