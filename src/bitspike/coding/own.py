"""An encoder of one's own, checked at the door: the network runs what it answers, whatever the recipe says."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from bitspike.coding.base import Encoder
from bitspike.draws import Key
from bitspike.errors import refuse


def own_code(encoder: Encoder, name: str, x: Any, examples: Tensor, *keys: Key) -> Tensor:
    """What the encoder `name` makes of a batch: (T, B, *features) by its own `steps` and `features`, or a refusal.

    A code that is drawn from torch's global generator would be another in each measurement: it is refused.
    """
    field = f"encoder '{name}'"
    before = torch.default_generator.get_state()
    code = encoder(x, examples, *keys)
    if not torch.equal(before, torch.default_generator.get_state()):
        torch.default_generator.set_state(before)
        refuse(field, "draws of torch's global generator", "draws named by `examples` and `keys` (bitspike.draws)")
    if not isinstance(code, Tensor):
        refuse(field, f"a code of type {type(code).__name__}", "a tensor (T, B, *features)")
    if code.is_complex():
        refuse(field, f"a code of {code.dtype}", "real numbers")
    wanted: tuple[int, ...] = (steps_of(encoder, name), len(x))
    if isinstance(x, Tensor):
        timed = encoder.takes == "sequence"
        if timed and x.shape[1] != encoder.reads:
            wanted = (code.shape[0] if code.ndim else 0, len(x))  # a sequence of another length
        wanted += tuple(encoder.features(tuple(x.shape[2 if timed else 1 :])))
    if tuple(code.shape[: len(wanted)]) != wanted or (isinstance(x, Tensor) and code.ndim != len(wanted)):
        refuse(field, f"a code of shape {tuple(code.shape)}", f"{wanted}: its steps, the batch and its `features`")
    return code


def steps_of(encoder: Encoder, name: str) -> int:
    """The steps T that an encoder says it has."""
    steps = getattr(encoder, "steps", None)
    if isinstance(steps, bool) or not isinstance(steps, int) or steps < 1:
        refuse(f"encoder '{name}'", f"steps = {steps!r}", "an attribute `steps`, a whole number from 1 on")
    return steps
