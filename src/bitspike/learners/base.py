"""The interface every way of learning answers to."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from typing import Any, cast

import torch
from torch import Tensor, nn

from bitspike import registry
from bitspike.coding.decoding import ensemble_outputs
from bitspike.draws import Key, global_draws
from bitspike.errors import BitspikeError, refuse
from bitspike.kernels.cpu.works import Work
from bitspike.layers.ends import ends_at, frozen, inside, lengths_of
from bitspike.learners.exchange import Places, Roles
from bitspike.learners.optimisation import Optimisation
from bitspike.models.setting import Setting
from bitspike.neurons import redraw_units
from bitspike.targets import class_targets, classes_of, value_targets
from bitspike.weights import binary_parametrizations, redraw, use_map


class Learner(ABC):
    """A model and the rule it learns by.

    task: "classification" or "regression". seed names every draw, and with `key` those of learning: clients of a
    federation and members of a population draw numbers of their own. `updates` counts updates. optimisation: the
    optimisers of a rule that hands gradients to some; a rule with an update of its own has none.
    """

    margins: Tensor | None = None
    """Margins of the classes in the loss, (C,): a client's own; or (M, C), of M rows that are there again and again."""

    def __init__(
        self,
        model: nn.Module,
        optimisation: Optimisation | None = None,
        task: str = "classification",
        seed: int = 0,
        key: tuple[Key, ...] = (),
    ) -> None:
        self.model, self.optimisation, self.task, self.seed, self.key = model, optimisation, task, seed, key
        self.updates = 0

    def with_margins(self, logits: Tensor) -> Tensor:
        """Logits (M, C), or (M, 1) of two classes, as a cross-entropy sees them: without each class's margin."""
        if self.margins is None:
            return logits
        margins = self.margins.to(logits)
        if logits.shape[1] == 1:
            margins = (margins[..., 1] - margins[..., 0]).unsqueeze(-1)
        if margins.ndim == 1:
            return logits - margins
        return (logits.reshape(-1, *margins.shape) - margins).view(logits.shape)

    @property
    def keys(self) -> tuple[Key, ...]:
        """What names a draw of learning, before its purpose."""
        return (self.seed, *self.key)

    def start(self) -> None:
        """Make what only learning needs; what it refuses is refused here."""
        if self.optimisation is not None:
            _ = self.optimisation.optimisers

    def rate_factor(self, before: float = 0.0) -> float:
        """The schedule's factor on the learning rate now, or so many updates `before`; 1 for a rule without one."""
        return 1.0 if self.optimisation is None else self.optimisation.factor(max(0.0, self.updates - before))

    def learning_rate(self, usual: float, before: float = 0.0) -> float:
        """The learning rate now, or so many updates `before`, where the optimiser's own is `usual`."""
        return usual * self.rate_factor(before)

    def rate_reached(self, usual: float) -> float:
        """The learning rate at the end of what was learned: that before a schedule's next step, if one is due now."""
        return self.learning_rate(usual if self.optimisation is None else self.optimisation.usual_rate, before=1e-6)

    def spans(self, updates: int) -> None:
        """From now on schedules are for `updates` in all: clients of a federation with shares of many sizes."""
        if self.optimisation is not None:
            self.optimisation.total_updates = max(1, updates)

    @classmethod
    def network(cls, options: Any, model: Any, setting: Setting) -> nn.Module:
        """The network that a learner with these options trains, by the options of a model."""
        if registry.trait("model", model.kind, "local_rule", False):
            refuse("learner.rule", f"'{options.rule}' with model.kind '{model.kind}'", "'vowel' or 'glm'")
        return cast(nn.Module, setting.build(model))

    @classmethod
    def updates_per_batch(cls, options: Any, steps: int) -> int:
        """Updates that one batch of `steps` time steps costs."""
        return 1

    @abstractmethod
    def fit_batch(
        self,
        events: Tensor,
        targets: Tensor,
        examples: Tensor | None = None,
        mask: Tensor | None = None,
        reset: bool = True,
    ) -> dict[str, float]:
        """Learn from one batch: events (T, B, *features), targets (B,) classes or (B, D) values.

        examples: their numbers (B,) in the data set, for rules that keep or draw something for each. Targets (B, T)
        int64 are a class for each step, -1 where there is none, and (B, T, D) values for each step; mask: bool (B, T),
        the steps whose targets count. Events that carry lengths (see `layers.ends`) are learned from up to each
        sequence's end alone. reset: begin at rest; False goes on in the middle of a stream, for rules that can.
        Returns "loss", "examples" that it is a mean of, and "accuracy" of classes.
        """

    def fitting(
        self, events: Tensor, targets: Tensor, examples: Tensor | None = None, mask: Tensor | None = None,
        reset: bool = True,
    ) -> Work[dict[str, float]]:  # fmt: skip
        """`fit_batch` as work that stops at loops which need no interpreter; most learners have none."""
        yield from ()
        # Learners of one's own may take no more than they were ever given.
        more: dict[str, Any] = {} if mask is None else {"mask": mask}
        if not reset:
            more["reset"] = reset
        # What modules and learners of one's own draw from torch's global generator is named as all draws are, so that
        # a run that was cut comes to the same end.
        with global_draws(*self.keys, "learn", self.updates, device=events.device):
            return checked_metrics(self, self.fit_batch(events, targets, examples=examples, **more))

    @abstractmethod
    def outputs(self, events: Tensor, every_step: bool = False) -> Tensor:
        """Probabilities (T, B, C) or values (T, B, D) after each step, with the weights as they are set now.

        Of a network that answers once, (1, B, C); every_step: after each step of that one too.
        """

    def checked_targets(self, targets: Tensor, scores: Tensor) -> Tensor:
        """targets as scores (B, C) need them: class numbers (B,), or values (B, C); refused if they are not."""
        if self.task == "regression":
            return value_targets("batch targets", targets, tuple(scores.shape))
        return class_targets("batch targets", targets, len(scores), classes_of(scores))

    def masked(self, events: Tensor, targets: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Targets whose classes are -1 where the mask is not, and the steps (B, T) whose values count.

        The second is None where the targets are for each example, or classes.
        """
        shaped = isinstance(targets, Tensor) and targets.ndim == (3 if self.task == "regression" else 2)
        if mask is None:
            if not shaped or self.task != "regression":
                return targets, None
            lengths = lengths_of(events)
            within = None if lengths is None else inside(lengths, len(events)).T
            return targets, targets.new_ones(targets.shape[:2], dtype=torch.bool) if within is None else within
        if not shaped or mask.dtype != torch.bool or mask.shape != targets.shape[:2]:
            came = f"{mask.dtype} {tuple(mask.shape)} with targets {tuple(targets.shape)}"
            refuse("batch mask", came, "bool (B, T) with targets for each step")
        if self.task == "regression":
            return targets, mask
        return targets.masked_fill(~mask, -1), None

    def step_targets(
        self, targets: Tensor, counted: Tensor | None, steps: int, scores: Tensor
    ) -> tuple[Tensor, Tensor] | None:
        """Targets for each of the `steps` steps, and those (B, T) that count; None where they are for each example.

        Both as `masked` gives them; scores: (B, C) of one step. With as many steps as classes, rows with a single 1
        may be either, and are refused.
        """
        if counted is not None:
            if targets.shape != (len(scores), steps, scores.shape[1]):
                refuse("batch targets", tuple(targets.shape), f"({len(scores)}, {steps}, {scores.shape[1]})")
            if not bool(counted.any()):
                refuse("batch mask", "no target at any step", "a target at some step")
            value_targets("batch targets", targets[counted], (int(counted.sum()), scores.shape[1]))
            return targets, counted
        if self.task == "regression" or not isinstance(targets, Tensor) or targets.ndim != 2 or targets.shape[1] == 1:
            return None
        classes = classes_of(scores)
        one_hot = targets.shape[1] == classes and bool(((targets == 0) | (targets == 1)).all())
        if one_hot and bool((targets.sum(1) == 1).all()):
            class_targets("batch targets", targets, len(scores), classes)
        if targets.shape != (len(scores), steps):
            wanted = f"({len(scores)},), or ({len(scores)}, {steps}) for each step"
            refuse("batch targets", tuple(targets.shape), wanted)
        whole = not targets.is_floating_point() and targets.dtype != torch.bool and targets.numel() > 0
        if whole and (least := int(targets.min())) < -1:
            refuse("batch targets", f"class {least}", "classes 0 or more, -1 for a step without one")
        known = targets[targets >= 0]
        if len(known) == 0:
            refuse("batch targets", "no class at any step", "a class at some step")
        class_targets("batch targets", known, len(known), classes_of(scores))
        return targets, targets >= 0

    @property
    def bayesian(self) -> bool:
        """True when weights are drawn."""
        return any(p.is_drawn for _, p, _ in binary_parametrizations(self.model))

    @torch.no_grad()
    def predict(self, events: Tensor, samples: int = 1, every_step: bool = False) -> Tensor:
        """Outputs (T, B, C) after each time step; regression: value and spread stacked, C = 2D.

        Behind the end of a sequence (events that carry lengths, see `layers.ends`) its last answer stays.

        samples: Bayesian weights are drawn that many times and the outputs averaged; 0: MAP weights. The k-th
        draw is the same for every batch, as in a shipped ensemble. Other weights need, and get, one pass.
        every_step: after each step also of a network that answers once, and takes longer for it.
        """
        self.model.eval()
        redraw_units(self.model, self.seed, "evaluation")
        members = []
        lengths = lengths_of(events)
        # What modules of one's own draw from torch's global generator is named here as well.
        with ends_at(lengths), global_draws(self.seed, "evaluation", device=events.device):
            if samples == 0 or not self.bayesian:
                use_map(self.model, self.bayesian)
                members.append(self.outputs(events, every_step))
                use_map(self.model, False)
            else:
                for k in range(samples):
                    redraw(self.model, self.seed, "ensemble", k)
                    members.append(self.outputs(events, every_step))
        return frozen(ensemble_outputs(members, self.task), lengths)

    def finish(self, batches: Callable[[], Iterable[Tensor]]) -> None:  # noqa: B027 - nothing to do by default
        """Called once when training ends, with training events to settle statistics on."""

    @cached_property
    def places(self) -> Places:
        """Where the tensors that a federation sends lie in the model, which keeps its modules from now on."""
        return Places(self.model)

    def exchanged(self) -> Roles:
        """Copies of the tensors that a federation would send, by role and name; see `learners.exchange`."""
        return self.places.exchanged()

    def receive(self, sent: Mapping[str, Mapping[str, Tensor]]) -> None:
        """Take over what came in the form of `exchanged()`; moments stay."""
        self.places.receive(sent)

    def state_dict(self) -> dict[str, Any]:
        """What is carried from batch to batch besides the model, as copies."""
        optimisation = {} if self.optimisation is None else {"optimisation": self.optimisation.state_dict()}
        return {"updates": self.updates, **optimisation}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up `state_dict()`."""
        self.updates = int(state["updates"])
        if not 0 <= self.updates <= 2**53:
            refuse("updates", self.updates, "0 to 2^53")
        if self.optimisation is not None:
            self.optimisation.load_state_dict(state["optimisation"])

    def add_prior_gradient(self, rho: float) -> None:
        """Add rho times the gradient of KL(q || p0) to the latents' gradients."""
        if rho:
            for _, precision, latent in binary_parametrizations(self.model):
                if latent.grad is not None and (pull := precision.prior_gradient(latent.detach())) is not None:
                    latent.grad.add_(pull, alpha=rho)

    def divergence(self) -> float:
        """KL(q || p0) of all weights with a prior, in nats; 0 without any."""
        found = binary_parametrizations(self.model)
        return float(sum(precision.divergence(latent.detach().double()) for _, precision, latent in found))

    def check_finite(self, loss: float, events: Tensor, run: Callable[[], object]) -> None:
        """Stop on a loss or gradient that is not finite, naming the update and the first layer where it shows.

        A spike hides a NaN (the comparison is false), so a broken layer can leave the loss finite: gradients are
        looked at too. run: repeats the forward pass.
        """
        grads = [p.grad.sum() for p in self.model.parameters() if p.grad is not None]
        if math.isfinite(loss) and (not grads or math.isfinite(float(torch.stack(grads).sum()))):
            return
        what = f"the loss became {loss}" if not math.isfinite(loss) else "a gradient became non-finite"
        where = "the input" if not bool(torch.isfinite(events).all()) else ""
        found: list[str] = []

        def watch(name: str) -> Callable[[nn.Module, Any, Any], None]:
            def hook(module: nn.Module, arguments: Any, output: Any) -> None:
                tensors = output if isinstance(output, tuple | list) else [output]
                if any(isinstance(t, Tensor) and not bool(torch.isfinite(t).all()) for t in tensors):
                    found.append(name)

            return hook

        if not where:
            handles = [m.register_forward_hook(watch(n)) for n, m in self.model.named_modules() if n]
            try:
                with torch.no_grad():
                    run()
            finally:
                for handle in handles:
                    handle.remove()
            where = f"layer '{found[0]}'" if found else "the loss itself"
        raise BitspikeError(
            f"training: {what} at update {self.updates}, first non-finite value in {where}; "
            "a new run with a lower learning rate is the usual way on"
        )


def checked_metrics(learner: Learner, metrics: Any) -> dict[str, float]:
    """What `fit_batch` returned; refused at once where it is no dict of numbers, or its loss is not finite."""
    field = f"{type(learner).__name__}.fit_batch"
    if not isinstance(metrics, dict) or not {"loss", "examples"} <= set(metrics):
        came = f"a dict with {', '.join(map(repr, metrics)) or 'nothing'}" if isinstance(metrics, dict) else metrics
        refuse(field, came, "a dict with 'loss' and 'examples'")
    for name, value in metrics.items():
        if isinstance(value, bool) or not isinstance(value, int | float):
            refuse(f"{field} {name!r}", type(value).__name__, "a number (float(...) of a tensor)")
    if not math.isfinite(metrics["loss"]):
        refuse(f"{field} 'loss'", f"{metrics['loss']} at update {learner.updates}", "a finite number")
    if not metrics["examples"] > 0:
        refuse(f"{field} 'examples'", metrics["examples"], "how many the loss is a mean of")
    return metrics
