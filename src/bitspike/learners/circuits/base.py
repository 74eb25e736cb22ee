"""Learning without back-propagation: every synapse uses its own traces and one signal that all hear.

Outputs are clamped while they learn: the circuit of the true class emits its first symbol in every step, the others are
silent. Hidden circuits are drawn. One update in each time step; a stream goes on from example to example, with traces
of learning and signals as they are, behind a silent gap that empties the filters. Memory does not grow with time.
A batch of B examples is B streams that share weights: each step's update is the mean of theirs.
The rules are in `plain`; what runs is one compiled loop (`kernels.cpu.circuit_loops`).
"""

from __future__ import annotations

from abc import abstractmethod
from functools import partial
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor

from bitspike.draws import key_words
from bitspike.errors import refuse
from bitspike.kernels.cpu import circuit_loops as loops
from bitspike.kernels.cpu import circuit_parts as codes
from bitspike.kernels.cpu.works import Work, alone
from bitspike.layers.ends import frozen, lengths_of
from bitspike.layers.norm import several_processes
from bitspike.learners.base import Learner
from bitspike.learners.circuits.state import LoopState
from bitspike.learners.optimisation import Optimisation
from bitspike.models.circuits import Circuits, Emitted
from bitspike.models.circuits.likelihood import class_log_p, in_one_presentation
from bitspike.models.setting import Setting

DECODERS = ("counts", "chances", "likelihood")


class Rule(NamedTuple):
    """The numbers of a rule as the loops take them; see `plain` for the equations."""

    eta: float
    kappa: float
    beta: float
    gamma: float
    prior: float
    guard: float = 0.0
    first: float = 1.0
    mode: int = codes.FILTERED_UPDATE
    base: int = codes.BASELINE_BEFORE
    several: bool = False


