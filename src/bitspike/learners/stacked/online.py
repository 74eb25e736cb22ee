"""Copies of BiSNN's local network that learn side by side by the online rule: an update of each at every time step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call, vmap
from torch.utils._pytree import tree_map

from bitspike.coding.decoding import decode
from bitspike.kernels.cpu.subnormal import flushed
from bitspike.learners.online import OnlineLearner
from bitspike.learners.stacked.rows import part, put_back, rows_of, together
from bitspike.learners.stacked.stack import Stack


class OnlineStack(Stack):
    """See `stack`. States begin at rest with each batch, and are not given back."""

    def __init__(self, learner: OnlineLearner, size: int, asked: str) -> None:
        super().__init__(learner, learner.optimisation, size, asked)
        self.learner = learner

    def give(self, row: int) -> None:
        """See `Stack`."""
        super().give(row)
        self.learner.carried, self.learner.seen = None, 0

    def repeated(self, events: Tensor) -> Tensor:
        """See `Stack`."""
        return self.learner.readouts(events)

    @flushed()
    def fit(
        self, numbers: Sequence[int], events: Sequence[Tensor], targets: Sequence[Tensor]
    ) -> list[dict[str, float]]:
        """An update of each row at every step after the burn-in; see `Stack`."""
        learner = self.learner
        self.model.train()
        rows, sizes = rows_of(numbers, events[0].device), [batch.shape[1] for batch in events]
        x, y, counted = together(events, targets)
        weights = {name: part(stack, rows).requires_grad_() for name, stack in self.weights.items()}
        states: Any = tree_map(lambda t: t.expand(len(numbers), *t.shape), learner.model.initial(x.shape[2]))
        draws = self._drawn(numbers, "burn-in") if learner.burn_in else {}
        losses: list[list[float]] = []
        readouts: list[Tensor] = []
        for step, now in enumerate(x.unbind(1)):
            if step < learner.burn_in:
                with torch.no_grad():
                    _, states = self._stepped(weights, draws, now, states)
                continue
            logits, states = self._stepped(weights, self._drawn(numbers, "weights"), now, states)
            readouts.append(logits[-1].detach().flatten(0, 1))
            if len(readouts) == 1:
                y = learner.checked_targets(y.flatten(0, 1), readouts[0])
            self._with_margins(numbers, x.shape[2])
            loss = torch.stack([self._loss(each, y, counted) for each in logits]).sum(0)
            found = torch.autograd.grad(loss.sum(), list(weights.values()), allow_unused=True)
            grads = dict(zip(weights, found, strict=True))
            losses.append(loss.tolist())
            self._check_finite(numbers, events, losses[-1], grads)
            self._update(rows, numbers, weights, grads, learner.rho)
        for name, stack in self.weights.items():
            put_back(stack, rows, weights[name].requires_grad_(False))
        means = [sum(own) / len(own) for own in zip(*losses, strict=True)]
        metrics = [{"loss": mean, "examples": float(size)} for mean, size in zip(means, sizes, strict=True)]
        if learner.task == "classification":
            right = (decode(torch.stack(readouts), "mean-logit", learner.task)[-1].argmax(-1) == y).view(x.shape[0], -1)
            hits = (right if counted is None else right & counted).sum(1).tolist()
            for own, hit in zip(metrics, hits, strict=True):
                own["accuracy"] = hit / own["examples"]
        return metrics

    def _stepped(
        self, weights: dict[str, Tensor], draws: dict[str, Tensor], x: Tensor, states: Any
    ) -> tuple[list[Tensor], Any]:
        """Read-outs (R, B, O) of each layer, and states, after one step x (R, B, *features)."""

        def alone(own: dict[str, Tensor], drawn: dict[str, Tensor], now: Tensor, before: Any) -> tuple[Any, Any]:
            logits, _, after = functional_call(self.model, (own, drawn), (now, before))
            return logits, after

        found: tuple[list[Tensor], Any] = vmap(alone)(weights, draws, x, states)
        return found

    def _loss(self, logits: Tensor, y: Tensor, counted: Tensor | None) -> Tensor:
        """A layer's loss (R,) of each row; y: targets of all rows' examples, one row after the other."""
        values = self.learner.local_loss(logits.flatten(0, 1), y, "none").view(*logits.shape[:2], -1).mean(2)
        return values.mean(1) if counted is None else torch.where(counted, values, 0.0).sum(1) / counted.sum(1)
