"""Optimisers and learning-rate schedules: latents of few-bit weights and real parameters, each with their own.

Schedule factor at progress q in [0, 1), with warm-up fraction w and end factor e:

    constant   1
    one-cycle  rises linearly from 1/25 to 1 over [0, w), then falls as a half cosine to e
    cosine     e + (1 - e)(1 + cos(pi q))/2
    step       halved `halvings` times at equal distances
    drops      `drop` to the number of entries of `at` that q has reached
"""

from __future__ import annotations

import copy
import inspect
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cached_property
from typing import Any

import torch
from torch import nn

from bitspike.errors import check_name, refuse
from bitspike.weights import latent_parameters

SCHEDULES = ("constant", "one-cycle", "cosine", "step", "drops")


@dataclass(frozen=True)
class Schedule:
    """Learning-rate factor as a pure function of progress; nothing to store, nothing to resume."""

    kind: str = "constant"
    warmup: float = 0.2
    end: float = 1e-3
    halvings: int = 5
    drop: float = 0.2
    at: Sequence[float] = (0.33, 0.66)

    def __post_init__(self) -> None:
        check_name("schedule kind", self.kind, SCHEDULES)
        if not 0 < self.drop < math.inf:
            refuse("schedule drop", self.drop, "a positive number")
        if not all(0 < each < 1 for each in self.at):
            refuse("schedule at", list(self.at), "shares of training between 0 and 1")

    def factor(self, progress: float) -> float:
        """Factor on the learning rate at `progress` in [0, 1)."""
        if self.kind == "constant":
            return 1.0
        if self.kind == "step":
            return float(0.5 ** math.floor(progress * (self.halvings + 1)))
        if self.kind == "drops":
            return float(self.drop ** sum(progress >= each for each in self.at))
        warmup = self.warmup if self.kind == "one-cycle" else 0.0
        if progress < warmup:
            return 1 / 25 + (1 - 1 / 25) * progress / warmup
        fall = (progress - warmup) / (1 - warmup)
        return self.end + (1 - self.end) * (1 + math.cos(math.pi * fall)) / 2

    def rate_for(self, total: float, updates: int) -> float:
        """The learning rate whose sum over `updates`, factors included, is `total`."""
        return total / math.fsum(self.factor(update / max(1, updates)) for update in range(max(1, updates)))


@dataclass(frozen=True)
class OptimiserChoice:
    """A torch optimiser by name, its learning rate and its other options.

    decay: weight decay by path of a module or a weight, wildcards allowed; biases and what no path fits keep that of
    the options.
    """

    name: str = "Adam"
    lr: float = 1e-3
    options: Mapping[str, Any] = field(default_factory=dict)
    decay: Mapping[str, float] = field(default_factory=dict)

    def build(self, parameters: Mapping[str, nn.Parameter], field_name: str) -> torch.optim.Optimizer:
        """The optimiser of parameters by their paths; a wrong name, option or path is refused."""
        kind: Any = getattr(torch.optim, self.name, None)
        if not isinstance(kind, type) or not issubclass(kind, torch.optim.Optimizer):
            refuse(f"{field_name} name", repr(self.name), "an optimiser of torch.optim, such as 'Adam' or 'SGD'")
        if self.name in ("LBFGS", "SparseAdam", "Optimizer", "Muon"):
            refuse(f"{field_name} name", repr(self.name), "an optimiser of single dense steps, such as 'Adam'")
        options: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in self.options.items()}
        self._check(kind, field_name)
        try:
            make: Any = kind
            built: torch.optim.Optimizer = make(self.groups(parameters, field_name), lr=self.lr, **options)
        except (TypeError, ValueError, IndexError, RuntimeError) as error:
            refuse(f"{field_name} options", options, f"options of torch.optim.{self.name} ({error})")
        return built

    def _check(self, kind: Any, field_name: str) -> None:
        """Refuse options of another type than torch's own default: text is as good as true to torch."""
        known = inspect.signature(kind).parameters
        for key, value in self.options.items():
            usual = known[key].default if key in known else None
            truth = isinstance(usual, bool) or key in ("foreach", "fused", "capturable")
            if key == "differentiable" and value is True:
                refuse(f"{field_name}.options.{key}", value, "false: nobody differentiates an update")
            if truth and not isinstance(value, bool | None):
                refuse(f"{field_name}.options.{key}", repr(value), "true or false")
            number = isinstance(value, int | float) and not isinstance(value, bool)
            if isinstance(usual, int | float) and not truth and not number:
                refuse(f"{field_name}.options.{key}", repr(value), "a number")
            if isinstance(usual, tuple) and not (isinstance(value, list | tuple) and len(value) == len(usual)):
                refuse(f"{field_name}.options.{key}", repr(value), f"{len(usual)} numbers")

    def groups(self, parameters: Mapping[str, nn.Parameter], field_name: str) -> list[dict[str, Any]]:
        """Groups of parameters with the same weight decay: the first path that fits one is taken."""
        found: dict[str | None, list[nn.Parameter]] = {path: [] for path in (None, *self.decay)}
        used = set()
        for name, parameter in parameters.items():
            fitting = [path for path in self.decay if fnmatchcase(name, path) or fnmatchcase(name, f"{path}.*")]
            used |= set(fitting)
            found[fitting[0] if fitting and parameter.ndim > 1 else None].append(parameter)
        if unused := [path for path in self.decay if path not in used]:
            refuse(f"{field_name} decay", repr(unused[0]), f"a path that fits one of {', '.join(parameters)}")
        decays: dict[str | None, dict[str, float]] = {path: {"weight_decay": self.decay[path]} for path in self.decay}
        return [{"params": some, **decays.get(path, {})} for path, some in found.items() if some]


