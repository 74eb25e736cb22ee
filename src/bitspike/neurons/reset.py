"""What a spike s leaves of the membrane v, for a threshold theta.

| name | membrane after the step |                                                    |
| ---- | ----------------------- | -------------------------------------------------- |
| soft | v - theta s             | by subtraction: what went beyond theta is kept     |
| hard | v (1 - s)               | to rest                                            |
| none | v                       | no reset: it fires at every step above threshold   |

No gradient passes through the reset (`stop`), as is usual with surrogate gradients.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from bitspike.errors import check_name
from bitspike.kernels import Spike, Step, stop


def soft(v: Any, s: Any, theta: Any) -> Any:
    """v - theta s."""
    return v - theta * stop(s)


def hard(v: Any, s: Any, theta: Any) -> Any:
    """v (1 - s)."""
    return v * (1 - stop(s))


def none(v: Any, s: Any, theta: Any) -> Any:
    """v."""
    return v


RESETS: dict[str, Callable[[Any, Any, Any], Any]] = {"soft": soft, "hard": hard, "none": none}


@dataclass(frozen=True)
class _WithReset:
    """The step that `with_reset` makes; a value, so that equal ones share a trace and a kernel."""

    fire: Step
    reset: str

    def __call__(self, x: Any, state: Any, p: Any, spike: Spike) -> tuple[Any, Any]:
        s, before = self.fire(x, state, p, spike)
        return s, before._replace(v=RESETS[self.reset](before.v, s, p.theta))


def with_reset(fire: Step, reset: str) -> Step:
    """The step of neurons that fire as `fire` says, and then reset as `reset` names.

    fire(x, state, p, spike) -> (spikes, state) is a step without reset; its state has a membrane v, its constants a
    threshold theta.
    """
    check_name("neuron reset", reset, RESETS, " or ".join(map(repr, RESETS)))
    return _WithReset(fire, reset)
