"""A recurrence: a neuron's step, what it reads, and its spike function, declared once for every back end.

    recurrence = Recurrence(step, State, Constants, spike)
    y, state = run(recurrence, x, State(v=zeros), Constants(beta=0.9, theta=1.0))

`step(x, state, p, spike) -> (output, state)` is pure and elementwise: arithmetic, comparison and the functions of
`bitspike.kernels`. A step that cannot be recorded (it calls torch itself) still runs on the reference back end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Any

from torch import nn

from bitspike.errors import refuse
from bitspike.kernels.adjoint import Adjoint, adjoint
from bitspike.kernels.trace import Node, Trace, Untraceable, trace

Step = Callable[[Any, Any, Any, Callable[..., Any]], tuple[Any, Any]]


@dataclass(frozen=True)
class Recurrence:
    """step, and the NamedTuples of its state and constants (None: no constants); spike: its spike function.

    pool: above 1, outputs (T, B, *, H, W) leave as the largest of each pool x pool neighbours, as torch's max_pool2d.
    """

    step: Step
    state: type[Any]
    constants: type[Any] | None
    spike: Callable[..., Any]
    pool: int = 1

    def __post_init__(self) -> None:
        for what, part in (("step", self.step), ("spike function", self.spike)):
            if getattr(type(part), "__hash__", None) is None:
                refuse(
                    f"neuron {what}", f"a {type(part).__name__}, which has no hash", "a function, or frozen dataclass"
                )

    def __getstate__(self) -> dict[str, Any]:
        """What a copy or a pickle holds: a trace, whose nodes are no values, is made again."""
        return {name: value for name, value in self.__dict__.items() if name != "traced"}

    @cached_property
    def traced(self) -> Trace:
        """The step's assignments. Raises Untraceable with the reason."""
        return _traced(self)

    @property
    def untraceable(self) -> str | None:
        """Why the step cannot be recorded, or None."""
        if isinstance(getattr(self.step, "__self__", None), nn.Module):
            return "a step that is a method of a module, whose attributes may change; a function is compiled"
        try:
            _ = self.traced
            self.adjoint(())
            self.adjoint(self.constants._fields if self.constants else ())
        except Untraceable as error:
            return str(error)
        return None

    def adjoint(self, constants: Iterable[str]) -> Adjoint:
        """The adjoint for gradients of everything and of the named constants."""
        return variant(self.traced, tuple(constants), True, True, tuple(self.traced.state))


@lru_cache(maxsize=256)
def _traced(recurrence: Recurrence) -> Trace:
    parts = (recurrence.step, recurrence.state, recurrence.constants, recurrence.spike)
    try:
        made = trace(*parts)
    except Untraceable:
        # A spike function of one's own may do more with its numbers than a constant can.
        made = trace(*parts, written=True)
    return replace(made, pool=recurrence.pool)


@lru_cache(maxsize=1024)
def variant(
    traced: Trace, constants: tuple[str, ...], want_input: bool, want_state: bool, final: tuple[str, ...]
) -> Adjoint:
    """The adjoint of one combination of wanted gradients, made once."""
    return adjoint(traced, constants, want_input, want_state, final)


@lru_cache(maxsize=1024)
def keeping(found: Adjoint, kept: tuple[Node, ...]) -> Adjoint:
    """`found.keeping(kept)`, made once."""
    return found.keeping(kept)