class Optimisation:
    """The optimisers of a model under one schedule."""

    def __init__(
        self,
        model: nn.Module,
        real: OptimiserChoice,
        latent: OptimiserChoice | None,
        schedule: Schedule,
        total_updates: int,
    ) -> None:
        latents = latent_parameters(model)
        known = {id(p) for p in latents.values()}
        others = {name: p for name, p in model.named_parameters() if p.requires_grad and id(p) not in known}
        self.schedule, self.total_updates = schedule, max(1, total_updates)
        if schedule.kind != "constant" and "Rprop" in (real.name, latent.name if latent else ""):
            refuse("schedule.kind", f"'{schedule.kind}' with Rprop, which finds steps of its own", "'constant'")
        self._choices = {"real": (real, others, "optimizer"), "latent": (latent or real, latents, "latent_optimizer")}

    @cached_property
    def optimisers(self) -> dict[str, tuple[torch.optim.Optimizer, float]]:
        """Optimiser and learning rate by kind of parameter; made when asked for, as a run that only answers needs none
        and torch takes seconds to make its first."""
        return {
            kind: (choice.build(parameters, field_name), choice.lr)
            for kind, (choice, parameters, field_name) in self._choices.items()
            if parameters
        }

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for optimiser, _ in self.optimisers.values():
            optimiser.zero_grad(set_to_none=True)

    @property
    def usual_rate(self) -> float:
        """The learning rate before the schedule: of real parameters, of latent ones where there are no others."""
        return float(self._choices["real" if self._choices["real"][1] else "latent"][0].lr)

    def factor(self, update: float) -> float:
        """The schedule's factor on the learning rate at an update."""
        return self.schedule.factor(min(update / self.total_updates, 1 - 1e-9))

    def step(self, update: int) -> float:
        """One update of every parameter; returns the schedule's factor."""
        factor = self.factor(update)
        for optimiser, lr in self.optimisers.values():
            for group in optimiser.param_groups:
                group["lr"] = lr * factor
            optimiser.step()
        return factor

    def state_dict(self) -> dict[str, Any]:
        """State of every optimiser, as copies."""
        return {name: copy.deepcopy(optimiser.state_dict()) for name, (optimiser, _) in self.optimisers.items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up the moments of every optimiser; rates, decays and other options stay what they are here."""
        for name, (optimiser, _) in self.optimisers.items():
            # The rate is that of the last step until the next one sets it.
            kept = {"params", "lr"}
            own = [{key: value for key, value in g.items() if key not in kept} for g in optimiser.param_groups]
            given = state[name]
            # Torch would keep, and save again, moments under a number that no parameter has.
            if set(given["state"]) - {number for group in given["param_groups"] for number in group["params"]}:
                raise ValueError(f"{name}: moments of a parameter that is not there")
            if not given["state"] and [len(g["params"]) for g in given["param_groups"]] == [
                len(g["params"]) for g in optimiser.param_groups
            ]:
                optimiser.state.clear()
                continue
            # Copied: torch keeps the very tensors it is given.
            optimiser.load_state_dict(copy.deepcopy(given))
            for group, values in zip(optimiser.param_groups, own, strict=True):
                group.update(values)
