"""Back-propagation through time with surrogate gradients, for any weight precision.

    minimise  mean_b [loss(z_b, y_b) + spike_penalty s_b] + rho KL(q || p0)       (the KL only with Bayesian weights)

z is the running mean of the read-out; the loss is taken at the last step ("final") or averaged over all steps
("every-step", for good answers at any moment). s_b is the mean of |spikes| over all neurons and time steps (of a
sequence that ends, its own), whose gradient reaches neurons where they spiked and no others. One draw of all Bayesian
weights per pass and `draws` passes per update. In a group of processes each sees its part of the batch; sums, not
means, are reduced, so that the gradient is that of the whole batch whatever the parts' sizes.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, ClassVar

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from bitspike.cells.lmu import train_feed_forward
from bitspike.cells.quantised import step_schedules
from bitspike.coding.decoding import decode, squash
from bitspike.errors import check_name, check_whole, refuse
from bitspike.kernels.cpu.subnormal import flushed
from bitspike.layers import BatchStatistics
from bitspike.layers.ends import ends_at, frozen, inside, lengths_of
from bitspike.layers.norm import apart, several_processes
from bitspike.learners.base import Learner
from bitspike.learners.optimisation import Optimisation
from bitspike.neurons import StepSchedule, Stochastic, redraw_units, set_step
from bitspike.neurons.recordings import Monitor, Recording, spiking
from bitspike.targets import answers
from bitspike.weights import binary_parametrizations, redraw, use_map

LOSSES = ("final", "every-step")
# Draws under which batch statistics are averaged: those of one draw suit no other member of an ensemble.
SETTLING_DRAWS = 40


class BackpropLearner(Learner):
    """Learns by surrogate gradients through time; `rho` weighs the prior, `draws` passes make one update.

    steps: how the step sizes of the model's quantisers change over training (`neurons.schedule.set_step`).
    feed_forward: the first fraction of training, in which an LMU learns without feedback (`cells.lmu`).
    """

    optimisation: Optimisation
    given_besides: ClassVar[tuple[str, ...]] = ("steps", "feed_forward")
    """Parameters that the model's options say: no options of this rule, nor of one made of it."""

    def __init__(
        self,
        model: nn.Module,
        optimisation: Optimisation,
        task: str = "classification",
        seed: int = 0,
        loss: str = "final",
        rho: float = 0.0,
        draws: int = 1,
        decoder: str = "mean-logit",
        clip: float = 0.0,
        class_weights: Tensor | None = None,
        steps: Mapping[str, StepSchedule] | None = None,
        feed_forward: float = 0.0,
        spike_penalty: float = 0.0,
    ) -> None:
        super().__init__(model, optimisation, task, seed)
        check_name("learner loss", loss, LOSSES, "'final' or 'every-step'")
        check_whole("learner draws", draws, "at least 1")
        self.loss, self.rho, self.draws, self.decoder, self.clip = loss, rho, draws, decoder, clip
        self.class_weights = class_weights
        self.steps, self.feed_forward = dict(steps or {}), feed_forward
        self.spike_penalty = spike_penalty
        if spike_penalty and not any(map(spiking, model.modules())):
            refuse("learner spike_penalty", spike_penalty, "0: this network has no neurons that spike")

    @classmethod
    def from_options(cls, options: Any, model_options: Any, epochs: int, **given: Any) -> BackpropLearner:
        """The learner of a recipe; what changes over `epochs` stands in the model's options.

        A class made of this one may take less; what there is for it and it does not take is refused.
        """
        given["steps"] = step_schedules(getattr(model_options, "hybrid", None), epochs)
        given["feed_forward"] = getattr(model_options, "feed_forward", 0.0)
        takes = inspect.signature(cls).parameters
        if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in takes.values()):
            left = {name: given.pop(name) for name in set(given) - set(takes)}
            if lost := sorted(name for name, value in left.items() if isinstance(value, Tensor) or value):
                came = f"{cls.__name__}, whose __init__ takes no '{lost[0]}'"
                refuse(f"learner.rule '{options.rule}'", came, "one that takes it and hands it on")
        return cls(**given, **dict(options))

    def outputs(self, events: Tensor, every_step: bool = False) -> Tensor:
        """Decoded read-outs after each step; a network that answers once has an answer of its own after each."""
        readout = over_time(self.model, events) if every_step else None
        if readout is not None:
            return squash(readout, self.task)
        return decode(self.model(events), self.decoder, self.task)

    def _loss_sum(self, events: Tensor, targets: Tensor, counted: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Sum over the batch of the loss, and the scores that are answers: (B, C) at the last step of each sequence.

        Of targets for each step, the sum over all steps that have one, and the scores (M, C) of these.
        """
        readout, lengths = self.model(events), lengths_of(events)
        each = self.step_targets(targets, counted, len(readout), readout[-1])
        if each is not None:
            wanted, some = each
            scores = readout.transpose(0, 1)[some]
            return self._values(scores, wanted[some]).sum(), scores
        values, scores = self.example_losses(readout, targets, lengths)
        if lengths is not None and len(values) > 1:
            within = inside(lengths, len(values))
            return (torch.where(within, values, 0.0) / lengths.to(values)).sum(), scores
        return values.sum() / len(values), scores

    def example_losses(self, readout: Tensor, targets: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Losses (S, B) of examples after each of the S steps that are scored, and the scores (B, C) that are answers.

        readout: (T, B, C); targets for each example.
        """
        steps = torch.arange(1, len(readout) + 1, dtype=readout.dtype, device=readout.device)
        means = readout.cumsum(0) / steps.view(-1, 1, 1)
        if lengths is not None and len(means) > 1:
            means = frozen(means, lengths)
        scored = means if self.loss == "every-step" else means[-1:]
        targets = self.checked_targets(targets, means[-1])
        values = self._values(scored.flatten(0, 1), targets.repeat(len(scored), *(1,) * (targets.ndim - 1)))
        return values.view(scored.shape[:2]), means[-1]

    def _values(self, flat: Tensor, many: Tensor) -> Tensor:
        """The loss (M,) of each score (M, C)."""
        if self.task == "regression":
            values = F.binary_cross_entropy_with_logits(flat, many.to(flat.dtype), reduction="none").mean(1)
        elif flat.shape[1] == 1:
            values = F.binary_cross_entropy_with_logits(
                self.with_margins(flat)[:, 0], many.to(flat.dtype), reduction="none"
            )
        else:
            values = F.cross_entropy(self.with_margins(flat), many, reduction="none")
        if self.class_weights is not None:
            values = values * self.class_weights.to(values)[many]
        return values

    @flushed()
    def fit_batch(
        self,
        events: Tensor,
        targets: Tensor,
        examples: Tensor | None = None,
        mask: Tensor | None = None,
        reset: bool = True,
    ) -> dict[str, float]:
        """One update from one batch (or this process's part of it)."""
        if not reset:
            refuse("learner rule 'backprop'", "reset = False", "whole sequences: its gradient goes back to their start")
        targets, counted = self.masked(events, targets, mask)
        self.model.train()
        self.optimisation.zero_grad()
        lengths = lengths_of(events)
        (count,) = _over_processes(events, self._count(targets, counted, len(events)))
        progress = min(self.updates / self.optimisation.total_updates, 1.0)
        if self.steps:
            set_step(self.model, self.steps, progress)
        if self.feed_forward:
            train_feed_forward(self.model, progress < self.feed_forward)
        scores = None
        loss_sum = penalty_sum = 0.0
        examples_seen = _over_processes(events, events.shape[1])[0] if self.spike_penalty else 1.0
        for k in range(self.draws):
            redraw(self.model, *self.keys, "weights", self.updates, k)
            # Of several processes each draws for examples of its own.
            own = (dist.get_rank(),) if several_processes() else ()
            redraw_units(self.model, *self.keys, self.updates, k, *own)
            with ends_at(lengths), self._watched() as spikes:
                loss, scores = self._loss_sum(events, targets, counted)
            loss_sum += float(loss.detach()) / self.draws
            loss = loss / (count * self.draws)
            if spikes is not None:
                rates = self.spike_penalty * spike_rates(spikes, lengths).sum()
                penalty_sum += float(rates.detach()) / self.draws
                loss = loss + rates / (examples_seen * self.draws)
            loss.backward()
        hits = 0.0
        if self.task == "classification" and scores is not None:
            wanted = targets.flatten()
            hits = float((answers(scores) == (wanted[wanted >= 0] if len(wanted) > len(targets) else wanted)).sum())
        loss_sum, hits, penalty_sum = _over_processes(events, loss_sum, hits, penalty_sum)
        if several_processes():
            self._reduce_gradients()
        mean_loss = loss_sum / count + penalty_sum / examples_seen
        with ends_at(lengths):
            self.check_finite(mean_loss, events, lambda: self.model(events))
        self.add_prior_gradient(self.rho)
        if self.clip > 0:
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.clip)
        factor = self.optimisation.step(self.updates)
        self.updates += 1
        metrics = {"loss": mean_loss, "examples": count, "rate_factor": factor}
        if self.task == "classification":
            metrics["accuracy"] = hits / count
        return metrics

    def _watched(self) -> AbstractContextManager[Monitor | None]:
        """What neurons send in a pass, where it is weighed."""
        return Monitor(self.model, states=False, only=spiking) if self.spike_penalty else nullcontext()

    def _count(self, targets: Tensor, counted: Tensor | None, steps: int) -> int:
        """Answers that the loss is a mean of: one for each example, or for each step that has a target."""
        if counted is not None:
            return int(counted.sum())
        shaped = isinstance(targets, Tensor) and targets.ndim == 2
        each = self.task == "classification" and shaped and targets.shape[1] == steps > 1
        return int((targets >= 0).sum()) if each else len(targets)

    def _reduce_gradients(self) -> None:
        """Sum the gradients over processes, in one message."""
        grads = [p.grad for p in self.model.parameters() if p.grad is not None]
        flat = torch.cat([g.flatten() for g in grads])
        dist.all_reduce(flat)
        for grad, part in zip(grads, flat.split([g.numel() for g in grads]), strict=True):
            grad.copy_(part.view_as(grad))

    @torch.no_grad()
    def finish(self, batches: Callable[[], Iterable[Tensor]]) -> None:
        """Re-estimate the running statistics as averages over training batches: under hard draws, and under MAP.

        Running averages lag behind the weights, and MAP weights were never seen in training. Drawn weights see the
        batches again, each time under another draw, until there were at least SETTLING_DRAWS.
        """
        norms = [m for m in self.model.modules() if isinstance(m, BatchStatistics)]
        if not norms:
            return
        momenta = [norm.momentum for norm in norms]
        for on_map in (False, True) if self.bayesian else (False,):
            self.model.train()
            for _, precision, _ in binary_parametrizations(self.model):
                precision.eval()
            for module in self.model.modules():
                # Statistics are those of evaluation, which knows no noise and no dropout.
                if isinstance(module, Stochastic):
                    module.eval()
            use_map(self.model, on_map)
            draws = SETTLING_DRAWS if self.bayesian and not on_map else 1
            for number, events in enumerate(_at_least(draws, batches)):
                for norm in norms:
                    # The k-th value enters with weight 1/k: a plain average.
                    norm.momentum = 1 / (number + 1)
                redraw(self.model, self.seed, "statistics", number)
                # Every process sees all of these batches.
                with apart(), ends_at(lengths_of(events)):
                    self.model(events)
        use_map(self.model, False)
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        self.model.eval()


