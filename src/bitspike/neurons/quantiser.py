"""Temporally-diffused quantiser: an activation as integers whose error is carried to the next step.

    r_t = f(x_t)                     any static nonlinearity
    u_t = v_{t-1} + dt r_t
    n_t = floor(u_t)                 spikes of this step: an integer, may exceed 1, may be negative
    v_t = u_t - n_t                  the carry, in [0, 1)
    y_t = n_t / dt

(Voelker, Rasmussen & Eliasmith 2020, arXiv 2002.03553.) dt is not a physical time: large, y follows f(x) within 1/dt
per step; small, spikes of height 1/dt are rare. The error is carried, never lost: |sum(y - f(x))| dt < 1 at all times,
and E[y_t] = f(x_t) where v_0 is uniform on [0, 1), which is why the carry is drawn; with v_0 = 0 all units fire
together. Without carry the counts are drawn instead: see `quantiser_draws`. Gradient, in all modes: that of f,
straight through the quantiser; none through the carry.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bitspike import draws
from bitspike.errors import check_name, refuse
from bitspike.kernels import Spike, floor, indicator, stop, with_gradient
from bitspike.kernels.dtypes import at_least_single, computing, computing_dtype, given_back
from bitspike.neurons import quantiser_draws
from bitspike.neurons.base import Neuron
from bitspike.neurons.constants import Constant, constant, positive
from bitspike.neurons.recordings import Note, States, Undo, nothing
from bitspike.neurons.soft_lif import SoftLIF
from bitspike.neurons.static import STATIC
from bitspike.products.kinds import Kind

MODES = ("carry", *quantiser_draws.MODES)
NONLINEARITIES: dict[str, Callable[[Tensor], Tensor] | None] = {
    "identity": None,
    "linear": None,
    "clip": F.hardtanh,
    "soft-lif": SoftLIF(),
    **STATIC,
}


class QuantiserState(NamedTuple):
    """v: carry, (B, *features), in [0, 1)."""

    v: Any


class QuantiserConstants(NamedTuple):
    """dt: counts per unit of activity. A scalar, or one per unit."""

    dt: Any


def quantiser_step(r: Any, state: QuantiserState, p: QuantiserConstants, spike: Spike) -> tuple[Any, QuantiserState]:
    """One step on the activity r = f(x); `spike` is not used.

    floor(v + e), e = dt r, as whole part and rest of e: the carry keeps its digits however large e is, and
    |e| <= D gives |n| <= D whatever is rounded.
    """
    e = p.dt * r
    whole = floor(e)
    rest = e - whole
    # Just below zero, e - floor(e) rounds to 1.
    up = indicator(rest >= 1, rest)
    u = state.v + (rest - up)
    more = indicator(u >= 1, u)
    return with_gradient((whole + up + more) / p.dt, r), QuantiserState(stop(u - more))


def step_factor(factor: float | None) -> float:
    """`factor` of final, checked; infinity, or None: nothing is quantised."""
    factor = math.inf if factor is None else factor
    if not factor > 0:
        refuse("quantiser step factor", factor, "a positive number, or none for no quantisation")
    return float(factor)


class TemporalQuantiser(Neuron):
    """Quantiser of activities over time: x (T, B, *features) to multiples of 1/dt, f(x) on average.

    dt: one value, or a tensor of one per unit. Two buffers hold it, both in the `state_dict`: `final`, used in
    evaluation, and `dt`, used in training and changed by a schedule (`neurons.schedule.set_step`). Within
    `at_step(model, factor)` both modes use factor * final.
    nonlinearity: f, a function of tensors or a name of NONLINEARITIES, applied to all steps at once; none is the
    identity. mode: "carry", or "stochastic" or "poisson", which carry nothing from step to step.
    keys: the name of the draw of v_0, or of the random counts, where no state is given (see `bitspike.draws`);
    `redraw_carry` names the next draws of a whole model, `run(x, neuron.initial(x[0], generator))` one.
    limit: the largest |n| at the final dt, one whole number or one per unit: f(x) is clipped to +-limit / final, at
    any dt, so that the range is the same all through a schedule; no gradient where it is clipped. A unit then has at
    most 2 limit + 1 levels, limit + 1 where f(x) >= 0.
    """

    kind: ClassVar[str] = "quantiser"
    emits: ClassVar[Kind] = "real"
    reports_parts: ClassVar[bool] = True
    dt: Tensor
    final: Tensor
    limit: Tensor | None

    def __init__(
        self,
        dt: Constant = 1.0,
        nonlinearity: Callable[[Tensor], Tensor] | str | None = None,
        keys: tuple[draws.Key, ...] = (0, "carry"),
        shape: tuple[int, ...] = (),
        *,
        mode: str = "carry",
        limit: int | Tensor | None = None,
    ) -> None:
        super().__init__()
        check_name("quantiser mode", mode, MODES, ", ".join(MODES))
        if isinstance(nonlinearity, str) and nonlinearity not in NONLINEARITIES:
            refuse("quantiser nonlinearity", repr(nonlinearity), f"a function or one of {', '.join(NONLINEARITIES)}")
        self.step = quantiser_step
        self.nonlinearity = NONLINEARITIES[nonlinearity] if isinstance(nonlinearity, str) else nonlinearity
        self.mode, self.keys = mode, keys
        start = constant(positive(dt, "quantiser dt"), False, shape, "quantiser dt")
        self.register_buffer("dt", start.clone())
        self.register_buffer("final", start.clone())
        self.register_buffer("limit", None if limit is None else self._checked(limit))
        # What is asked of it for a while: see `at_step`, `redraw_carry` and `observe`.
        self.factor: float | None = None
        self.drawn: tuple[draws.Key, ...] | None = None
        self.examples: Tensor | None = None
        self.observers: list[Callable[[TemporalQuantiser, Tensor, int], None]] = []
        # Values beyond the limit and values in all, counted where somebody asks.
        self.clipped: list[int] | None = None

    def _checked(self, limit: int | Tensor) -> Tensor:
        if self.mode == "poisson":
            refuse("quantiser limit", limit, "none in Poisson mode, whose counts have no bound")
        wanted = "a whole number, 1 or more"
        number = positive(limit, "quantiser limit", wanted)
        if bool((number != number.round()).any()):
            refuse("quantiser limit", limit if number.ndim == 0 else "a fraction", wanted)
        try:
            torch.broadcast_shapes(number.shape, self.final.shape)
        except RuntimeError:
            refuse("quantiser limit", f"values of shape {tuple(number.shape)}", f"one, or {tuple(self.final.shape)}")
        return number.to(self.final.dtype).clone()

    def initial(self, like: Tensor, generator: torch.Generator | None = None) -> Any:
        """QuantiserState: a carry uniform on [0, 1), independent for every unit and example, in float32 at least.

        Without carry: the DrawState that names the draws.
        """
        keys = self.keys if self.drawn is None else self.drawn
        if self.examples is not None and len(self.examples) != len(like):
            refuse("quantiser examples", f"{len(self.examples)} numbers", f"one for each of the {len(like)} examples")
        if self.mode != "carry":
            return quantiser_draws.first(keys, self.examples, generator)
        dtype = computing_dtype(like.dtype)
        if self.examples is not None and generator is None:
            v = draws.uniform_per_example(self.examples, like.shape[1:], *keys, dtype=dtype)
            return QuantiserState(v.to(like.device))
        source = generator or draws.generator(*keys, device=like.device)
        return QuantiserState(torch.rand(like.shape, generator=source, device=like.device, dtype=dtype))

    def step_size(self) -> Tensor | None:
        """The dt in use: that asked for by `at_step`, else `dt` in training and `final` in evaluation; None: static."""
        if self.factor is not None:
            return None if math.isinf(self.factor) else at_least_single(self.final) * self.factor
        found: Tensor = at_least_single(self.dt if self.training else self.final)
        return found

    def constants(self) -> QuantiserConstants:
        """The dt in use."""
        dt = self.step_size()
        return QuantiserConstants(at_least_single(self.final) if dt is None else dt)

    def bound(self, dtype: torch.dtype) -> Tensor | None:
        """The largest |f(x)| let through: limit / final, rounded so that final * bound <= limit; None: no limit."""
        if self.limit is None:
            return None
        final, limit = self.final.to(dtype), self.limit.to(dtype)
        bound = limit / final
        return torch.where(bound * final > limit, bound.nextafter(torch.zeros_like(bound)), bound)

    def activity(self, x: Tensor) -> Tensor:
        """What is quantised: f(x), clipped where there is a limit, in x's computing dtype (`kernels.dtypes`)."""
        if x.ndim > 0 and x.shape[0] > 1 and x.stride(0) == 0:
            # An input that does not change over time: once for all steps.
            return self.activity(x[:1]).expand(x.shape)
        # A module may hold weights of its own, in x's dtype.
        own = isinstance(self.nonlinearity, nn.Module) and x.is_floating_point()
        r = x if own else computing(x)
        r = computing(r if self.nonlinearity is None else self.nonlinearity(r))
        bound = self.bound(r.dtype)
        if bound is None:
            return r
        if self.clipped is not None:
            self.clipped[0] += int((r.abs() > bound).sum())
            self.clipped[1] += r.numel()
        return r.clamp(-bound, bound)

    def run(self, x: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        """Quantised f(x), and the state after the last step: run in pieces, the result is that of one run."""
        if x.ndim < 2 or x.shape[0] == 0:
            refuse("input over time", tuple(x.shape), "(T, B, *features) with at least one step")
        new = x.shape[1] if state is None else 0
        r, dt = self.activity(x), self.step_size()
        if dt is None:
            return given_back(r, x.dtype), self.initial(r[0]) if state is None else state
        if self.mode == "carry":
            y, state = super().run(r, state)
        else:
            dt = dt.to(r.dtype)
            n, state = quantiser_draws.random_counts(self.mode, dt * r, self.initial(r[0]) if state is None else state)
            y = with_gradient(n / dt, r)
        self.observe(y, new)
        return given_back(y, x.dtype), state

    def advance(self, x: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        """As `run`, for one time step x (B, *features) in plain PyTorch: for the loop of a recurrent cell."""
        dt = self.step_size()
        if dt is None or self.mode != "carry":
            y, state = self.run(x.unsqueeze(0), state)
            return y[0], state
        new = x.shape[0] if state is None else 0
        r = self.activity(x)
        state = self.initial(r) if state is None else state
        y, state = quantiser_step(r, state, QuantiserConstants(dt.to(r.dtype)), self.spike)
        self.observe(y.unsqueeze(0), new)
        return given_back(y, x.dtype), state

    def counts(self, y: Tensor) -> Tensor:
        """The whole numbers n = dt y of an output y, as y's dtype. Refused where nothing is quantised."""
        dt = self.step_size()
        if dt is None:
            refuse("quantiser counts", "a static quantiser", "a finite step size")
        wide = computing(y.detach())
        return given_back((wide * dt.to(wide.dtype)).round_(), y.dtype)

    def report_operations(self, tally: Any, given: tuple[Any, ...], output: Tensor) -> None:
        """For the energy account (`energy.tally`): whole numbers, where something is quantised."""
        tally.fires(output, self, None if self.step_size() is None else self.counts(output))

    def observe(self, y: Tensor, new: int) -> None:
        """Show outputs y (T, B, *features) to the observers; new: presentations that begin with it.

        `run` and `advance` do it. A network that runs `quantiser_step` in a loop of its own has to.
        """
        for observer in self.observers:
            observer(self, y, new)

    def watch(self, note: Note) -> Undo:
        """See `neurons.recordings`: the carry too, except where a cell steps the quantiser in a loop of its own."""
        told = False

        def with_carry(y: Tensor, states: Callable[[], States]) -> None:
            nonlocal told
            told = True
            note(y, states)

        def alone(_: TemporalQuantiser, y: Tensor, new: int) -> None:
            nonlocal told
            if not told:
                note(y, nothing)
            told = False

        undo: Any = super().watch(with_carry)
        self.observers.append(alone)

        def undone() -> None:
            undo()
            self.observers.remove(alone)

        return undone

    @contextmanager
    def at(self, factor: float | None) -> Iterator[None]:
        """Within the block it uses factor * final; see `at_step`."""
        before, self.factor = self.factor, step_factor(factor)
        try:
            yield
        finally:
            self.factor = before

    def extra_repr(self) -> str:
        """mode, dt and limit, for print."""
        size = f"{self.final.item():g}" if self.final.numel() == 1 else f"{tuple(self.final.shape)}"
        return f"mode={self.mode!r}, dt={size}" + ("" if self.limit is None else f", limit={self.limit.tolist()}")

    def _load_from_state_dict(self, state: dict[str, Any], prefix: str, *rest: Any) -> None:
        # Step sizes may have been made per unit after construction; files of before `final` hold `dt` alone.
        if f"{prefix}dt" in state:
            state.setdefault(f"{prefix}final", state[f"{prefix}dt"])
        for name in ("dt", "final", "limit"):
            value, own = state.get(prefix + name), getattr(self, name)
            if isinstance(value, Tensor) and own is not None and value.shape != own.shape:
                setattr(self, name, own.new_empty(value.shape))
        super()._load_from_state_dict(state, prefix, *rest)
