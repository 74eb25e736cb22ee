"""BiSNN's online rule: a local loss at every layer, one update at every time step.

    L_t = sum_l loss(r_{l,t}, y)          t = burn-in .. T - 1

Every state is detached at every step, so that the gradient is local in time and in depth; in closed form, for
binary cross-entropy, e = (sigmoid(r) - y)/B, dS = c_r G^T e, dU = dS 1[-0.5 < U <= 0.5], dL/dW = c dU^T P.
Bayesian weights are drawn anew at every step and once for the whole burn-in, which updates nothing.
Source: Jang et al. 2020 (BiSNN). The last layer's read-out is the network's answer.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from bitspike import registry
from bitspike.coding.decoding import decode
from bitspike.errors import check_name, refuse
from bitspike.kernels.cpu.subnormal import flushed
from bitspike.layers.ends import frozen, lengths_of
from bitspike.layers.norm import several_processes
from bitspike.learners.base import Learner
from bitspike.learners.optimisation import Optimisation
from bitspike.models import LocalNetwork, LocalState, local_network
from bitspike.models.setting import Setting
from bitspike.neurons.bisnn import Refractory, Traces
from bitspike.targets import answers
from bitspike.weights import at_step, drawn_each_step, redraw

LOSSES = ("cross-entropy", "smooth-l1")


class OnlineLearner(Learner):
    """Learns step by step; `reset=False` goes on in the middle of a stream."""

    model: LocalNetwork
    optimisation: Optimisation

    def __init__(
        self,
        model: LocalNetwork,
        optimisation: Optimisation,
        task: str = "classification",
        seed: int = 0,
        rho: float = 0.0,
        burn_in: int = 10,
        decoder: str = "mean-logit",
        loss: str = "cross-entropy",
        class_weights: Tensor | None = None,
    ) -> None:
        super().__init__(model, optimisation, task, seed)
        if several_processes():
            refuse("learner rule 'online'", "several processes", "one process (it updates at every time step)")
        if burn_in < 0:
            refuse("learner burn_in", burn_in, "0 or more steps")
        check_name("learner loss", loss, LOSSES)
        self.rho, self.burn_in, self.decoder, self.loss = rho, burn_in, decoder, loss
        self.class_weights = class_weights
        self.carried: list[LocalState] | None = None
        self.seen = 0

    @classmethod
    def network(cls, options: Any, model: Any, setting: Setting) -> LocalNetwork:
        """BiSNN's local network, of a feed-forward model's layers."""
        if model.kind != "feedforward":
            refuse("learner.rule", f"'online' with model.kind '{model.kind}'", "'backprop'")
        if options.burn_in >= setting.steps:
            refuse("learner.burn_in", options.burn_in, f"fewer than the {setting.steps} time steps")
        if model.neuron.kind != "bisnn":
            refuse("model.neuron.kind", f"'{model.neuron.kind}'", "'bisnn' with the online rule")
        shape, layers = setting.shape, model.layers
        if len(shape) != 3 and any("c" in layer for layer in layers):
            refuse("model.layers", layers, f"dense layers on inputs of shape {shape}")
        flat = (math.prod(shape),) if not layers or "c" not in layers[0] else shape
        # Two classes need one read-out in the paper's rule: sigmoid(r) is the probability of class 1.
        outputs = 1 if setting.task == "classification" and setting.outputs == 2 else setting.outputs
        constants = registry.fields_of(model.neuron)
        return local_network(flat, outputs, layers, bias=model.bias, keys=(setting.seed, "init"), **constants)

    @classmethod
    def updates_per_batch(cls, options: Any, steps: int) -> int:
        """One at every step behind the burn-in."""
        return max(1, steps - int(options.burn_in))

    @classmethod
    def from_options(cls, options: Any, model: Any, **given: Any) -> OnlineLearner:
        """The learner of a recipe."""
        if not isinstance(model, LocalNetwork):
            refuse("learner.rule", f"'online' with a {type(model).__name__}", "'backprop', or a LocalNetwork")
        fields = dict(options) | ({"loss": "cross-entropy"} if options.loss == "final" else {})
        return cls(model, **{key: given[key] for key in ("optimisation", "task", "seed", "class_weights")}, **fields)

    def local_loss(self, readout: Tensor, targets: Tensor, reduction: str = "mean") -> Tensor:
        """Mean loss of one layer's read-out (B, O) at one step; "none": of each example, or number of it."""
        weights = None if self.class_weights is None else self.class_weights.to(readout)
        if self.task == "regression" or readout.shape[1] == 1:
            wanted = targets.to(readout.dtype).view_as(readout)
            if self.loss == "smooth-l1":
                return self._weighed(torch.sigmoid(readout), wanted, targets, reduction)
            each = weights[targets].unsqueeze(1) if weights is not None else None
            if self.task == "classification":
                readout = self.with_margins(readout)
            return F.binary_cross_entropy_with_logits(readout, wanted, weight=each, reduction=reduction)
        if self.loss == "smooth-l1":
            wanted = F.one_hot(targets, readout.shape[1]).to(readout.dtype)
            return self._weighed(readout, wanted, targets, reduction)
        return F.cross_entropy(self.with_margins(readout), targets, weight=weights, reduction=reduction)

    def _weighed(self, values: Tensor, wanted: Tensor, targets: Tensor, reduction: str) -> Tensor:
        """Smooth L1, each example times the weight of its class."""
        if self.class_weights is None or self.task == "regression":
            return F.smooth_l1_loss(values, wanted, reduction=reduction)
        each = F.smooth_l1_loss(values, wanted, reduction="none")
        each = each * self.class_weights.to(each)[targets].view(-1, *(1,) * (each.ndim - 1))
        return each if reduction == "none" else each.mean()

    @flushed()
    def fit_batch(
        self,
        events: Tensor,
        targets: Tensor,
        examples: Tensor | None = None,
        mask: Tensor | None = None,
        reset: bool = True,
    ) -> dict[str, float]:
        """Updates at every step after the burn-in; with reset=False the states go on from the last call."""
        targets, counted = self.masked(events, targets, mask)
        self.model.train()
        states = self._states(events, reset)
        if reset:
            self.seen = 0
        if self.seen < self.burn_in:
            # The same draw in every slice of a burn-in, whatever was drawn between them.
            redraw(self.model, *self.keys, "burn-in", self.updates)
        losses: list[float] = []
        readouts: list[Tensor] = []
        hits: list[Tensor] = []
        lengths, each = lengths_of(events), None
        anew = drawn_each_step(self.model)
        for step, x in enumerate(events.unbind(0)):
            if self.seen < self.burn_in:
                if anew:
                    at_step(self.model, self.seen)
                with torch.no_grad():
                    _, _, states = self.model(x, states)
            else:
                redraw(self.model, *self.keys, "weights", self.updates)
                self.optimisation.zero_grad()
                logits, _, states = self.model(x, states)
                if not readouts:
                    each = self.step_targets(targets, counted, len(events), logits[-1])
                    targets = targets if each is not None else self.checked_targets(targets, logits[-1])
                readouts.append(logits[-1].detach())
                some, wanted = _now(each, targets, lengths, step)
                if len(wanted) == 0:
                    self.seen += 1
                    continue
                loss = torch.stack([self.local_loss(r[some], wanted) for r in logits]).sum()
                if each is not None and self.task == "classification":
                    hits.append(answers(readouts[-1][some]) == wanted)
                loss.backward()
                losses.append(float(loss.detach()))
                # The states that led here are rebuilt by the same pass over the whole slice.
                self.check_finite(losses[-1], events, lambda: self.readouts(events))
                self.add_prior_gradient(self.rho)
                self.optimisation.step(self.updates)
                self.updates += 1
            self.seen += 1
        self.carried = states
        mean_loss = sum(losses) / len(losses) if losses else 0.0
        metrics = {"loss": mean_loss, "examples": float(len(targets))}
        if hits:
            right = torch.cat(hits)
            metrics |= {"examples": float(len(right)), "accuracy": float(right.double().mean())}
        elif readouts and self.task == "classification":
            decoded = decode(torch.stack(readouts), "mean-logit", self.task)
            if lengths is not None:
                decoded = frozen(decoded, (lengths - (len(events) - len(readouts))).clamp(min=1))
            metrics["accuracy"] = float((decoded[-1].argmax(-1) == targets).double().mean())
        return metrics

    def _states(self, events: Tensor, reset: bool) -> list[LocalState]:
        if reset or self.carried is None:
            return self.model.initial(events.shape[1])
        if len(self.carried[0].traces.P) != events.shape[1]:
            refuse("batch", events.shape[1], f"{len(self.carried[0].traces.P)} examples, as in the slice before")
        return self.carried

    def readouts(self, events: Tensor) -> Tensor:
        """The last layer's read-out (T, B, O) from rest, with the weights as they are set now."""
        over_time: Tensor = self.model(events)
        return over_time

    def outputs(self, events: Tensor, every_step: bool = False) -> Tensor:
        """Decoded read-outs of the last layer after each step."""
        return decode(self.readouts(events), self.decoder, self.task, self.burn_in)

    def state_dict(self) -> dict[str, Any]:
        """Optimiser, update count, and the states carried in the middle of a stream."""
        states = self.carried
        carried = None if states is None else [[t.clone() for t in (*s.traces, *s.refractory)] for s in states]
        return {**super().state_dict(), "seen": self.seen, "carried": carried}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up `state_dict()`."""
        super().load_state_dict(state)
        self.seen = int(state["seen"])
        self.carried = None
        if state["carried"] is not None:
            each = ([t.clone() for t in layer] for layer in state["carried"])
            self.carried = [LocalState(Traces(p, q), Refractory(r, s)) for p, q, r, s in each]


def _now(
    each: tuple[Tensor, Tensor] | None, targets: Tensor, lengths: Tensor | None, step: int
) -> tuple[Tensor | slice, Tensor]:
    """Rows of a batch that have a loss at `step` (before their ends, and with a target), and their targets."""
    if each is not None:
        wanted, counted = each
        some = torch.nonzero(counted[:, step])[:, 0]
        return some, wanted[some, step]
    if lengths is None:
        return slice(None), targets
    some = torch.nonzero(lengths > step)[:, 0]
    return some, targets[some]