def spike_rates(sent: Mapping[str, Recording], lengths: Tensor | None = None) -> Tensor:
    """Mean of |spikes| over neurons and time steps of each example, (B,); of sequences that end, over their own."""
    total, neurons = torch.zeros(()), 0
    for spikes, _ in sent.values():
        each = spikes.flatten(2)
        neurons += each.shape[2]
        total = total.to(each) + each.abs().sum(2)
    if lengths is None:
        return total.mean(0) / neurons
    return torch.where(inside(lengths, len(total)), total, 0.0).sum(0) / (lengths * neurons)


def _over_processes(events: Tensor, *values: float) -> list[float]:
    """Sums of what each process has found."""
    totals = torch.tensor(values, dtype=torch.float64, device=events.device)
    if several_processes():
        dist.all_reduce(totals)
    return [float(total) for total in totals]


def over_time(model: nn.Module, events: Tensor) -> Tensor | None:
    """Read-outs (T, B, C) after each step of a network that answers once; None for one that answers at each."""
    own: Any = getattr(model, "over_time", None)
    if own is not None:
        found: Tensor = own(events)
        return found
    if len(events) == 1 or len(model(events)) > 1:
        return None
    # A network of one's own: its answer after a step is the one to what came until then.
    with ends_at(None):
        return torch.cat([model(events[: step + 1]) for step in range(len(events))])


def _at_least(count: int, batches: Callable[[], Iterable[Tensor]]) -> Iterator[Tensor]:
    """The batches, from the first one again until there were `count`."""
    done = 0
    while True:
        before = done
        for events in batches():
            yield events
            done += 1
            if done >= count and before:
                return
        if done >= count or done == before:
            return
