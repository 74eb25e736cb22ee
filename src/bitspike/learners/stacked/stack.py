"""A stack of R copies of a network that is learned: weights (R, *shape), each row with batches, draws, moments,
schedule and number of updates of its own.

    row r is what the learner alone would be after the same batches: products of all rows are one batched product
    (`torch.func.vmap`), neurons of all rows one loop, so sums may end in other bits and nothing else is different

Steps are small where networks are: what a step costs is then mostly calls, and these are made once for all rows.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from bitspike.checks import all_finite
from bitspike.draws import Key
from bitspike.errors import refuse
from bitspike.learners.base import Learner
from bitspike.learners.optimisation import Optimisation
from bitspike.learners.stacked.rows import Rows, each, part, put_back, rows_of
from bitspike.learners.stacked.updates import Moments
from bitspike.neurons import Neuron, Stochastic, TemporalQuantiser
from bitspike.weights import Precision, binary_parametrizations, redraw


@dataclass
class Row:
    """What names a row's draws, its updates, how many its schedule is for, and the margins of its classes."""

    key: tuple[Key, ...] = ()
    updates: int = 0
    total: int = 1
    margins: Tensor | None = None


class Stack(ABC):
    """`size` copies of what `learner` learns; what cannot be stacked is refused by name. asked: who asked for it."""

    def __init__(self, learner: Learner, optimisation: Optimisation, size: int, asked: str) -> None:
        self.rule, self.optimisation, self.size = learner, optimisation, size
        model = self.model = learner.model
        _check(model, size, asked)
        names = {id(p): name for name, p in model.named_parameters()}
        self.moments = [
            Moments(optimiser, lr, names, size, asked) for optimiser, lr in optimisation.optimisers.values()
        ]
        places = learner.places
        running = {id(tensor) for pair in places.statistics().values() for tensor in pair}
        self.weights = {name: self._stacked(p) for name, p in model.named_parameters() if p.requires_grad}
        self.statistics = {name: self._stacked(b) for name, b in model.named_buffers() if id(b) in running}
        self.rows = [Row() for _ in range(size)]
        modules = model.named_modules()
        self.drawn = [(path, m) for path, m in modules if isinstance(m, Precision) and m.is_drawn]
        self.latents = {id(latent): precision for _, precision, latent in binary_parametrizations(model)}

    def _stacked(self, tensor: Tensor) -> Tensor:
        return tensor.detach().new_zeros(self.size, *tensor.shape)

    @torch.no_grad()
    def take(self, row: int) -> None:
        """Row `row` becomes what the learner is now."""
        for tensor, stack in self._pairs():
            stack[row].copy_(tensor)
        for moments in self.moments:
            moments.take(row)
        self.rows[row] = Row(self.rule.key, self.rule.updates, self.optimisation.total_updates, self.rule.margins)

    @torch.no_grad()
    def give(self, row: int) -> None:
        """The learner becomes what row `row` is."""
        for tensor, stack in self._pairs():
            tensor.copy_(stack[row])
        self._become(row)
        last = self.optimisation.factor(max(0, self.rule.updates - 1))
        for moments in self.moments:
            moments.give(row, last)

    def _pairs(self) -> list[tuple[Tensor, Tensor]]:
        """The learner's tensors, and where copies of them lie."""
        own: dict[str, Tensor] = {**dict(self.model.named_parameters()), **dict(self.model.named_buffers())}
        return [(own[name], stack) for name, stack in (*self.weights.items(), *self.statistics.items())]

    def _become(self, row: int) -> None:
        """The learner names draws, knows its progress and weighs classes as row `row` does."""
        own = self.rows[row]
        self.rule.margins = own.margins
        self.rule.key, self.rule.updates, self.optimisation.total_updates = own.key, own.updates, own.total

    def _with_margins(self, numbers: Sequence[int], batch: int) -> None:
        """The learner's margins become those of all examples of these rows, one row after the other."""
        own = [margins for row in numbers if (margins := self.rows[row].margins) is not None]
        self.rule.margins = torch.stack(own).repeat_interleave(batch, 0) if own else None

    def factor(self, row: int) -> float:
        """The schedule's factor at this row's next update."""
        own = self.rows[row]
        self.optimisation.total_updates = own.total
        return self.optimisation.factor(own.updates)

    @abstractmethod
    def fit(
        self, numbers: Sequence[int], events: Sequence[Tensor], targets: Sequence[Tensor]
    ) -> list[dict[str, float]]:
        """Some rows, ascending, learn from a batch each: events (T, B, *features) and targets for each example.

        Returns for each what `fit_batch` does. Where batches differ in size, the shorter ones are filled up with rows
        that enter no loss and no statistics.
        """

    @abstractmethod
    def repeated(self, events: Tensor) -> Tensor:
        """The learner's forward pass over one batch."""

    @torch.no_grad()
    def pull(self, name: str, numbers: Sequence[int], to: Tensor, shares: Sequence[float]) -> None:
        """Weight `name` of these rows goes a share of the way to a tensor of one row's shape; a share for each row."""
        rows = rows_of(numbers, to.device)
        weight = part(self.weights[name], rows)
        weight.lerp_(to.to(weight).expand_as(weight), each(shares, weight))
        put_back(self.weights[name], rows, weight)

    def _drawn(self, numbers: Sequence[int], purpose: str, *more: Key) -> dict[str, Tensor]:
        """The next draw of the weights of each row, by the row's own names."""
        found: dict[str, list[Tensor]] = {}
        for row in numbers if self.drawn else ():
            self._become(row)
            redraw(self.model, *self.rule.keys, purpose, self.rule.updates, *more)
            for path, precision in self.drawn:
                for own, buffer in precision.named_buffers(recurse=False):
                    found.setdefault(f"{path}.{own}", []).append(buffer)
        return {name: torch.stack(drawn) for name, drawn in found.items()}

    @torch.no_grad()
    def _update(
        self, rows: Rows, numbers: Sequence[int], weights: Mapping[str, Tensor], grads: Mapping[str, Tensor | None],
        rho: float, clip: float = 0.0,
    ) -> list[float]:  # fmt: skip
        """One update of each row, in place; returns the schedule's factors. rho: weight of the prior."""
        if rho:
            for name, parameter in self.model.named_parameters():
                precision, grad = self.latents.get(id(parameter)), grads.get(name)
                if precision is not None and grad is not None:
                    pull = precision.prior_gradient(weights[name])
                    if pull is not None:
                        grad.add_(pull, alpha=rho)
        if clip > 0:
            some = [grad for grad in grads.values() if grad is not None]
            norms = torch.stack([torch.linalg.vector_norm(grad.flatten(1), dim=1) for grad in some])
            left = (clip / (torch.linalg.vector_norm(norms, dim=0) + 1e-6)).clamp(max=1.0)
            for grad in some:
                grad.mul_(left.view(-1, *(1,) * (grad.ndim - 1)))
        factors = [self.factor(row) for row in numbers]
        for moments in self.moments:
            moments.step(rows, numbers, weights, grads, factors)
        for row in numbers:
            self.rows[row].updates += 1
        return factors

    def _check_finite(
        self, numbers: Sequence[int], events: Sequence[Tensor], losses: Sequence[float],
        grads: Mapping[str, Tensor | None],
    ) -> None:  # fmt: skip
        """As the learner alone would, of the first row in which something is not finite."""
        found = {name: grad for name, grad in grads.items() if grad is not None}
        whole = torch.stack([grad.sum() for grad in found.values()])
        if all_finite(torch.tensor(losses)) and all_finite(whole):
            return
        parameters = dict(self.model.named_parameters())
        for place, row in enumerate(numbers):
            self.give(row)
            for name, grad in found.items():
                parameters[name].grad = grad[place]
            self.rule.check_finite(losses[place], events[place], partial(self.repeated, events[place]))
        self.optimisation.zero_grad()


def _check(model: nn.Module, size: int, asked: str) -> None:
    """Refuse a network that vmap cannot map."""
    for name, module in model.named_modules():
        kind = f"'{name}' ({type(module).__name__})"
        if isinstance(module, Stochastic | TemporalQuantiser):
            refuse(asked, f"{size} with {kind}, which draws numbers", "1, or a network in which only weights are drawn")
        if isinstance(module, Precision) and module.each_step:
            refuse(asked, f"{size} with weights.redraw 'step'", "1, or 'pass'")
        # What it keeps beside its buffers, or writes into them, nobody knows.
        if type(module).__module__.partition(".")[0] not in ("bitspike", "torch") and not isinstance(module, Neuron):
            refuse(asked, f"{size} with {kind}, a module of one's own", "1, or layers of bitspike and torch")
