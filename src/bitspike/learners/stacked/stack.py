"""A stack of R copies of a network that is learned by back-propagation: weights (R, *shape), each row with batches,
draws, moments, schedule and number of updates of its own.

    row r is what the learner alone would be after the same batches: products of all rows are one batched product
    (`torch.func.vmap`), neurons of all rows one loop, so sums may end in other bits and nothing else is different

Steps are small where networks are: what a step costs is then mostly calls, and these are made once for all rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.func import functional_call, vmap

from bitspike.checks import all_finite
from bitspike.draws import Key
from bitspike.errors import refuse
from bitspike.layers.filled import filled_up
from bitspike.learners.backprop import BackpropLearner
from bitspike.learners.base import Learner
from bitspike.learners.stacked.rows import each, part, put_back, rows_of, together
from bitspike.learners.stacked.updates import Moments
from bitspike.neurons import Neuron, Stochastic, TemporalQuantiser
from bitspike.targets import answers
from bitspike.weights import Precision, binary_parametrizations, redraw


@dataclass
class Row:
    """What names a row's draws, its updates, and how many its schedule is for."""

    key: tuple[Key, ...] = ()
    updates: int = 0
    total: int = 1


class Stack:
    """`size` copies of what `learner` learns; what cannot be stacked is refused by name. asked: who asked for it."""

    def __init__(self, learner: Learner, size: int, asked: str = "stack") -> None:
        self.learner, self.size = _stackable(learner, size, asked), size
        model, optimisation = learner.model, self.learner.optimisation
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
        learner = self.learner
        self.rows[row] = Row(learner.key, learner.updates, learner.optimisation.total_updates)

    @torch.no_grad()
    def give(self, row: int) -> None:
        """The learner becomes what row `row` is."""
        for tensor, stack in self._pairs():
            tensor.copy_(stack[row])
        self._become(row)
        last = self.learner.optimisation.factor(max(0, self.learner.updates - 1))
        for moments in self.moments:
            moments.give(row, last)

    def _pairs(self) -> list[tuple[Tensor, Tensor]]:
        """The learner's tensors, and where copies of them lie."""
        model = self.learner.model
        own: dict[str, Tensor] = {**dict(model.named_parameters()), **dict(model.named_buffers())}
        return [(own[name], stack) for name, stack in (*self.weights.items(), *self.statistics.items())]

    def _become(self, row: int) -> None:
        """The learner names draws and knows its progress as row `row` does."""
        learner, own = self.learner, self.rows[row]
        learner.key, learner.updates, learner.optimisation.total_updates = own.key, own.updates, own.total

    def fit(
        self, numbers: Sequence[int], events: Sequence[Tensor], targets: Sequence[Tensor]
    ) -> list[dict[str, float]]:
        """One update of some rows, ascending, from a batch each: events (T, B, *features) and targets for each example.

        Returns for each what `fit_batch` does. Where batches differ in size, the shorter ones are filled up with rows
        that enter no loss and no statistics.
        """
        learner, model = self.learner, self.learner.model
        model.train()
        rows = rows_of(numbers, events[0].device)
        x, y, counted = together(events, targets)
        sizes = [batch.shape[1] for batch in events]
        weights = {name: part(stack, rows).requires_grad_() for name, stack in self.weights.items()}
        statistics = {name: part(stack, rows) for name, stack in self.statistics.items()}
        grads: dict[str, Tensor | None] = dict.fromkeys(weights)
        losses, scores = torch.zeros(len(numbers), dtype=x.dtype, device=x.device), x
        passes = torch.tensor([size * learner.draws for size in sizes], dtype=x.dtype, device=x.device)
        for k in range(learner.draws):
            draws = self._drawn(numbers, k)
            readout = self._readout(weights, statistics | draws, x, counted)
            loss, scores = self._losses(readout, y, counted)
            found = torch.autograd.grad((loss / passes).sum(), list(weights.values()), allow_unused=True)
            for name, grad in zip(weights, found, strict=True):
                before = grads[name]
                grads[name] = grad if before is None or grad is None else before.add_(grad)
            losses += loss.detach() / learner.draws
        with torch.no_grad():
            sums, hits = losses.tolist(), self._hits(scores.detach(), y, counted)
            self._check_finite(numbers, events, sums, sizes, grads)
            for weight in weights.values():
                weight.requires_grad_(False)
            self._finish_gradients(weights, grads)
            factors = [self._factor(row) for row in numbers]
            for moments in self.moments:
                moments.step(rows, numbers, weights, grads, factors)
            for stacks, some in ((self.weights, weights), (self.statistics, statistics)):
                for name, stack in stacks.items():
                    put_back(stack, rows, some[name])
        metrics = []
        for place, row in enumerate(numbers):
            self.rows[row].updates += 1
            count = float(sizes[place])
            metrics.append({"loss": sums[place] / count, "examples": count, "rate_factor": factors[place]})
            if hits is not None:
                metrics[-1]["accuracy"] = hits[place] / count
        return metrics

    @torch.no_grad()
    def pull(self, name: str, numbers: Sequence[int], to: Tensor, shares: Sequence[float]) -> None:
        """Weight `name` of these rows goes a share of the way to a tensor of one row's shape; a share for each row."""
        rows = rows_of(numbers, to.device)
        weight = part(self.weights[name], rows)
        weight.lerp_(to.to(weight).expand_as(weight), each(shares, weight))
        put_back(self.weights[name], rows, weight)

    def _readout(
        self, weights: dict[str, Tensor], buffers: dict[str, Tensor], x: Tensor, counted: Tensor | None
    ) -> Tensor:
        """Read-outs (T, R, B, C) of events (R, T, B, *features)."""
        model = self.learner.model

        def alone(own: dict[str, Tensor], kept: dict[str, Tensor], events: Tensor, there: Tensor | None) -> Tensor:
            with filled_up(there):
                found: Tensor = functional_call(model, (own, kept), (events,))
            return found

        dims = (0, 0, 0, None if counted is None else 0)
        found: Tensor = vmap(alone, dims, out_dims=1)(weights, buffers, x, counted)
        return found

    def _drawn(self, numbers: Sequence[int], k: int) -> dict[str, Tensor]:
        """Draw k of the weights of each row, by the row's own names."""
        learner, model = self.learner, self.learner.model
        found: dict[str, list[Tensor]] = {}
        for row in numbers if self.drawn else ():
            self._become(row)
            redraw(model, *learner.keys, "weights", learner.updates, k)
            for path, precision in self.drawn:
                for own, buffer in precision.named_buffers(recurse=False):
                    found.setdefault(f"{path}.{own}", []).append(buffer)
        return {name: torch.stack(drawn) for name, drawn in found.items()}

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

    def _check_finite(
        self, numbers: Sequence[int], events: Sequence[Tensor], sums: Sequence[float], sizes: Sequence[int],
        grads: Mapping[str, Tensor | None],
    ) -> None:  # fmt: skip
        """As the learner alone would, of the first row in which something is not finite."""
        found = {name: grad for name, grad in grads.items() if grad is not None}
        whole = torch.stack([grad.sum() for grad in found.values()])
        if all_finite(torch.tensor(sums)) and all_finite(whole):
            return
        learner = self.learner
        parameters = dict(learner.model.named_parameters())
        for place, row in enumerate(numbers):
            self.give(row)
            for name, grad in found.items():
                parameters[name].grad = grad[place]
            batch = events[place]
            learner.check_finite(sums[place] / sizes[place], batch, partial(learner.model, batch))
        learner.optimisation.zero_grad()

    def _finish_gradients(self, weights: Mapping[str, Tensor], grads: Mapping[str, Tensor | None]) -> None:
        """The prior's gradient, and each row's cut to the learner's largest norm."""
        learner = self.learner
        if learner.rho:
            for name, parameter in learner.model.named_parameters():
                precision, grad = self.latents.get(id(parameter)), grads.get(name)
                if precision is not None and grad is not None:
                    pull = precision.prior_gradient(weights[name])
                    if pull is not None:
                        grad.add_(pull, alpha=learner.rho)
        if learner.clip > 0:
            some = [grad for grad in grads.values() if grad is not None]
            norms = torch.stack([torch.linalg.vector_norm(grad.flatten(1), dim=1) for grad in some])
            left = (learner.clip / (torch.linalg.vector_norm(norms, dim=0) + 1e-6)).clamp(max=1.0)
            for grad in some:
                grad.mul_(left.view(-1, *(1,) * (grad.ndim - 1)))

    def _factor(self, row: int) -> float:
        """The schedule's factor at this row's update."""
        self._become(row)
        return self.learner.rate_factor()


def _stackable(learner: Learner, size: int, asked: str) -> BackpropLearner:
    """The learner, if its copies can be stacked."""
    if not isinstance(learner, BackpropLearner) or type(learner).fit_batch is not BackpropLearner.fit_batch:
        refuse(asked, f"{size} with a {type(learner).__name__}", "1, or learner.rule 'backprop'")
    if learner.steps or learner.feed_forward:
        refuse(asked, f"{size} with a network that changes over training", "1, or one that stays as it is")
    if learner.spike_penalty:
        refuse(asked, f"{size} with learner.spike_penalty {learner.spike_penalty:g}", "1, or a penalty of 0")
    for name, module in learner.model.named_modules():
        kind = f"'{name}' ({type(module).__name__})"
        if isinstance(module, Stochastic | TemporalQuantiser):
            refuse(asked, f"{size} with {kind}, which draws numbers", "1, or a network in which only weights are drawn")
        # What it keeps beside its buffers, or writes into them, nobody knows.
        if type(module).__module__.partition(".")[0] not in ("bitspike", "torch") and not isinstance(module, Neuron):
            refuse(asked, f"{size} with {kind}, a module of one's own", "1, or layers of bitspike and torch")
    return learner
