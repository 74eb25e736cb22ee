"""A run as a plan, and its answers while an input still comes in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from bitspike.checks import as_tensor
from bitspike.coding.decoding import DECODERS, ensemble_outputs
from bitspike.coding.windows import Windows
from bitspike.errors import check_name, refuse
from bitspike.models.plan import Decode, Input, Plan, plan_of
from bitspike.models.sequence import SequenceNetwork
from bitspike.neurons import redraw_units
from bitspike.weights import at_step, drawn_each_step, redraw, use_map

if TYPE_CHECKING:
    from bitspike.run.finished import Run


def chosen(run: Run, member: int | str | None) -> int | None:
    """The draw that `member` asks for, None: MAP, or weights that are not drawn; see `Run.plan`."""
    if not run.learner.bayesian:
        if member is not None:
            refuse("plan member", repr(member), "none: these weights are not drawn")
        return None
    draws = run.recipe.evaluation.draws
    wanted = f"'map' or a draw, 0 to {draws - 1}"
    if member is None:
        if run.draws > 1:
            refuse("plan member", "none", f"{wanted}: this run answers with an ensemble of {run.draws}")
        return 0 if run.draws else None
    if member == "map":
        return None
    if isinstance(member, bool) or not isinstance(member, int) or not 0 <= member < draws:
        refuse("plan member", repr(member), wanted)
    return member


def plan_of_run(run: Run, member: int | None, step: int | None = None) -> Plan:
    """The network of a run with its encoder and decoder; member: of Bayesian weights, the draw, or None for MAP.

    step: the time step whose weights it has, where these are drawn at each.
    """
    model, learner, encoder = run.model, run.learner, run.encoder
    if member is not None and step is None and drawn_each_step(model):
        wanted = "'map', or predict and stream: with weights.redraw 'step' weights change while it runs"
        refuse("plan member", member, wanted)
    shape = encoder.features(run.seen_shape)
    options = {name: value for name, value in dict(run.recipe.encoder).items() if name != "frozen"}
    windows: dict[str, Any] = {"width": encoder.width, "stride": encoder.stride} if isinstance(encoder, Windows) else {}
    source = Input(
        name="input", inputs=(), shape=shape, emits=encoder.emits, encoder=run.recipe.encoder.name, options=options,
        steps=encoder.steps, **windows,
    )  # fmt: skip
    # A sequence network's read-out is an answer; the others' are added up over time.
    decoder = "last" if isinstance(model, SequenceNetwork) else decoder_of(run)
    start = getattr(learner, "burn_in", 0)
    decode = Decode(name="decoder", inputs=(), decoder=decoder, task=run.form.task, start=start)
    redraw_units(model, learner.seed, "evaluation")
    use_map(model, member is None and learner.bayesian)
    if member is not None:
        redraw(model, learner.seed, "ensemble", member)
        if step is not None:
            at_step(model, step)
    words = "" if not learner.bayesian else "MAP" if member is None else f"draw {member}"
    try:
        return plan_of(model, shape, source=source, decoder=decode, member=words)
    finally:
        use_map(model, False)


def decoder_of(run: Run) -> str:
    """How a learner reads the network's outputs; one of one's own says it, by an option or an attribute."""
    learner, rule = run.learner, run.recipe.learner.rule
    said = getattr(run.recipe.learner, "decoder", getattr(learner, "decoder", None))
    if not isinstance(said, str):
        refuse(f"learner '{rule}'", "no word of how it reads answers", "an option or attribute `decoder` of it")
    check_name(f"learner '{rule}' decoder", said, DECODERS, ", ".join(DECODERS))
    return said


class Stream:
    """Answers of a run, slice of time by slice; see `Run.stream`. steps: of the input so far."""

    def __init__(self, run: Run, members: list[int | None], scaled: bool) -> None:
        self._run, self._members, self._scaled = run, members, scaled
        self._each_step = members != [None] and drawn_each_step(run.model)
        self._plans = self._planned(0)
        self._states: list[list[Any]] = []
        self._batch: int | None = None
        self.steps = 0

    def _planned(self, step: int) -> list[Plan]:
        return [plan_of_run(self._run, member, step if self._each_step else None) for member in self._members]

    @property
    def plans(self) -> list[Plan]:
        """One for each member of the ensemble; of weights that are drawn at each step, those of the last one."""
        return list(self._plans)

    def feed(self, x: Tensor) -> Tensor:
        """The answers after each step of x (T, N, *features), (T, N, C) or value and spread (T, N, 2D).

        T may be any number, also of one call to the next; N stays. Refuses what is no slice of the network's input.
        """
        x = as_tensor("stream slice", x)
        reads = self._plans[0].input.reads
        if x.ndim < 2 or tuple(x.shape[2:]) != reads or self._batch not in (None, x.shape[1]) or 0 in x.shape[:2]:
            wanted = ", ".join(["T", str(self._batch or "N"), *map(str, reads)])
            refuse("stream slice", tuple(x.shape), f"({wanted}), one step and one example at least")
        if not bool(torch.isfinite(x).all()):
            refuse("stream slice", "values that are not finite", "finite values")
        # The same parts as in `predict`: what a part draws depends on its size.
        parts = torch.arange(x.shape[1]).split(self._run.recipe.evaluation.batch)
        if self._batch is None:
            self._batch = x.shape[1]
            self._states = [[plan.initial(len(rows)) for rows in parts] for plan in self._plans]
        answers = []
        for now in x.split(1) if self._each_step else [x]:
            if self._each_step and self.steps:
                # Of windows, one step of the network takes several of the data.
                self._plans = self._planned(self.steps // self._plans[0].input.stride)
            answers.append(self._fed(now, parts))
            self.steps += len(now)
        members = [torch.cat(each) for each in zip(*answers, strict=True)]
        return self._run.in_units(ensemble_outputs(members, self._run.form.task), self._scaled)

    def _fed(self, x: Tensor, parts: Sequence[Tensor]) -> list[Tensor]:
        """The answers of each member to a slice, whose examples are worked on by `parts`."""
        members = []
        for plan, states in zip(self._plans, self._states, strict=True):
            answers = []
            for number, rows in enumerate(parts):
                y, states[number] = plan.run(x[:, int(rows[0]) : int(rows[-1]) + 1], states[number])
                answers.append(y)
            members.append(torch.cat(answers, 1))
        return members
