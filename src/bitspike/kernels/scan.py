"""The time loop: plain PyTorch, any dtype; the oracle that every faster loop is compared with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor

from bitspike.errors import refuse

Spike = Callable[[Any], Any]
State = TypeVar("State", bound=tuple[Any, ...])


class Step(Protocol):
    """One time step of a neuron: `step(x, state, p, spike) -> (output, state)`, pure and elementwise."""

    def __call__(self, x: Any, state: Any, p: Any, spike: Spike, /) -> tuple[Any, Any]: ...


def check(x: Tensor, state: tuple[Any, ...]) -> None:
    """Refuse an input without time axis or that does not match the state."""
    if x.ndim < 2:
        refuse("input over time", tuple(x.shape), "(T, B, *features)")
    for part in state:
        if part.shape != x.shape[1:]:
            wanted = f"the shape of one time step, {tuple(x.shape[1:])}"
            refuse(f"{type(state).__name__} state", tuple(part.shape), wanted)


def _stepped(step: Step, given: Any, before: State) -> tuple[Any, State]:
    """The pair that a step gives; refused where it is none, or its state is of another kind than the one before it."""
    pair = isinstance(given, tuple) and len(given) == 2
    if pair and type(given[1]) is type(before):
        return given  # type: ignore[no-any-return]
    came = f"(output, {type(given[1]).__name__})" if pair else type(given).__name__
    named = getattr(step, "__name__", type(step).__name__)
    refuse(f"neuron step '{named}'", came, f"(output, {type(before).__name__})")


def scan(step: Step, x: Tensor, state: State, p: Any, spike: Spike) -> tuple[Tensor, State]:
    """Run `step` over time.

    x: input current (T, B, *features); state: NamedTuple of tensors (B, *features) before the first step.
    Returns the outputs (T, B, *features) and the state after the last step; T may be 0.
    Raises BitspikeError when x has no time axis or does not match the state.
    """
    check(x, state)
    outputs = []
    # unbind: indexing x[t] would allocate a gradient of x's full size at every step.
    for x_t in x.unbind(0):
        output, state = _stepped(step, step(x_t, state, p, spike), state)
        outputs.append(output)
    return (torch.stack(outputs) if outputs else x * 1), state
