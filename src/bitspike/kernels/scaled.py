"""A step behind a gain and an offset, as one step: step(g x + b, state, p, spike).

Its assignments are those of both, in their order, so that it rounds, and spikes, as one after the other does.
"""

from __future__ import annotations

from collections import namedtuple
from dataclasses import dataclass
from typing import Any

from bitspike.kernels.scan import Spike, Step


@dataclass(frozen=True)
class Scaled:
    """The step of a recurrence with `constants`; its own constants are the gain and the offset before those."""

    step: Step
    constants: type[Any]

    def __call__(self, x: Any, state: Any, p: Any, spike: Spike) -> tuple[Any, Any]:
        """One step."""
        return self.step(x * p[0] + p[1], state, self.constants(*p[2:]), spike)


_KINDS: dict[type[Any], type[Any]] = {}  # a plain table, which torch.compile can look into


def scaled_constants(constants: type[Any]) -> type[Any]:
    """The constants of `Scaled(step, constants)`: scale_gain, scale_offset, and those of the step."""
    if constants not in _KINDS:
        _KINDS[constants] = namedtuple(
            f"Scaled{constants.__name__}", ("scale_gain", "scale_offset", *constants._fields)
        )
    return _KINDS[constants]
