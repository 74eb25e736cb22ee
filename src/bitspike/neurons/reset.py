"""What a spike s leaves of the membrane v, for a threshold theta.

| name | membrane after the step |                                                    |
| ---- | ----------------------- | -------------------------------------------------- |
| soft | v - theta s             | by subtraction: what went beyond theta is kept     |
| hard | v (1 - s)               | to rest                                            |
| none | v                       | no reset: it fires at every step above threshold   |

No gradient passes through the reset (`stop`), as is usual with surrogate gradients.
"""

from __future__ import annotations

from typing import Any

from bitspike.errors import refuse
from bitspike.kernels import Step, stop


def soft(v: Any, s: Any, theta: Any) -> Any:
    """v - theta s."""
    return v - theta * stop(s)


def hard(v: Any, s: Any, theta: Any) -> Any:
    """v (1 - s)."""
    return v * (1 - stop(s))


def none(v: Any, s: Any, theta: Any) -> Any:
    """v."""
    return v


def step_with(reset: str, steps: dict[str, Step]) -> Step:
    """The step of the reset called `reset`."""
    if reset not in steps:
        refuse("neuron reset", repr(reset), " or ".join(map(repr, steps)))
    return steps[reset]