class CircuitLearner(Learner):
    """Learns probabilistic circuits online.

    rate: eta, times the schedule's factor. kappa, beta: how much of the old traces and of the old averages is kept.
    divergence: weight gamma of the divergence of hidden circuits from a sparse prior that spikes with chance `spiking`.
    baseline: "before" (the averages before this step's signal), "with" (it included), or "none". samples: presentations
    of an example that hidden circuits learn from together, by the importance-weighted bound. decoder: what class
    probabilities are made of (see `outputs`). draws: presentations that an answer is the mean of. parity: deviations of
    the authors' code, by name.
    """

    model: Circuits
    switches: ClassVar[dict[str, str]]

    def __init__(
        self,
        model: Circuits,
        optimisation: Optimisation | None = None,
        task: str = "classification",
        seed: int = 0,
        rate: float = 0.005,
        kappa: float = 0.2,
        beta: float = 0.95,
        divergence: float = 1.0,
        spiking: float = 0.2,
        baseline: str = "before",
        samples: int = 1,
        decoder: str = "counts",
        draws: int = 1,
        parity: list[str] | tuple[str, ...] = (),
        class_weights: Tensor | None = None,
    ) -> None:
        super().__init__(model, None, task, seed)
        if task != "classification":
            refuse("learner.rule", f"circuits for {task}", "classification")
        if several_processes():
            refuse("learner.rule", "several processes", "one process (it updates at every time step)")
        if class_weights is not None:
            refuse("data.class_weights", "true with circuits", "false")
        if decoder not in DECODERS:
            refuse("learner.decoder", repr(decoder), f"one of {', '.join(DECODERS)}")
        for name in parity:
            if name not in self.switches:
                refuse("learner.parity", repr(name), f"some of {', '.join(self.switches)}")
        self.rate, self.kappa, self.beta, self.divergence_weight = rate, kappa, beta, divergence
        self.spiking, self.baseline, self.samples, self.decoder, self.draws = spiking, baseline, samples, decoder, draws
        self.parity = tuple(parity)
        self.paced = optimisation  # by whose schedule the rate changes
        self.state: LoopState | None = None
        self.last: Any = None  # logs (B, T, 4) of the last steps: see `circuit_loops.learn`

    @classmethod
    def network(cls, options: Any, model: Any, setting: Setting) -> Circuits:
        """The circuits of a recipe."""
        if model.kind != "circuits":
            refuse("model.kind", f"'{model.kind}' with learner.rule '{options.rule}'", "'circuits'")
        if setting.emits != "spikes":
            refuse("encoder.name", "values besides 0 and 1 for circuits", "an encoder that emits spikes")
        made: Circuits = setting.build(model)
        return made

    @classmethod
    def updates_per_batch(cls, options: Any, steps: int) -> int:
        """One in each step."""
        return steps

    @classmethod
    def from_options(cls, options: Any, model: Any, **given: Any) -> CircuitLearner:
        """The learner of a recipe."""
        return cls(
            model, **{key: given[key] for key in ("optimisation", "task", "seed", "class_weights")}, **dict(options)
        )

    def rate_factor(self, before: float = 0.0) -> float:
        """The schedule's factor on `rate`; see `Learner.rate_factor`."""
        return 1.0 if self.paced is None else self.paced.factor(max(0.0, self.updates - before))

    def spans(self, updates: int) -> None:
        """The schedule is for `updates` from now on."""
        if self.paced is not None:
            self.paced.total_updates = max(1, updates)

    def learning_rate(self, usual: float, before: float = 0.0) -> float:
        """The rate; see `Learner.learning_rate`."""
        return self.rate * self.rate_factor(before)

    @abstractmethod
    def rule(self) -> Rule:
        """The numbers of this rule now."""

    def numbers(self, mode: int, base: int) -> Rule:
        """A rule of this learner's numbers that updates hidden circuits by `mode` and `base`."""
        return Rule(
            eta=self.rate * self.rate_factor(),
            kappa=self.kappa,
            beta=self.beta,
            gamma=self.divergence_weight,
            prior=self.spiking,
            guard=1e-7 if "V4" in self.parity else 0.0,
            mode=mode,
            base=codes.BASELINE_WITH if "V1" in self.parity else base,
            several=self.samples > 1,
        )

    def start(self) -> None:
        """Nothing: there is no optimiser."""

    def clamped(self, classes: Tensor, steps: int) -> Tensor:
        """Symbols int8 (T, B, O) of outputs for classes (B,) or (B, T): the first, or silence; -1 is any (drawn)."""
        each = classes[:, None].expand(-1, steps) if classes.ndim == 1 else classes
        right = each.T[..., None] == torch.arange(self.model.outputs)
        symbols = torch.where(right, 0, codes.SILENT)
        return torch.where(each.T[..., None] < 0, codes.FREE, symbols).to(torch.int8)

    def fit_batch(
        self,
        events: Tensor,
        targets: Tensor,
        examples: Tensor | None = None,
        mask: Tensor | None = None,
        reset: bool = True,
    ) -> dict[str, float]:
        """Learn every step of B streams; "loss" is -log p of the clamped outputs, nats per step and stream."""
        return alone(self.fitting(events, targets, examples, mask, reset))

    def fitting(
        self, events: Tensor, targets: Tensor, examples: Tensor | None = None, mask: Tensor | None = None,
        reset: bool = True,
    ) -> Work[dict[str, float]]:  # fmt: skip
        """`fit_batch` as work with one loop; see `kernels.cpu.works`."""
        lengths, steps = lengths_of(events), len(events)
        if lengths is not None:
            if len(set(lengths.tolist())) > 1:
                refuse("training.batch", f"{len(lengths)} sequences of different lengths", "1 for these")
            steps = int(lengths[0])
            events, targets = events[:steps], targets[:, :steps] if targets.ndim == 2 else targets
            mask = None if mask is None else mask[:, :steps]
        targets, _ = self.masked(events, targets, mask)
        scores = events.new_empty(events.shape[1], self.model.outputs)
        if self.step_targets(targets, None, steps, scores) is None:
            targets = self.checked_targets(targets, scores)
        wanted = self.clamped(targets, steps)
        if self.samples > 1:
            if events.shape[1] != 1:
                refuse("training.batch", f"{events.shape[1]} with learner.samples {self.samples}", "1")
            events, wanted = (part.expand(-1, self.samples, *part.shape[2:]) for part in (events, wanted))
        logs = yield from self._learning(events, wanted, reset)
        self.last = logs
        loss = float(-logs[..., codes.LOG_P].mean())
        self.updates += steps
        finite = bool(torch.isfinite(self.model.own).all())
        self.check_finite(loss if finite else float("nan"), events, lambda: self.model(events))
        return {"loss": loss, "examples": float(len(targets))}

    def _learning(self, events: Tensor, wanted: Tensor, reset: bool) -> Work[Any]:
        model, rule = self.model, self.rule()
        steps, streams = events.shape[:2]
        w, own, basis, feedback = model.arrays()
        state = self._state_for(streams, rule)
        if reset:
            state.forget()
        # A state that began later counts its steps from there: its draws are not those of the first steps again.
        begun = [self.updates - state.steps] if self.updates > state.steps else []
        words = [key_words(*self.keys, "circuits", stream, *begun) for stream in range(streams)]
        logs = np.zeros((streams, steps, 4), w.dtype)
        emitted = np.zeros((streams, steps, model.circuits), np.int8)
        numbers = codes.constants(*rule[:7], w.dtype)
        given = (
            *model.spikes_of(events), np.ascontiguousarray(wanted.transpose(0, 1).numpy()),
            np.asarray(words, np.uint32), w, own, basis, feedback, model.taps, model.heard, *state.synapses,
            *state.given(), numbers, rule.mode, rule.base, model.symbols, state.limit, rule.several, logs, emitted,
        )  # fmt: skip
        yield partial(loops.learn_function(), *given)
        return logs

    def _state_for(self, streams: int, rule: Rule) -> LoopState:
        """What is carried; another number of streams begins anew."""
        if self.state is None or self.state.streams != streams:
            averages = rule.base != codes.NO_BASELINE
            filtered = rule.mode == codes.FILTERED_UPDATE
            self.state = LoopState(self.model, streams, codes.quiet_steps(rule.kappa), averages, filtered)
        return self.state

    def outputs(self, events: Tensor, every_step: bool = False) -> Tensor:
        """Class probabilities (T, B, C) after each step, of one presentation."""
        return self.answers(events, 0)

    def answers(self, events: Tensor, draw: int) -> Tensor:
        """Class probabilities (T, B, C) after each step, of presentation number `draw`.

        counts: (n_c + 1/C) / (sum n + 1), n_c the symbols that output c emitted so far, as the papers count. chances:
        the same of the chances to emit. likelihood: the posterior of the classes, softmax over c of the log-likelihood
        of outputs that are clamped as for class c.
        """
        keys = (self.seed, "evaluation", draw)
        model, classes = self.model, self.model.outputs
        if self.decoder == "likelihood":
            if in_one_presentation(model):
                logs = class_log_p(model, events, keys)
            else:
                each = (torch.full(events.shape[1:2], c) for c in range(classes))
                logs = torch.stack([self.presented(events, one, keys).log_p for one in each], -1)
            # In double precision: far likelihoods are not 0 before a temperature has brought them nearer.
            return logs.double().cumsum(0).softmax(-1)
        found = model(events, keys=keys)
        emitted = (
            found.chances
            if self.decoder == "chances"
            else (found.symbols[:, :, model.hidden :] >= 0).to(found.log_p.dtype)
        )
        counts = emitted.cumsum(0)
        answer: Tensor = (counts + 1 / classes) / (counts.sum(-1, keepdim=True) + 1)
        return answer

    def presented(self, events: Tensor, classes: Tensor, keys: tuple[Any, ...]) -> Emitted:
        """The circuits under outputs clamped to `classes` (B,)."""
        made: Emitted = self.model(events, self.clamped(classes, len(events)), keys)
        return made

    @torch.no_grad()
    def predict(self, events: Tensor, samples: int = 1, every_step: bool = False) -> Tensor:
        """Class probabilities (T, B, C) after each step: the mean of `draws` presentations."""
        self.model.eval()
        mean = torch.stack([self.answers(events, draw) for draw in range(self.draws)]).mean(0)
        return frozen(mean, lengths_of(events))

    def state_dict(self) -> dict[str, Any]:
        """Updates, and what the streams carry."""
        carried = None if self.state is None else self.state.state_dict()
        return {**super().state_dict(), "streams": 0 if self.state is None else self.state.streams, "carried": carried}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up `state_dict()`."""
        super().load_state_dict(state)
        streams = int(state["streams"])
        if not 0 <= streams <= 10**6 or (state["carried"] is None) != (streams == 0):
            refuse("learner streams", streams, "as many as were carried")
        if not streams:
            self.state = None
        else:
            if len(state["carried"]["bits"]) != streams:
                refuse("learner streams", streams, str(len(state["carried"]["bits"])))
            self._state_for(streams, self.rule()).load_state_dict(state["carried"])
